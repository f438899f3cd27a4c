"""The best unseen candidates of users: by scores of any making, or by inner products of which most are never made.

An inner product is at most the product of the norms (Cauchy and Schwarz). So, with the items in the order of their
norms, the best of the first ones set a bound, and no item is asked whose norm is too small to reach it: the first step
of LEMP (Teflioudi et al. 2015). The lists are those of the full product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.top_k import top_k
from pipeline.interactions import Floats, Int32s, Int64s

# User codes (b,) to the scores of all items, (b, n_items) float32, an array of the caller's own.
Scorer = Callable[[Int32s], Floats]
# Rows of a block, in order, and columns of the candidates: (m,) each.
Hidden = tuple[Int64s, Int64s]
# Item codes, best first, and their scores, -inf where no candidate was left: (b, min(depth, candidates)) each.
Lists = tuple[Int64s, Floats]
# Few enough to lie near the processor while they are ranked.
BLOCK_SCORES, FEWEST_ROWS = 500_000, 64
# Items, those of the largest norms, that set the bound, and how few a catalogue they are worth it in. Where most items
# have nearly the norm of those, few are ruled out.
HEAD, FEWEST_HEADS, LEVEL = 1024, 4, 0.4
# Products and norms are rounded.
SLACK = np.float32(1 + 1e-4)
# Of the first stage's greatest score, far above what float32 rounds.
STEP = 1e-3


def block_rows(width: int) -> int:
    """How many rows of `width` scores make a block."""
    return max(FEWEST_ROWS, BLOCK_SCORES // max(width, 1))


@dataclass(frozen=True)
class InnerProduct:
    """The scorer of vectors: users (n_users, d), items (n_items, d), float32."""

    users: Floats
    items: Floats

    def __call__(self, users: Int32s) -> Floats:
        """See Scorer."""
        return self.users[users] @ self.items.T


@dataclass(frozen=True)
class Reordered:
    """The scorer of lists that a second stage has re-ordered at the top.

    first: the first stage's. users: (m,) sorted codes of those who have a list. lists: (m, k) distinct item codes, best
    first, -1 behind the last. What is in a user's list comes before all else, which is as the first stage has it.
    """

    first: Scorer
    users: Int32s
    lists: Int64s

    def of(self, users: Int32s) -> Int64s:
        """The lists of some users, -1 throughout for one who has none: (b, k)."""
        place = np.minimum(np.searchsorted(self.users, users), max(len(self.users) - 1, 0))
        own = self.users[place] == users if len(self.users) else np.zeros(len(users), bool)
        return np.where(own[:, None], self.lists[place] if len(self.users) else -1, -1)

    def __call__(self, users: Int32s) -> Floats:
        """See Scorer: beside the first stage's scores, those of a list lie above, in even steps."""
        scores, lists = self.first(users), self.of(users)
        top = scores.max(axis=1, keepdims=True)
        steps = np.maximum(np.abs(top) * STEP, 1) * (lists.shape[1] - np.arange(lists.shape[1]))
        row, column = np.nonzero(lists >= 0)
        scores[row, lists[row, column]] = (top + steps)[row, column]
        return scores


class Best:
    """The candidates with a scorer's highest scores; `rows` is how many users make a block."""

    def __init__(self, scorer: Scorer, columns: Int64s) -> None:
        """columns: (m,) item codes of the candidates, sorted."""
        self.scorer = scorer
        self.columns = columns
        self.rows = block_rows(len(columns))

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """The lists of users (b,); hidden: what stands in none of them."""
        scores = self.scorer(users)
        if len(self.columns) < scores.shape[1]:
            scores = scores[:, self.columns]
        return _listed(scores, users, self.columns, hidden, depth)


class BestByNorm(Best):
    """The same of inner products."""

    scorer: InnerProduct

    def __init__(self, scorer: InnerProduct, columns: Int64s) -> None:
        super().__init__(scorer, columns)
        norms = np.linalg.norm(scorer.items[columns], axis=1)
        order = np.argsort(-norms, kind="stable")
        self.rows = block_rows(HEAD)
        self.norms, self.codes = norms[order], columns[order]
        self.items = scorer.items[self.codes]
        self.place = np.argsort(order)

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        vectors, hidden = self.scorer.users[users], (hidden[0], self.place[hidden[1]])
        head = min(max(HEAD, depth), len(self.codes))
        codes, scores = self._among(head, vectors, users, hidden, depth)
        reach = self._reach(vectors, scores[:, -1])
        queue = np.argsort(-reach, kind="stable")[: np.count_nonzero(reach > head)]
        while len(queue):
            width = int(reach[queue[0]])
            rows, queue = np.split(queue, [block_rows(width)])
            place = np.full(len(users), -1)
            place[rows] = np.arange(len(rows))
            of = place[hidden[0]]
            own = of[of >= 0], hidden[1][of >= 0]
            codes[rows], scores[rows] = self._among(width, vectors[rows], users[rows], own, depth)
        return codes, scores

    def _among(self, width: int, vectors: Floats, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """The best of the `width` items of the largest norms."""
        inside = hidden[1] < width
        own = hidden[0][inside], hidden[1][inside]
        return _listed(vectors @ self.items[:width].T, users, self.codes[:width], own, depth)

    def _reach(self, vectors: Floats, bound: Floats) -> Int64s:
        """How many items have a norm that allows a score of `bound`: (b,)."""
        lengths = np.linalg.norm(vectors, axis=1) * SLACK
        needed = np.divide(bound, lengths, out=np.zeros_like(bound), where=(bound > 0) & (lengths > 0))
        counts: Int64s = np.searchsorted(-self.norms, -needed, side="right")
        return counts


class BestReordered(Best):
    """The same of re-ordered lists: their items, then the first stage's best of all others."""

    scorer: Reordered

    def __init__(self, scorer: Reordered, columns: Int64s) -> None:
        super().__init__(scorer, columns)
        self.first = best_of(scorer.first, columns)
        self.rows = self.first.rows

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        lists, width = self.scorer.of(users), len(self.columns)
        place = np.minimum(np.searchsorted(self.columns, lists), width - 1)
        row, column = np.nonzero((lists >= 0) & (self.columns[place] == lists))
        own = row * width + place[row, column]
        listed = row, place[row, column]
        codes, scores = self.first.of(users, _joined(hidden, listed), depth)
        shown = ~np.isin(own, hidden[0] * width + hidden[1])
        row, column = row[shown], column[shown]
        ahead = np.full((len(users), lists.shape[1]), -1)
        ahead[row, column] = lists[row, column]
        joined = np.concatenate([ahead, np.where(scores > -np.inf, codes, -1)], axis=1)
        order = np.argsort(joined < 0, axis=1, kind="stable")[:, : codes.shape[1]]
        best = np.take_along_axis(joined, order, axis=1)
        # Whoever asks for lists reads of the scores only which places are filled, and the order.
        ranks = np.broadcast_to(-np.arange(best.shape[1], dtype=np.float32), best.shape)
        return np.maximum(best, 0), np.where(best >= 0, ranks, -np.float32(np.inf))


def _joined(hidden: Hidden, listed: Hidden) -> Hidden:
    rows, columns = (np.concatenate(pair) for pair in zip(hidden, listed, strict=True))
    return rows, columns


def best_of(scorer: Scorer, columns: Int64s) -> Best:
    """The fastest way to the scorer's lists. columns: (m,) item codes of the candidates, sorted."""
    if isinstance(scorer, Reordered):
        return BestReordered(scorer, columns)
    if isinstance(scorer, InnerProduct) and len(columns) > FEWEST_HEADS * HEAD:
        norms = np.sort(np.linalg.norm(scorer.items[columns], axis=1))
        if norms[len(norms) // 2] < LEVEL * norms[-HEAD]:
            return BestByNorm(scorer, columns)
    return Best(scorer, columns)


def _listed(scores: Floats, users: Int32s, codes: Int64s, hidden: Hidden, depth: int) -> Lists:
    scores[hidden] = -np.inf
    best = top_k(scores, depth, users, codes)
    return codes[best], np.take_along_axis(scores, best, axis=1)
