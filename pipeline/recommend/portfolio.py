"""How `auto` judges models and their blends on validation: by lists of known items and by lists of new ones.

    objective = (1 - s) · metric on what validation's users chose  +  s · metric on choices of items hidden from the fit

Validation holds no item that training did not see, while every night meets some: so a seeded share s of the items that
have content is hidden from the fits that are compared, choices and all, and what was hidden is to be found among all
items. Where no item has content, s is 0.

- blend: begins with the best single model; of all models, and of a few weights for each, the one joins that gains most,
  while the gain is beyond chance, more than SURE standard errors over users; then weights move between those that
  joined, by ever smaller steps, while that is better. As each is asked only whether it joins what is there already,
  what stays is few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.blended import BlendedLists
from pipeline.evaluation.hits import Values
from pipeline.evaluation.metrics import Task
from pipeline.evaluation.ranking import InnerProduct
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content

KNOWN, NEW = "known", "new"
SURE = 1.645
JOINING = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
STEPS = (1 / 8, 1 / 16)
FEWEST_NEW = 20
Weights = tuple[float, ...]


@dataclass(frozen=True)
class Trial:
    """What models are compared on.

    train and validation: what they are fitted on, without the items that are hidden. tasks: `known`, and `new` if any
    item is hidden. shares: what each task's metric counts.
    """

    train: Interactions
    validation: Interactions
    tasks: Mapping[str, Task]
    shares: Mapping[str, float]

    @property
    def hides(self) -> bool:
        """Whether what is fitted on it has to be fitted again, on everything."""
        return NEW in self.tasks


def whole(train: Interactions, validation: Interactions) -> Trial:
    """Where nothing is hidden."""
    return Trial(train, validation, {KNOWN: Task(train.of_those_in(validation), validation)}, {KNOWN: 1.0})


def trial_of(content: Content, train: Interactions, validation: Interactions, share: float, seed: int) -> Trial:
    """See above. share: of the items, to be hidden; of fewer than FEWEST_NEW nothing would be learned, so none is."""
    has = np.any([content.present, *(present for _, present in content.modalities.values())], axis=0)
    able = np.flatnonzero(has & (train.item_counts() > 0))
    count = int(share * len(able))
    if count < FEWEST_NEW:
        return whole(train, validation)
    hidden = np.zeros(train.n_items, bool)
    hidden[np.random.default_rng([seed, 13]).choice(able, count, replace=False)] = True
    kept = train.subset(~hidden[train.item])
    targets = validation.subset(~hidden[validation.item])
    with_history = np.bincount(kept.user, minlength=kept.n_users) > 0
    both = train.concat(validation)
    new = both.subset(hidden[both.item] & with_history[both.user])
    new = new.sample_users(len(np.unique(validation.user)), seed)
    tasks = {KNOWN: Task(train.of_those_in(targets), targets), NEW: Task(kept.of_those_in(new), new)}
    return Trial(kept, targets, tasks, {KNOWN: 1 - share, NEW: share})


class Judge:
    """The objective of any weights of some models."""

    def __init__(self, trial: Trial, members: Sequence[InnerProduct], metric: str) -> None:
        self.metric = metric
        self.size = len(members)
        self._shares = trial.shares
        self._lists = {name: BlendedLists(task, members) for name, task in trial.tasks.items()}
        self._values: dict[Weights, dict[str, Values]] = {}

    def means(self, weights: Weights) -> dict[str, float]:
        """The metric's mean on each task."""
        return {name: float(values.mean()) if len(values) else 0.0 for name, values in self._of(weights).items()}

    def objective(self, weights: Weights) -> float:
        """See above."""
        return sum(self._shares[name] * mean for name, mean in self.means(weights).items())

    def sure(self, weights: Weights, over: Weights) -> bool:
        """Whether the objective gains beyond chance."""
        gain, variance = 0.0, 0.0
        for name, values in self._of(weights).items():
            difference = values - self._of(over)[name]
            if len(difference) > 1:
                gain += self._shares[name] * float(difference.mean())
                variance += self._shares[name] ** 2 * float(difference.var(ddof=1)) / len(difference)
        return gain > SURE * variance**0.5

    def alone(self) -> list[Weights]:
        """The weights of each model by itself, in the models' order."""
        return [tuple(float(place == own) for place in range(self.size)) for own in range(self.size)]

    def best(self) -> Weights:
        """The blend of the best objective that the search above finds: weights that sum to 1, in the models' order."""
        best = max(self.alone(), key=self.objective)
        while True:
            joined = [_joined(best, own, share) for own in range(self.size) if not best[own] for share in JOINING]
            candidate = max(joined, key=self.objective, default=best)
            if candidate == best or not self.sure(candidate, best):
                return best
            members = [own for own, weight in enumerate(candidate) if weight]
            best = climbed(self.objective, candidate, members, STEPS)

    def _of(self, weights: Weights) -> dict[str, Values]:
        if weights not in self._values:
            self._values[weights] = {name: lists.values(weights, self.metric) for name, lists in self._lists.items()}
        return self._values[weights]


def climbed(
    objective: Callable[[Weights], float], weights: Weights, among: Sequence[int], steps: Sequence[float]
) -> Weights:
    """The best weights that a pattern search on the simplex finds from given ones on (Hooke and Jeeves 1961).

    It moves weight from one of `among` to another while that is better, by ever smaller steps. Among equals the first
    counts: the result is always the same.
    """
    for step in steps:
        while True:
            candidate = max([weights, *_moves(weights, among, step)], key=objective)
            if candidate == weights:
                break
            weights = candidate
    return weights


def _moves(weights: Weights, among: Sequence[int], step: float) -> list[Weights]:
    """Every way to move `step`, or what is left, from one to another."""
    moves = []
    for giver in among:
        for taker in among:
            if giver != taker and weights[giver] > 0:
                changed = list(weights)
                given = min(step, weights[giver])
                changed[giver], changed[taker] = round(changed[giver] - given, 9), round(changed[taker] + given, 9)
                moves.append(tuple(changed))
    return moves


def _joined(weights: Weights, own: int, share: float) -> Weights:
    """The weights with one more of that share, and the others in proportion."""
    return tuple(share if place == own else round(weight * (1 - share), 9) for place, weight in enumerate(weights))
