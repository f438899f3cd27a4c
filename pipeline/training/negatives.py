"""Negatives: items for a softmax to rank against, and triples of a user, a chosen item and another one, weighed.

Negatives are drawn for a whole batch at once, uniformly or by popularity^α, and only those that turn out to be chosen
are drawn again. Whether a pair was chosen is one look into a bitmap while that takes little memory, else a binary
search in the sorted keys user · n_items + item.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.training import Imbalance
from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Int32s, Int64s, Interactions, Mask, distinct
from pipeline.training.distributed import ALONE

BITMAP_BYTES = 64 << 20
TABLE_SLOTS = 1 << 20
REDRAWS = 32
ALIKE = Imbalance()
NONE: Int64s = np.empty(0, np.int64)


@dataclass(frozen=True)
class Triple:
    """n triples: user, positive and negative are codes, (n,) int32 each; weight: (n,) float32, of the loss, 1 on
    average over the log; part: their share of a batch.
    """

    user: Int32s
    positive: Int32s
    negative: Int32s
    weight: Floats
    part: float = 1.0


class Chosen:
    """Which user chose which item, asked for many pairs at a time."""

    def __init__(self, log: Interactions, bitmap_bytes: int = BITMAP_BYTES) -> None:
        """bitmap_bytes: memory up to which a bitmap is kept, which is the faster of the two."""
        self._n_items = log.n_items
        self._keys: Int64s = distinct(log.user.astype(np.int64) * log.n_items + log.item)
        cells = log.n_users * log.n_items
        self._bits: npt.NDArray[np.uint8] | None = None
        if cells <= bitmap_bytes * 8:
            self._bits = np.zeros(cells // 8 + 1, np.uint8)
            np.bitwise_or.at(self._bits, self._keys >> 3, np.left_shift(1, self._keys & 7).astype(np.uint8))

    def __call__(self, user: Int32s, item: Int32s) -> Mask:
        """(n,) bool for n pairs of codes."""
        keys = user.astype(np.int64) * self._n_items + item
        if self._bits is not None:
            mask: Mask = (self._bits[keys >> 3] >> (keys & 7).astype(np.uint8)) & 1 == 1
            return mask
        if not len(self._keys):
            return np.zeros(len(keys), bool)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.asarray(self._keys[place] == keys)

    def of(self, user: int) -> Int32s:
        """The items of one user, sorted: (m,) int32."""
        first, last = np.searchsorted(self._keys, [user * self._n_items, (user + 1) * self._n_items])
        return (self._keys[first:last] - user * self._n_items).astype(np.int32)

    def sizes(self, users: Int64s) -> Int64s:
        """How many items each of some users chose: (m,) int64."""
        starts = users.astype(np.int64) * self._n_items
        first, last = np.searchsorted(self._keys, [starts, starts + self._n_items])
        return last - first

    def users(self) -> Int32s:
        """The user of every pair that was chosen: (n_pairs,) int32."""
        return (self._keys // max(self._n_items, 1)).astype(np.int32)

    def items(self) -> Int32s:
        """The item of every pair that was chosen: (n_pairs,) int32."""
        return (self._keys % max(self._n_items, 1)).astype(np.int32)


class Sampler:
    """Draws negatives half by popularity, half uniformly, among the items that were ever chosen.

    The targets of a batch may be negatives of its other rows too (mixed negatives, Yang et al. 2020): they come by
    popularity, so that an item is expected count · drawn share + targets · popularity share times among all of them.

    An item nobody has chosen yet may be new: that it was not chosen says nothing, so it is never a negative.
    """

    def __init__(self, counts: Int64s, generator: np.random.Generator) -> None:
        """counts: (n_items,) int64, how often each item was chosen."""
        self.known: Mask = counts > 0
        self._popular = counts / counts.sum()
        self._share = 0.5 * self._popular + 0.5 * self.known / self.known.sum()
        self._cumulated = np.cumsum(self._share)
        self._generator = generator

    def draw(self, count: int, targets: Int64s = NONE) -> tuple[Int64s, npt.NDArray[np.float32]]:
        """Item codes (m,), the targets given last, and (m,) log of how often each is expected among the m.

        Where `count` reaches the number of chosen items, each of them is drawn once: the softmax is then full.
        """
        known = np.flatnonzero(self.known)
        if count >= len(known):
            return known, np.zeros(len(known), np.float32)
        points = self._generator.random(count) * self._cumulated[-1]
        drawn = np.searchsorted(self._cumulated, points, side="right").astype(np.int64)
        drawn = np.concatenate([drawn, targets])
        expected = count * self._share[drawn] + len(targets) * self._popular[drawn]
        return drawn, np.log(expected).astype(np.float32)


class Balance:
    """An interaction's weight in training, where few items have most of the log, and where weights are drawn from.

        f_i = c_i^-p · sum_j c_j / sum_j c_j^(1 - p)        c: how often an item was chosen, so that f is 1 on average

    An interaction's loss is weighed by f; or, by sampling, by a whole number drawn anew each epoch whose mean is f, so
    that an interaction is left out or repeated.
    """

    def __init__(self, settings: Imbalance, counts: Int64s, generator: np.random.Generator) -> None:
        """counts: (n_items,) int64."""
        self.settings = settings
        self.drawn = settings.by == "sampling" and settings.popularity_power > 0
        self._generator = generator
        raised = np.maximum(counts, 1.0) ** -settings.popularity_power
        self._factors = (raised * counts.sum() / max((raised * counts).sum(), 1e-12)).astype(np.float32)

    def of(self, items: Int32s) -> Floats:
        """Weights of interactions with these items, besides the log's: as `items`, float32."""
        if not self.settings.popularity_power:
            return np.ones(items.shape, np.float32)
        factors = self._factors[items]
        if self.drawn:
            factors = np.floor(factors + self._generator.random(items.shape, np.float32))
        return factors

    def log_weight(self, log: Interactions) -> Floats:
        """The log's weights, where they count: (n,) float32."""
        return log.weight if self.settings.log_weight else np.ones(len(log), np.float32)


class Triples:
    """Seeded batches of triples; an epoch passes every interaction once, in a new order.

    processes: the processes that share a batch.
    """

    processes = ALONE

    def __init__(
        self,
        log: Interactions,
        batch_rows: int,
        popularity_power: float,
        seed: int,
        bitmap_bytes: int = BITMAP_BYTES,
        imbalance: Imbalance = ALIKE,
    ) -> None:
        """popularity_power: α; an item is drawn in proportion to popularity^α, and 0 draws every item alike.

        Raises StepFailed if every user chose all that can be drawn, so that nobody has a negative.
        """
        self.batch_rows = batch_rows
        self.chosen = Chosen(log, bitmap_bytes)
        self.generator = np.random.default_rng([seed, 1])
        self._shares = _shares(log, popularity_power)
        self._table = None if popularity_power == 0 else _table(self._shares)
        keep = self._has_negative(log)[log.user]
        self._user, self._item = log.user[keep], log.item[keep]
        self._balance = Balance(imbalance, log.item_counts(), self.generator)
        weight = self._balance.log_weight(log)[keep]
        self._weight: Floats = weight / np.float32(weight.mean(dtype=np.float64) if keep.any() else 1)
        if not keep.any():
            raise StepFailed(
                "every user chose every item, so there is nothing to rank lower; set train.model to content"
            )

    def __len__(self) -> int:
        """Triples in an epoch."""
        return len(self._user)

    def epoch(self) -> Iterator[Triple]:
        """Batches of `batch_rows` triples, the last one shorter."""
        factors, weight = self._balance.of(self._item), self._weight
        if self._balance.drawn:
            order = self.generator.permutation(np.repeat(np.arange(len(self._user)), factors.astype(np.int64)))
        else:
            order, weight = self.generator.permutation(len(self._user)), weight * factors
        for start in range(0, len(order), self.batch_rows):
            rows = order[start : start + self.batch_rows]
            user = self._user[rows]
            negative = self.negatives(user)
            own, part = self.processes.own(np.arange(len(rows)))
            yield Triple(user[own], self._item[rows][own], negative[own], weight[rows][own], part)

    def negatives(self, user: Int32s) -> Int32s:
        """An item for each of n users that the user did not choose: (n,) int32.

        After REDRAWS draws of chosen items only, one is drawn from the user's others: the distribution is the same.
        """
        drawn = self._draw(len(user))
        rows = np.flatnonzero(self.chosen(user, drawn))
        for _ in range(REDRAWS):
            if not len(rows):
                return drawn
            drawn[rows] = self._draw(len(rows))
            rows = rows[self.chosen(user[rows], drawn[rows])]
        for row in rows:
            drawn[row] = self._draw_for(int(user[row]))
        return drawn

    def _draw(self, count: int) -> Int32s:
        if self._table is None:
            return self.generator.integers(len(self._shares), size=count, dtype=np.uint32).astype(np.int32)
        return self._table[self.generator.integers(len(self._table), size=count, dtype=np.uint32)]

    def _draw_for(self, user: int) -> np.int32:
        shares = self._shares.copy()
        shares[self.chosen.of(user)] = 0
        return np.int32(self.generator.choice(len(shares), p=shares / shares.sum()))

    def _has_negative(self, log: Interactions) -> Mask:
        drawable = self._shares > 0
        taken = np.bincount(self.chosen.users()[drawable[self.chosen.items()]], minlength=log.n_users)
        return np.asarray(taken < drawable.sum())


def _shares(log: Interactions, power: float) -> npt.NDArray[np.float64]:
    """What share of the draws each item has: (n_items,) float64, nought for what nobody chose unless α is 0."""
    popularity = np.bincount(log.item, minlength=log.n_items).astype(np.float64)
    raised = np.where(popularity > 0, np.maximum(popularity, 1) ** power, 0) if power else np.ones(log.n_items)
    return raised / max(raised.sum(), 1)


def _table(shares: npt.NDArray[np.float64]) -> Int32s:
    """Items repeated in proportion to their shares, so that a draw is one look-up: (about TABLE_SLOTS,) int32.

    Every item that has a share has at least one slot, however rare it is.
    """
    slots = np.where(shares > 0, np.maximum(np.rint(shares * max(TABLE_SLOTS, 4 * len(shares))), 1), 0)
    return np.repeat(np.arange(len(shares), dtype=np.int32), slots.astype(np.int64))
