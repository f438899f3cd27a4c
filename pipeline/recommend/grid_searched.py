"""Models of a few settings that fit in seconds: every combination is fitted, and validation chooses."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import product
from typing import ClassVar, Generic, TypeVar

from pipeline.evaluation.metrics import Scorer, Task, mean_of
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content, Fit, FitInput, Model, OnEpoch

State = TypeVar("State")
# A value for each setting that is searched.
Choice = Mapping[str, float]


class Searched(Model, Generic[State]):
    """A model whose `state_of` has few settings; `chosen` are the best ones.

    searched: those settings, fields of `settings` that hold the values to choose from.
    """

    searched: ClassVar[tuple[str, ...]] = ()
    chosen: Choice

    @property
    def grid(self) -> dict[str, Sequence[float]]:
        """Each setting's values, the first of which are used where there is no validation part."""
        return {name: getattr(self.settings, name) for name in self.searched}

    def prepare(self, content: Content, train: Interactions) -> None:
        """Makes, once before a fit, what all combinations of settings share."""
        return

    @abstractmethod
    def state_of(self, content: Content, train: Interactions, settings: Choice) -> State:
        """The model's state after one fit."""

    @abstractmethod
    def scorer_of(self, state: State, history: Interactions) -> Scorer:
        """The scorer of what `state_of` returned."""

    def learn(self, data: FitInput) -> Fit:
        """Fits every combination of the grid, and takes the best by `metric` on `validation`; without, the first."""
        started = time.perf_counter()
        combinations = [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]
        task = Task(data.train, data.validation) if data.validation and len(combinations) > 1 else None
        self.prepare(data.content, data.train)
        best = -1.0
        for settings in combinations if task else combinations[:1]:
            state = self.state_of(data.content, data.train, settings)
            score = mean_of(self.scorer_of(state, task.history), task, self.metric) if task else 0.0
            if score > best:
                best, self.state, self.chosen = score, state, settings
        return Fit(seconds=time.perf_counter() - started, settings=self.chosen)

    def refit(self, content: Content, train: Interactions, chosen: Fit, on_epoch: OnEpoch | None = None) -> Fit:
        """Fits with the settings that were chosen."""
        started = time.perf_counter()
        self.chosen = chosen.settings
        self.prepare(content, train)
        self.state = self.state_of(content, train, chosen.settings)
        return Fit(seconds=time.perf_counter() - started, settings=chosen.settings)

    def scorer(self, history: Interactions) -> Scorer:
        """See Model."""
        return self.scorer_of(self.state, history)
