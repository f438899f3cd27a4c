"""Lists of weighted sums of several models' scores, for as many weights as a search asks for.

A blend's list is made of the members' own: of each user, the `depth` best items of every member, so that weights cost
a sum of small tables and no ranking of the catalogue. An item that no member has among its best is in no list; where
one member has all the weight, the list is that member's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.hits import Values
from pipeline.evaluation.metrics import Rankings, Task, cutoff_of, of_lists
from pipeline.evaluation.ranking import InnerProduct
from pipeline.interactions import Floats, Int32s, Int64s

# Users whose items' vectors are laid side by side at once.
BLOCK_USERS = 64
DEPTH = 100


class BlendedLists:
    """The best items of every user with a target, by every member. users: (m,) int32 codes."""

    def __init__(self, task: Task, members: Sequence[InnerProduct], depth: int = DEPTH) -> None:
        rankings = Rankings({"": task})
        self.users: Int32s = rankings.users("")
        width, wanted = task.targets.n_items, rankings.wanted("")
        self._wanted = np.bincount(np.searchsorted(self.users, wanted // width), minlength=len(self.users))
        nothing = np.zeros((0, 1), np.int64), np.zeros((0, 1), bool)
        items, self._there = _union([rankings.lists("", own, depth) if len(wanted) else nothing for own in members])
        self._hits = np.isin(self.users.astype(np.int64)[:, None] * width + items, wanted) & self._there
        self._scores = [self._scored(member, items) for member in members]

    def values(self, weights: Sequence[float], metric: str) -> Values:
        """Each user's metric of the lists by the weighted sum of the members' scores: (m,) float64."""
        k = cutoff_of(metric)
        total = np.zeros(self._there.shape, np.float32)
        for scores, weight in zip(self._scores, weights, strict=True):
            if weight:
                total += np.float32(weight) * scores
        total[~self._there] = -np.inf
        order = np.argsort(-total, axis=1, kind="stable")[:, :k]
        return of_lists(np.take_along_axis(self._hits, order, axis=1), self._wanted, (k,))[metric]

    def _scored(self, member: InnerProduct, items: Int64s) -> Floats:
        scores = np.empty(items.shape, np.float32)
        for at in range(0, len(items), BLOCK_USERS):
            rows = slice(at, at + BLOCK_USERS)
            scores[rows] = np.einsum("bd,bkd->bk", member.users[self.users[rows]], member.items[items[rows]])
        return scores


def _union(lists: Sequence[tuple[Int64s, np.ndarray]]) -> tuple[Int64s, np.ndarray]:
    """Each user's items of all lists once, by code, and which places hold one: (m, k) int64 and bool."""
    items = np.concatenate([np.where(filled, best, -1) for best, filled in lists], axis=1)
    items.sort(axis=1)
    there = items >= 0
    there[:, 1:] &= items[:, 1:] != items[:, :-1]
    return np.maximum(items, 0), there
