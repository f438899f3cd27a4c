"""Full ranking: every item is ranked, never a sample of items (Krichene and Rendle 2020).

For user u with targets T and the list L of the k best candidates that u has not yet seen, the metrics are those of
`pipeline.evaluation.hits`, and of all users together coverage@k: the share of the candidates that are in anyone's L.

Equal scores are ordered as `pipeline.evaluation.top_k` says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.config.training import DEFAULT_METRIC
from pipeline.errors import StepFailed
from pipeline.evaluation.hits import HITS, Values
from pipeline.evaluation.ranking import Best, Hidden, InnerProduct, Scorer, best_of
from pipeline.evaluation.scorers import Remembered, Reordered
from pipeline.interactions import Floats, Int32s, Int64s, Interactions, Mask, distinct

log = logging.getLogger("medley")
CUTOFFS = (5, 10, 20, 50)
# Places of a list beyond those asked for, of which another ranking may hide some.
LONGER = 20
# User codes (b,), their lists (b, depth) of item codes, and (b, depth) bool, which places of them are filled, to
# further metrics of each user, (b,) each.
PerList = Callable[[Int32s, Int64s, Mask], dict[str, Values]]


@dataclass(frozen=True)
class Task:
    """What is ranked, and the targets.

    history: seen items, which are never recommended. targets: what the users went on to choose; a target that is
    in the history, or is no candidate, is no target. candidates: (n_items,) bool, the items ranked; all, if None.
    """

    history: Interactions
    targets: Interactions
    candidates: Mask | None = None


@dataclass(frozen=True)
class Scores:
    """Metrics of each user who has a target.

    users: (m,) int32 codes. values: metric@k to (m,) float64. coverage: coverage@k to one number.
    """

    users: Int32s
    values: dict[str, Values]
    coverage: dict[str, float] = field(default_factory=dict)


def inner_product(user_vectors: Floats, item_vectors: Floats) -> InnerProduct:
    """The scorer of vectors, (n_users, d) and (n_items, d) float32. Raises StepFailed if one is not finite."""
    if not (np.isfinite(user_vectors).all() and np.isfinite(item_vectors).all()):
        raise StepFailed("the model's vectors are not all finite numbers; lower train.learning_rate and train again")
    return InnerProduct(user_vectors, item_vectors)


def rank(scorer: Scorer, task: Task, cutoffs: Sequence[int] = CUTOFFS) -> Scores:
    """Ranks the candidates of `task` for every user with a target, in blocks of users."""
    return Rankings({"": task}).of(scorer, cutoffs)[""]


class Rankings:
    """Tasks made ready for any number of models: those with the same history and candidates share one ranking.

    Rankings of the same candidates share their lists: those that hide least are made first, and a little longer, so
    that the others are what is left of them.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        """tasks: by name; they share a ranking where history and candidates are the same objects."""
        shared: dict[tuple[int, int], dict[str, Task]] = {}
        for name, task in tasks.items():
            shared.setdefault((id(task.history), id(task.candidates)), {})[name] = task
        self._names = list(tasks)
        self._rankings = sorted(map(_Ranking, shared.values()), key=lambda ranking: ranking.hides)
        self._alike = len({ranking.columns.tobytes() for ranking in self._rankings}) < len(self._rankings)

    def of(
        self, scorer: Scorer, cutoffs: Sequence[int] = CUTOFFS, per_list: Mapping[str, PerList] | None = None
    ) -> dict[str, Scores]:
        """Every task's scores, in the tasks' order. per_list: further metrics of the lists, by task."""
        scores: dict[str, Scores] = {}
        if self._alike and not isinstance(scorer, Remembered | Reordered):
            scorer = Remembered(scorer, max(cutoffs) + LONGER)
        for ranking in self._rankings:
            scores |= ranking.of(scorer, cutoffs, per_list or {})
        return {name: scores[name] for name in self._names}

    def users(self, task: str) -> Int32s:
        """(m,) int32: users with a target in a task."""
        return self._of(task).users_of(task)

    def lists(self, task: str, scorer: Scorer, depth: int) -> tuple[Int64s, Mask]:
        """Those users' best candidates: (m, depth) int64, and (m, depth) bool, which places are filled."""
        blocks = self._of(task).listed(scorer, depth)
        users, best, scores = (np.concatenate(part) for part in zip(*blocks, strict=True))
        own = np.isin(users, self.users(task))
        return best[own], scores[own] > -np.inf

    def wanted(self, task: str) -> Int64s:
        """A task's targets, sorted: user · n_items + item."""
        return self._of(task).wanted[self._of(task).owned[task]]

    def _of(self, task: str) -> _Ranking:
        return next(ranking for ranking in self._rankings if task in ranking.owned)


class _Ranking:
    """Tasks of one history and one set of candidates.

    Pairs are user · n_items + item, sorted. wanted: every task's targets; owned: task to which of them are its own.
    seen: (row of `users`, column of the candidates) of what is hidden. hides: how much of everybody's is.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        first = next(iter(tasks.values()))
        self.width = first.targets.n_items
        candidates = np.ones(self.width, bool) if first.candidates is None else first.candidates
        self.columns = np.flatnonzero(candidates)
        history = _pairs(first.history)
        self.hides = len(history)
        targets = {name: _pairs(task.targets) for name, task in tasks.items()}
        self.wanted = distinct(np.concatenate(list(targets.values())))
        self.wanted = self.wanted[candidates[self.wanted % self.width] & ~_among(self.wanted, history)]
        self.owned = {name: _among(self.wanted, pairs) for name, pairs in targets.items()}
        self.users = distinct(self.wanted // self.width).astype(np.int32)
        hidden = history[candidates[history % self.width] & np.isin(history // self.width, self.users)]
        self.seen = (
            np.searchsorted(self.users, hidden // self.width),
            np.searchsorted(self.columns, hidden % self.width),
        )

    def users_of(self, task: str) -> Int32s:
        return distinct(self.wanted[self.owned[task]] // self.width).astype(np.int32)

    def of(self, scorer: Scorer, cutoffs: Sequence[int], per_list: Mapping[str, PerList]) -> dict[str, Scores]:
        tallies = {name: _Tally(cutoffs, self.width, per_list.get(name)) for name in self.owned}
        for block, best, scores in self.listed(scorer, max(cutoffs)):
            filled = scores > -np.inf
            codes = block.astype(np.int64)
            wanted = slice(*np.searchsorted(self.wanted, np.array([codes[0], codes[-1] + 1]) * self.width))
            pairs = self.wanted[wanted]
            listed = codes[:, None] * self.width + best
            place = np.minimum(np.searchsorted(pairs, listed), len(pairs) - 1)
            hits = (pairs[place] == listed) & filled
            of = np.searchsorted(block, pairs // self.width)
            for name, tally in tallies.items():
                own = self.owned[name][wanted]
                targets = np.bincount(of[own], minlength=len(block))
                tally.add(block, targets, best, filled, hits & own[place])
        return {name: tally.scores(len(self.columns)) for name, tally in tallies.items()}

    def listed(self, scorer: Scorer, depth: int) -> Iterator[tuple[Int32s, Int64s, Floats]]:
        """Blocks of users, their lists and scores."""
        return blocks_of(best_of(scorer, self.columns), self.users, self.seen, depth)


def blocks_of(ranked: Best, users: Int32s, hidden: Hidden, depth: int) -> Iterator[tuple[Int32s, Int64s, Floats]]:
    """Some users at a time, their lists and scores, made side by side where products have more threads than one.

    hidden: (row of `users`, column of the candidates) of what stands in no list, sorted by row.
    """
    count = product_threads()

    def listed(start: int) -> tuple[Int32s, Int64s, Floats]:
        block = users[start : start + ranked.rows]
        own = slice(*np.searchsorted(hidden[0], [start, start + len(block)]))
        return block, *ranked.of(block, (hidden[0][own] - start, hidden[1][own]), depth)

    starts = range(0, len(users), ranked.rows)
    if count < 2 or len(starts) < 2:
        yield from map(listed, starts)
        return
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(count) as pool:
        yield from pool.map(listed, starts)


class _Tally:
    """One task's metrics as they come in, block by block."""

    def __init__(self, cutoffs: Sequence[int], items: int, per_list: PerList | None) -> None:
        self.cutoffs, self.per_list = cutoffs, per_list
        self.users: list[Int32s] = [np.zeros(0, np.int32)]
        self.values: list[dict[str, Values]] = []
        self.shown = {k: np.zeros(items, bool) for k in cutoffs}

    def add(self, block: Int32s, targets: Int64s, best: Int64s, filled: Mask, hits: Mask) -> None:
        """targets: (b,) how many the task wants of each user. hits: (b, depth) bool, which places hold one."""
        rows = np.flatnonzero(targets)
        users, best, filled = block[rows], best[rows], filled[rows]
        self.users.append(users)
        for k, shown in self.shown.items():
            shown[best[:, :k][filled[:, :k]]] = True
        values = of_lists(hits[rows], targets[rows], self.cutoffs)
        self.values.append(values | (self.per_list(users, best, filled) if self.per_list else {}))

    def scores(self, candidates: int) -> Scores:
        empty = of_lists(np.zeros((0, 1), bool), np.zeros(0, np.int64), self.cutoffs)
        names = self.values[0] if self.values else empty
        values = {name: np.concatenate([block[name] for block in self.values or [empty]]) for name in names}
        coverage = {f"coverage@{k}": float(shown.sum() / max(candidates, 1)) for k, shown in self.shown.items()}
        return Scores(np.concatenate(self.users), values, coverage)


def product_threads() -> int:
    """How many threads a product of matrices may use."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def _pairs(log: Interactions) -> Int64s:
    return distinct(log.user.astype(np.int64) * log.n_items + log.item)


def _among(pairs: Int64s, others: Int64s) -> Mask:
    mask: Mask = np.isin(pairs, others, assume_unique=True)
    return mask


def cutoff_of(metric: str) -> int:
    """The k of a metric@k."""
    return int(metric.partition("@")[2])


@cache
def validation_metric(metric: str) -> str:
    """What validation chooses by where the gate judges by this: the same, if it can be measured user by user.

    Else DEFAULT_METRIC, which a line of the log then says.
    """
    name, _, cutoff = metric.partition("@")
    if name in HITS and cutoff.isdecimal() and int(cutoff):
        return metric
    log.warning("validation chooses by %s: the gate's %s is no metric of single users", DEFAULT_METRIC, metric)
    return DEFAULT_METRIC


def total_of(scorer: Scorer, task: Task, metric: str) -> tuple[float, int]:
    """The sum of a metric over the users who have a target, and how many those are."""
    values = rank(scorer, task, (cutoff_of(metric),)).values[metric]
    return float(values.sum()), len(values)


def mean_of(scorer: Scorer, task: Task, metric: str) -> float:
    """The mean of a metric over the users who have a target; 0 without any."""
    total, users = total_of(scorer, task, metric)
    return total / users if users else 0.0


def of_lists(hits: Mask, wanted: Int64s, cutoffs: Sequence[int]) -> dict[str, Values]:
    """Every metric of `hits` of ranked lists, (m,) float64 each, by metric@k.

    hits: (m, depth) bool, whether the list's place holds a target. wanted: (m,) number of targets, at least 1.
    """
    return {f"{name}@{k}": metric.values(hits[:, :k], wanted, k) for k in cutoffs for name, metric in HITS.items()}
