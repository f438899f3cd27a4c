"""Models of a few settings, which validation chooses."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import product
from typing import ClassVar, Generic, TypeVar

from pipeline.evaluation.metrics import Scorer, Task, mean_of
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content, Fit, FitInput, Model, OnEpoch

# Interactions up to which a fit takes seconds.
MOST_COMBINED = 1_000_000
State = TypeVar("State")
# A value for each setting that is searched.
Choice = Mapping[str, float]
Grid = Mapping[str, Sequence[float]]


class Searched(Model, Generic[State]):
    """A model whose `state_of` has few settings; `chosen` are the best ones.

    searched: those settings, fields of `settings` that hold the values to choose from.
    """

    searched: ClassVar[tuple[str, ...]] = ()
    settles = True
    chosen: Choice

    @property
    def grid(self) -> Grid:
        """Each setting's values, the first of which are used where there is no validation part."""
        return {name: getattr(self.settings, name) for name in self.searched}

    def prepare(self, content: Content, train: Interactions, grid: Grid) -> Grid:
        """Makes, once before a fit, what all of the grid's settings share; returns the grid that can be searched."""
        return grid

    @abstractmethod
    def state_of(self, content: Content, train: Interactions, settings: Choice) -> State:
        """The model's state after one fit."""

    @abstractmethod
    def scorer_of(self, state: State, history: Interactions) -> Scorer:
        """The scorer of what `state_of` returned."""

    def learn(self, data: FitInput) -> Fit:
        """Takes the best settings by `metric` on `validation`; without it, the first of each.

        Of a log of at most MOST_COMBINED interactions, every combination is fitted; of a longer one, one setting after
        the other takes its best value, from the first ones on, until a round changes none.
        """
        started = time.perf_counter()
        settled = {name: (value,) for name, value in self.settled.items()}
        grid = self.prepare(data.content, data.train, settled if settled.keys() == self.grid.keys() else self.grid)
        self.chosen = {name: values[0] for name, values in grid.items()}
        self.check()
        self.state = self.state_of(data.content, data.train, self.chosen)
        if data.validation and max(map(len, grid.values()), default=1) > 1:
            self._search(data, Task(data.train.of_those_in(data.validation), data.validation), grid)
        return Fit(seconds=time.perf_counter() - started, settings=self.chosen)

    def _search(self, data: FitInput, task: Task, grid: Grid) -> None:
        scores = {tuple(self.chosen.values()): mean_of(self.scorer_of(self.state, task.history), task, self.metric)}

        def search(settings: Choice) -> None:
            place = tuple(settings.values())
            if place in scores:
                return
            self.check()
            state = self.state_of(data.content, data.train, settings)
            scores[place] = mean_of(self.scorer_of(state, task.history), task, self.metric)
            if scores[place] > scores[tuple(self.chosen.values())]:
                self.chosen, self.state = settings, state

        if len(data.train) <= MOST_COMBINED:
            for combination in product(*grid.values()):
                search(dict(zip(grid, combination, strict=True)))
            return
        before: Choice = {}
        while before != self.chosen:
            before = self.chosen
            for name, values in grid.items():
                for value in values:
                    search({**self.chosen, name: value})

    def refit(self, content: Content, train: Interactions, chosen: Fit, on_epoch: OnEpoch | None = None) -> Fit:
        """Fits with the settings that were chosen."""
        started = time.perf_counter()
        self.chosen = chosen.settings
        self.prepare(content, train, {name: (value,) for name, value in self.chosen.items()})
        self.state = self.state_of(content, train, chosen.settings)
        return Fit(seconds=time.perf_counter() - started, settings=chosen.settings)

    def scorer(self, history: Interactions) -> Scorer:
        """See Model."""
        return self.scorer_of(self.state, history)
