"""Scorers of few scores, of none, and of lists that are re-ordered or remembered, each with its own way to the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.ranking import (
    HEAD,
    Best,
    Hidden,
    Lists,
    Scorer,
    best_of,
    block_rows,
    listed,
    of_rows,
    parts_of,
)
from pipeline.evaluation.top_k import tie_break, top_of_entries
from pipeline.interactions import Floats, Int32s, Int64s

if TYPE_CHECKING:
    import scipy.sparse as sp

# Draws for each place of a random list: some are hidden, or drawn before.
DRAWS = 2
# Of the first stage's greatest score, far above what float32 rounds.
STEP = 1e-3


@dataclass(frozen=True)
class SparseProduct:
    """Users' rows of a sparse table times a sparse matrix, (n_users, n) and (n, n_items) float32: see SparseScorer."""

    rows: sp.csr_matrix
    weights: sp.csr_matrix

    def __call__(self, users: Int32s) -> sp.csr_matrix:
        """(b, n_items) float32."""
        return self.rows[users] @ self.weights


@dataclass(frozen=True)
class SparseScorer:
    """The scorer of a model that scores few items for a user, and all others alike, with 0.

    scores: user codes (b,) to a CSR matrix (b, n_items) float32.
    """

    scores: Callable[[Int32s], sp.csr_matrix]

    def __call__(self, users: Int32s) -> Floats:
        """See Scorer."""
        return self.scores(users).toarray()

    def best(self, columns: Int64s) -> Best:
        """See `best_of`."""
        return BestOfSparse(self, columns)


class BestOfSparse(Best):
    """The same of sparse scores: no other item is looked at, for a user of whose scores enough are above 0."""

    scorer: SparseScorer
    width = HEAD

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        matrix, width = self.scorer.scores(users), len(self.columns)
        if width < matrix.shape[1]:
            matrix = matrix[:, self.columns]
        depth = min(depth, width)
        high = _highest(matrix, depth + np.bincount(hidden[0], minlength=len(users)))
        row, column = np.repeat(np.arange(len(users)), np.diff(matrix.indptr))[high], matrix.indices[high]
        shown = (matrix.data[high] > 0) & ~np.isin(row * width + column, hidden[0] * width + hidden[1])
        many = np.bincount(row[shown], minlength=len(users)) >= depth
        shown &= many[row]
        codes, scores = np.empty((len(users), depth), np.int64), np.empty((len(users), depth), np.float32)
        row, code, score = row[shown], self.columns[column[shown]], matrix.data[high][shown]
        best = top_of_entries(row, score, depth, users, code)
        codes[many], scores[many] = code[best], score[best]
        for rows in parts_of(np.flatnonzero(~many), block_rows(width)):
            own = of_rows(hidden, rows, len(users))
            codes[rows], scores[rows] = listed(matrix[rows].toarray(), users[rows], self.columns, own, depth)
        return codes, scores


def _highest(matrix: sp.csr_matrix, counts: Int64s) -> Int64s:
    """The places of the entries that are among the `counts` (b,) largest of their row, and of all that equal these."""
    high = np.ones(matrix.nnz, bool)
    for start, stop, count in zip(matrix.indptr[:-1], matrix.indptr[1:], counts, strict=True):
        if stop - start > count:
            row = matrix.data[start:stop]
            high[start:stop] = row >= np.partition(row, -count)[-count]
    return np.flatnonzero(high)


@dataclass(frozen=True)
class RandomScorer:
    """The scorer of no knowledge at all: every order of the items is as likely, and each user's is another."""

    seed: int
    n_items: int

    def __call__(self, users: Int32s) -> Floats:
        """See Scorer: uniform numbers."""
        keys = tie_break(self.seeded(users)[:, None], np.arange(self.n_items))
        return (keys >> np.uint64(40)).astype(np.float32)

    def seeded(self, users: Int32s) -> Int32s:
        """Numbers that stand for the users, others for each seed."""
        return tie_break(users, np.array([self.seed])).astype(np.int32)

    def best(self, columns: Int64s) -> Best:
        """See `best_of`."""
        return RandomLists(self, columns)


class RandomLists(Best):
    """The same of no knowledge: lists are drawn, not made of scores, where many items are shown."""

    scorer: RandomScorer
    width = HEAD

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        width, depth = len(self.columns), min(depth, len(self.columns))
        draws = tie_break(self.scorer.seeded(users)[:, None], np.arange(DRAWS * depth)) % np.uint64(max(width, 1))
        keys = np.arange(len(users))[:, None] * width + draws.astype(np.int64)
        again = np.ones(keys.size, bool)
        again[np.unique(keys, return_index=True)[1]] = False
        shown = ~again.reshape(keys.shape) & ~np.isin(keys, hidden[0] * width + hidden[1])
        first = np.argsort(~shown, axis=1, kind="stable")[:, :depth]
        codes = self.columns[np.take_along_axis(keys, first, axis=1) % max(width, 1)]
        scores = np.broadcast_to(-np.arange(depth, dtype=np.float32), codes.shape).copy()
        for rows in parts_of(np.flatnonzero(shown.sum(axis=1) < depth), block_rows(width)):
            codes[rows], scores[rows] = super().of(users[rows], of_rows(hidden, rows, len(users)), depth)
        return codes, scores


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

    def best(self, columns: Int64s) -> Best:
        """See `best_of`."""
        return BestReordered(self, columns)


class BestOfFirst(Best):
    """Lists that are made of those of a scorer's `first`."""

    scorer: Reordered | Remembered

    def __init__(self, scorer: Reordered | Remembered, columns: Int64s) -> None:
        super().__init__(scorer, columns)
        self.first = best_of(scorer.first, columns)
        self.rows = self.first.rows

    def let_go(self) -> None:
        """See Best."""
        self.first.let_go()


class BestReordered(BestOfFirst):
    """The same of re-ordered lists: their items, then the first stage's best of all others."""

    scorer: Reordered

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


@dataclass(frozen=True)
class Remembered:
    """A scorer whose lists are made once, `depth` long, for all who rank by it and hide more of them, not less.

    Not for more users than are evaluated: what a list takes is held for each, 12 bytes a place.
    """

    first: Scorer
    depth: int
    _lists: list[RememberedLists] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, users: Int32s) -> Floats:
        """See Scorer."""
        return self.first(users)

    def best(self, columns: Int64s) -> Best:
        """See `best_of`: the same for the same candidates."""
        for lists in self._lists:
            if np.array_equal(lists.columns, columns):
                return lists
        self._lists.append(RememberedLists(self, columns))
        return self._lists[-1]

    def let_go(self) -> None:
        """Drops what lists are made from; those that were made stay."""
        for lists in self._lists:
            lists.let_go()


class RememberedLists(BestOfFirst):
    """Lists as they were made first, less what else is hidden now.

    They are made anew where that leaves too few, or where something is shown now that was hidden then.
    """

    scorer: Remembered

    def __init__(self, scorer: Remembered, columns: Int64s) -> None:
        super().__init__(scorer, columns)
        # By user, the list's columns, their scores, and the columns that were hidden when it was made.
        self._lists: dict[int, tuple[Int64s, Floats, Int64s]] = {}

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        width = len(self.columns)
        depth, length = min(depth, width), min(self.scorer.depth, width)
        if depth > length or not len(users):
            return self.first.of(users, hidden, depth)
        self._remember(users, hidden, length)
        own = [self._lists[user] for user in users.tolist()]
        columns, scores = np.array([listed for listed, _, _ in own]), np.array([listed for _, listed, _ in own])
        hidden_then = [then for _, _, then in own]
        rows, keys = np.arange(len(users)), hidden[0] * width + hidden[1]
        excluded = np.isin(rows[:, None] * width + columns, keys)
        keys_then = np.repeat(rows, [len(then) for then in hidden_then]) * width + np.concatenate(hidden_then)
        shown_again = np.isin(rows, keys_then[~np.isin(keys_then, keys)] // width)
        complete = (length == width) | (scores == -np.inf).any(axis=1)
        too_few = ~complete & ((~excluded).sum(axis=1) < depth)
        order = np.argsort(excluded, axis=1, kind="stable")[:, :depth]
        codes = self.columns[np.take_along_axis(columns, order, axis=1)]
        scores = np.take_along_axis(np.where(excluded, -np.float32(np.inf), scores), order, axis=1)
        if len(anew := np.flatnonzero(shown_again | too_few)):
            codes[anew], scores[anew] = self.first.of(users[anew], of_rows(hidden, anew, len(users)), depth)
        return codes, scores

    def _remember(self, users: Int32s, hidden: Hidden, length: int) -> None:
        """Makes the lists of those users who have none yet."""
        rows = np.flatnonzero([user not in self._lists for user in users.tolist()])
        if not len(rows):
            return
        row, column = of_rows(hidden, rows, len(users))
        codes, scores = self.first.of(users[rows], (row, column), length)
        ends = np.cumsum(np.bincount(row, minlength=len(rows)))[:-1]
        own_hidden = np.split(column[np.argsort(row, kind="stable")], ends)
        lists = zip(np.searchsorted(self.columns, codes), scores, own_hidden, strict=True)
        self._lists |= dict(zip(users[rows].tolist(), lists, strict=True))


def _joined(hidden: Hidden, listed: Hidden) -> Hidden:
    rows, columns = (np.concatenate(pair) for pair in zip(hidden, listed, strict=True))
    return rows, columns
