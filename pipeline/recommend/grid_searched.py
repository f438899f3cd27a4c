"""Models of a few settings that fit in seconds: every combination is fitted, and validation chooses."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Generic, TypeVar

import numpy as np

from pipeline.evaluation.metrics import Scorer, Task, total_of
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content, Fit, Model, OnEpoch

State = TypeVar("State")
Settings = Mapping[str, float]
SEARCH_USERS = 5000


class Searched(Model, Generic[State]):
    """A model whose `learn` has few settings; `chosen` are those kept."""

    def __init__(self, grid: Mapping[str, Sequence[float]]) -> None:
        """grid: each setting's values, the first of which are used where there is no validation part."""
        self.grid = grid
        self.chosen: Settings = {}

    def prepare(self, content: Content, train: Interactions) -> None:
        """Makes, once before a fit, what all combinations of settings share."""
        return

    @abstractmethod
    def learn(self, content: Content, train: Interactions, settings: Settings) -> State:
        """The model's state after one fit."""

    @abstractmethod
    def scorer_of(self, state: State, history: Interactions) -> Scorer:
        """The scorer of what `learn` returned."""

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Fits every combination of the grid, and keeps the best by `metric` on `validation`; without, the first."""
        started = time.perf_counter()
        combinations = [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]
        if validation is None or not len(validation):
            combinations = combinations[:1]
        self.prepare(content, train)
        best = -1.0
        for settings in combinations:
            state = self.learn(content, train, settings)
            task = _task(train, validation) if validation is not None and len(combinations) > 1 else None
            score = self._score(state, task) if task else 0.0
            if score > best:
                best, self.state, self.chosen = score, state, settings
        return Fit(seconds=time.perf_counter() - started, settings=self.chosen)

    def refit(self, content: Content, train: Interactions, chosen: Fit, on_epoch: OnEpoch | None = None) -> Fit:
        """Fits with the settings that were chosen."""
        started = time.perf_counter()
        self.chosen = chosen.settings
        self.prepare(content, train)
        self.state = self.learn(content, train, chosen.settings)
        return Fit(seconds=time.perf_counter() - started, settings=chosen.settings)

    def scorer(self, history: Interactions) -> Scorer:
        """See Model."""
        return self.scorer_of(self.state, history)

    def _score(self, state: State, task: Task) -> float:
        total, users = total_of(self.scorer_of(state, task.history), task, self.metric)
        return total / users if users else 0.0


def _task(train: Interactions, validation: Interactions) -> Task:
    """Every k-th user of the validation part, so that a search costs no more than its fits where users are many."""
    users = np.unique(validation.user)
    sample = users[:: -(-len(users) // SEARCH_USERS)]
    return Task(train, validation.subset(np.isin(validation.user, sample)))
