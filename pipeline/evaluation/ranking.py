"""The best unseen candidates of users: by scores of any making, or by inner products of which most are never made.

An inner product is at most the product of the norms (Cauchy and Schwarz). So, with the items in the order of their
norms, the best of the first ones set a bound, and no item is asked whose norm is too small to reach it: the first step
of LEMP (Teflioudi et al. 2015). The lists are those of the full product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.evaluation.top_k import CROWD, top_k, top_of_entries
from pipeline.interactions import Floats, Int32s, Int64s, Mask, row_norms

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
# Items, those of the largest norms, that set the first bound, and how many later ones are asked at once.
HEAD, WIDTH = 1024, 8192
# Above so many items a bound is worth it where half of them have less than LEVEL of the largest norms, so that many are
# ruled out; above so many more it always is, as scores need not be stored.
FEWEST_ITEMS, LEVEL, MANY_ITEMS = 4 * HEAD, 0.4, 50_000
# Products and norms are rounded.
SLACK = np.float32(1 + 1e-4)


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

    def best(self, columns: Int64s) -> Best:
        """See `best_of`."""
        if len(columns) > FEWEST_ITEMS:
            norms = row_norms(self.items, columns)
            least = np.partition(norms, [len(norms) // 2, len(norms) - HEAD])
            if len(columns) > MANY_ITEMS or least[len(norms) // 2] < LEVEL * least[-HEAD]:
                return BestOfProducts(self, columns, norms)
        # Of some candidates, no product with the others is made.
        return Best(self if len(columns) == len(self.items) else InnerProduct(self.users, self.items[columns]), columns)


class Best:
    """The candidates with a scorer's highest scores; `rows` is how many users make a block.

    width: how many of a user's scores are made at once, 0 for all.
    """

    width: ClassVar[int] = 0

    def __init__(self, scorer: Scorer, columns: Int64s) -> None:
        """columns: (m,) item codes of the candidates, sorted."""
        self.scorer = scorer
        self.columns = columns
        self.rows = block_rows(self.width or len(columns))

    def let_go(self) -> None:
        """Drops what is made again where further lists are asked for; not while lists are being made."""

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """The lists of users (b,); hidden: what stands in none of them."""
        scores = self.scorer(users)
        if len(self.columns) < scores.shape[1]:
            scores = scores[:, self.columns]
        return listed(scores, users, self.columns, hidden, depth)


class BestOfProducts(Best):
    """The same of inner products, for a catalogue of any size: most scores are compared once, and never stored.

    Items are asked in the order of their norms, in stretches that double. The best of the stretches so far set each
    user's bound: of the next one only the few scores that reach it are sorted, and a user whose bound no further norm
    can reach is done.
    """

    scorer: InnerProduct
    width = HEAD

    def __init__(self, scorer: InnerProduct, columns: Int64s, norms: Floats | None = None) -> None:
        """columns: as in Best. norms: (m,), of these items, where they are known."""
        super().__init__(scorer, columns)
        norms = row_norms(scorer.items, columns) if norms is None else norms
        order = np.argsort(-norms, kind="stable")
        self.norms, self.codes = norms[order], columns[order]
        self.order, self.place = order, np.argsort(order)
        self.let_go()

    def let_go(self) -> None:
        """See Best."""
        # In the order of their norms; memory is taken for those that were asked for.
        self._items = np.empty((len(self.codes), self.scorer.items.shape[1]), self.scorer.items.dtype)
        self._copied = 0

    def _upto(self, stop: int) -> Floats:
        """The vectors of so many items of the largest norms. Threads that copy the same ones write the same."""
        if (start := self._copied) < stop:
            np.take(self.scorer.items, self.codes[start:stop], axis=0, out=self._items[start:stop], mode="clip")
            self._copied = stop
        return self._items[:stop]

    def of(self, users: Int32s, hidden: Hidden, depth: int) -> Lists:
        """See Best."""
        vectors = self.scorer.users[users]
        order = np.argsort(self.place[hidden[1]])
        hidden = hidden[0][order], self.place[hidden[1]][order]
        stop = min(max(HEAD, depth), len(self.codes))
        shown = _between(hidden, 0, stop)
        codes, scores = listed(vectors @ self._upto(stop).T, users, self.codes[:stop], shown, depth)
        crowded = np.zeros(len(users), bool)
        while stop < len(self.codes):
            rows = np.flatnonzero((self._reach(vectors, scores[:, -1]) > stop) & ~crowded)
            if not len(rows):
                break
            stretch = range(stop, stop := min(2 * stop, len(self.codes)))
            own = of_rows(hidden, rows, len(users))
            entries, crowd = self._reaching(vectors[rows], scores[rows, -1], own, stretch, CROWD * depth)
            crowded[rows[crowd]] = True
            self._merge(users, (codes, scores), rows, entries)
        for rows in parts_of(np.flatnonzero(crowded), block_rows(len(self.codes))):
            own = of_rows((hidden[0], self.order[hidden[1]]), rows, len(users))
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
        items = self._upto(stretch.stop)
        for start in range(stretch.start, stretch.stop, WIDTH):
            scores = vectors @ items[start : min(start + WIDTH, stretch.stop)].T
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


def best_of(scorer: Scorer, columns: Int64s) -> Best:
    """The fastest way to the scorer's lists: its own `best`, where it has one. columns: (m,) candidates, sorted."""
    own: Callable[[Int64s], Best] | None = getattr(scorer, "best", None)
    return own(columns) if own else Best(scorer, columns)


def _between(hidden: Hidden, start: int, stop: int) -> Hidden:
    """What is hidden in columns from `start` to `stop`, counted from there. hidden: sorted by column."""
    part = slice(*np.searchsorted(hidden[1], [start, stop]))
    return hidden[0][part], hidden[1][part] - start


def of_rows(hidden: Hidden, rows: Int64s, count: int) -> Hidden:
    """What is hidden in some of `count` rows, by their places among `rows`."""
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    own = place[hidden[0]] >= 0
    return place[hidden[0][own]], hidden[1][own]


def parts_of(rows: Int64s, size: int) -> list[Int64s]:
    """The rows, some at a time."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def listed(scores: Floats, users: Int32s, codes: Int64s, hidden: Hidden, depth: int) -> Lists:
    """The lists of made scores, (b, m), which this changes: what is hidden has none."""
    scores[hidden] = -np.inf
    best = top_k(scores, depth, users, codes)
    return codes[best], np.take_along_axis(scores, best, axis=1)
