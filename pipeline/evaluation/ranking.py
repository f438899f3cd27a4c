"""The best unseen candidates of users: by scores of any making, or by inner products of which most are never made.

An inner product is at most the product of the norms (Cauchy and Schwarz). So, with the items in the order of their
norms, the best of the first ones set a bound, and no item is asked whose norm is too small to reach it: the first step
of LEMP (Teflioudi et al. 2015). The lists are those of the full product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.top_k import CROWD, tie_break, top_k, top_of_entries
from pipeline.interactions import Floats, Int32s, Int64s, Mask

if TYPE_CHECKING:
    import scipy.sparse as sp

# User codes (b,) to the scores of all items, (b, n_items) float32, an array of the caller's own.
Scorer = Callable[[Int32s], Floats]
# Rows of a block, in order, and columns of the candidates: (m,) each.
Hidden = tuple[Int64s, Int64s]
# Item codes, best first, and their scores, -inf where no candidate was left: (b, min(depth, candidates)) each.
Lists = tuple[Int64s, Floats]
# Rows, columns and scores: (m,) each.
Entries = tuple[Int64s, Int64s, Floats]
# Few enough to lie near the processor while they are ranked.
BLOCK_SCORES, FEWEST_ROWS = 500_000, 64
# Items, those of the largest norms, that set the first bound; how few a catalogue they are worth it in, if most items
# have nearly the norm of those, so that few are ruled out, and if not; and how many later ones are asked at once.
HEAD, FEWEST_ITEMS, FEWEST_HEADS, LEVEL = 1024, 50_000, 4, 0.4
WIDTH = 8192
# Draws for each place of a random list: some are hidden, or drawn before.
DRAWS = 2
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
class SparseScorer:
    """The scorer of a model that scores few items for a user, and all others alike, with 0.

    scores: user codes (b,) to a CSR matrix (b, n_items) float32.
    """

    scores: Callable[[Int32s], sp.csr_matrix]

    def __call__(self, users: Int32s) -> Floats:
        """See Scorer."""
        return self.scores(users).toarray()


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


class BestOfProducts(Best):
    """The same of inner products, for a catalogue of any size: most scores are compared once, and never stored.

    Items are asked in the order of their norms, in stretches that double. The best of the stretches so far set each
    user's bound: of the next one only the few scores that reach it are sorted, and a user whose bound no further norm
    can reach is done.
    """

    scorer: InnerProduct

    def __init__(self, scorer: InnerProduct, columns: Int64s) -> None:
        super().__init__(scorer, columns)
        norms = np.linalg.norm(scorer.items[columns], axis=1)
        order = np.argsort(-norms, kind="stable")
        self.rows = block_rows(HEAD)
        self.norms, self.codes = norms[order], columns[order]
        self.items = scorer.items[self.codes]
        self.order, self.place = order, np.argsort(order)

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        vectors = self.scorer.users[users]
        order = np.argsort(self.place[hidden[1]])
        hidden = hidden[0][order], self.place[hidden[1]][order]
        stop = min(max(HEAD, depth), len(self.codes))
        shown = _between(hidden, 0, stop)
        codes, scores = _listed(vectors @ self.items[:stop].T, users, self.codes[:stop], shown, depth)
        crowded = np.zeros(len(users), bool)
        while stop < len(self.codes):
            rows = np.flatnonzero((self._reach(vectors, scores[:, -1]) > stop) & ~crowded)
            if not len(rows):
                break
            stretch = range(stop, stop := min(2 * stop, len(self.codes)))
            own = _of_rows(hidden, rows, len(users))
            entries, crowd = self._reaching(vectors[rows], scores[rows, -1], own, stretch, CROWD * depth)
            crowded[rows[crowd]] = True
            self._merge(users, (codes, scores), rows, entries)
        for rows in _parts(np.flatnonzero(crowded), block_rows(len(self.codes))):
            own = _of_rows((hidden[0], self.order[hidden[1]]), rows, len(users))
            codes[rows], scores[rows] = super().of(users[rows], own, depth)
        return codes, scores

    def _reaching(
        self, vectors: Floats, bound: Floats, hidden: Hidden, stretch: range, most: int
    ) -> tuple[Entries, Mask]:
        """The entries of a stretch of items that reach their row's bound, without what is hidden.

        And the rows, (b,) bool, in which more than `most` do, as many of them tie: these are not complete.
        """
        parts: list[Entries] = []
        bound, counts = bound[:, None].copy(), np.zeros(len(bound), np.int64)
        for start in range(stretch.start, stretch.stop, WIDTH):
            scores = vectors @ self.items[start : min(start + WIDTH, stretch.stop)].T
            scores[_between(hidden, start, start + scores.shape[1])] = -np.inf
            row, column = np.divmod(np.flatnonzero(scores >= bound), scores.shape[1])
            parts.append((row, start + column, scores[row, column]))
            counts += np.bincount(row, minlength=len(counts))
            bound[counts > most] = np.inf
        rows, columns, reached = (np.concatenate(part) for part in zip(*parts, strict=True))
        whole = counts[rows] <= most
        return (rows[whole], columns[whole], reached[whole]), counts > most

    def _merge(self, users: Int32s, lists: Lists, rows: Int64s, entries: Entries) -> None:
        """Puts entries, of places among `rows`, into the lists, where they belong there."""
        row, column, score = rows[entries[0]], self.codes[entries[1]], entries[2]
        rows, depth = np.unique(row), lists[0].shape[1]
        if not len(rows):
            return
        row = np.concatenate([np.repeat(rows, depth), row])
        column, score = (
            np.concatenate([lists[0][rows].ravel(), column]),
            np.concatenate([lists[1][rows].ravel(), score]),
        )
        best = top_of_entries(row, score, depth, users, column)
        lists[0][rows], lists[1][rows] = column[best], score[best]

    def _reach(self, vectors: Floats, bound: Floats) -> Int64s:
        """How many items have a norm that allows a score of `bound`: (b,)."""
        lengths = np.linalg.norm(vectors, axis=1) * SLACK
        needed = np.divide(bound, lengths, out=np.zeros_like(bound), where=(bound > 0) & (lengths > 0))
        counts: Int64s = np.searchsorted(-self.norms, -needed, side="right")
        return counts


class BestOfSparse(Best):
    """The same of sparse scores: no other item is looked at, for a user of whose scores enough are above 0."""

    scorer: SparseScorer

    def __init__(self, scorer: SparseScorer, columns: Int64s) -> None:
        super().__init__(scorer, columns)
        self.rows = block_rows(HEAD)

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        matrix, width = self.scorer.scores(users), len(self.columns)
        if width < matrix.shape[1]:
            matrix = matrix[:, self.columns]
        row = np.repeat(np.arange(len(users)), np.diff(matrix.indptr))
        keys = row * width + matrix.indices
        shown = (matrix.data > 0) & ~np.isin(keys, hidden[0] * width + hidden[1])
        depth = min(depth, width)
        many = np.bincount(row[shown], minlength=len(users)) >= depth
        shown &= many[row]
        codes, scores = np.empty((len(users), depth), np.int64), np.empty((len(users), depth), np.float32)
        row, code, score = row[shown], self.columns[matrix.indices[shown]], matrix.data[shown]
        best = top_of_entries(row, score, depth, users, code)
        codes[many], scores[many] = code[best], score[best]
        for rows in _parts(np.flatnonzero(~many), block_rows(width)):
            own = _of_rows(hidden, rows, len(users))
            codes[rows], scores[rows] = _listed(matrix[rows].toarray(), users[rows], self.columns, own, depth)
        return codes, scores


class RandomLists(Best):
    """The same of no knowledge: lists are drawn, not made of scores, where many items are shown."""

    scorer: RandomScorer

    def __init__(self, scorer: RandomScorer, columns: Int64s) -> None:
        super().__init__(scorer, columns)
        self.rows = block_rows(HEAD)

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
        for rows in _parts(np.flatnonzero(shown.sum(axis=1) < depth), block_rows(width)):
            codes[rows], scores[rows] = super().of(users[rows], _of_rows(hidden, rows, len(users)), depth)
        return codes, scores


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
    if isinstance(scorer, RandomScorer):
        return RandomLists(scorer, columns)
    if isinstance(scorer, SparseScorer):
        return BestOfSparse(scorer, columns)
    if isinstance(scorer, InnerProduct) and len(columns) > FEWEST_HEADS * HEAD:
        norms = np.sort(np.linalg.norm(scorer.items[columns], axis=1))
        if len(columns) > FEWEST_ITEMS or norms[len(norms) // 2] < LEVEL * norms[-HEAD]:
            return BestOfProducts(scorer, columns)
    return Best(scorer, columns)


def _between(hidden: Hidden, start: int, stop: int) -> Hidden:
    """What is hidden in columns from `start` to `stop`, counted from there. hidden: sorted by column."""
    part = slice(*np.searchsorted(hidden[1], [start, stop]))
    return hidden[0][part], hidden[1][part] - start


def _of_rows(hidden: Hidden, rows: Int64s, count: int) -> Hidden:
    """What is hidden in some of `count` rows, by their places among `rows`."""
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    own = place[hidden[0]] >= 0
    return place[hidden[0][own]], hidden[1][own]


def _parts(rows: Int64s, size: int) -> list[Int64s]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _listed(scores: Floats, users: Int32s, codes: Int64s, hidden: Hidden, depth: int) -> Lists:
    scores[hidden] = -np.inf
    best = top_k(scores, depth, users, codes)
    return codes[best], np.take_along_axis(scores, best, axis=1)
