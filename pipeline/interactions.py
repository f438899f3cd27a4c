"""The log as coded arrays, and the one definition of "time-decayed mean of what a user chose"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import scipy.sparse as sp

Floats = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
# Few enough that a table of their squares is small.
NORM_ROWS = 16_384


@dataclass(frozen=True)
class Interactions:
    """A log of n interactions: users and items as codes, sorted by user, then oldest first, then item.

    user: (n,) int32 in [0, n_users). item: (n,) int32 in [0, n_items).
    age_days: (n,) float64 >= 0, before the newest interaction of the whole log, whatever part of it this holds.
    weight: (n,) float32 > 0.
    """

    user: Int32s
    item: Int32s
    age_days: npt.NDArray[np.float64]
    weight: Floats
    n_users: int
    n_items: int

    def __len__(self) -> int:
        return len(self.user)

    def subset(self, keep: Mask) -> Interactions:
        """The interactions where `keep`, (n,) bool, is true; codes and ages stay."""
        return Interactions(
            self.user[keep], self.item[keep], self.age_days[keep], self.weight[keep], self.n_users, self.n_items
        )

    def user_blocks(self, rows: int) -> list[range]:
        """Ranges of users that have about `rows` interactions each."""
        cuts = np.searchsorted(self.offsets(), np.arange(rows, len(self), rows))
        return [range(int(a), int(b)) for a, b in pairwise(np.unique([0, *cuts, self.n_users]))]

    def of_users(self, users: range) -> Interactions:
        """The interactions of a range of users, counted from 0; all but the codes of users is a view."""
        first, stop = self.offsets()[[users.start, users.stop]]
        user, item = self.user[first:stop] - np.int32(users.start), self.item[first:stop]
        return Interactions(user, item, self.age_days[first:stop], self.weight[first:stop], len(users), self.n_items)

    def some_users(self, rows: int) -> Mask:
        """The interactions of every k-th user, (n,) bool, k the smallest that leaves about `rows`."""
        step = max(1, -(-len(self) // rows))
        mask: Mask = self.user % step == 0
        return mask

    def of_those_in(self, other: Interactions) -> Interactions:
        """The interactions of the users who have any in another log of the same codes."""
        users = np.zeros(self.n_users, bool)
        users[other.user] = True
        return self.subset(users[self.user])

    def sample_users(self, count: int, seed: int) -> Interactions:
        """The interactions of a seeded sample of `count` users, or of all if no more have any."""
        users = np.flatnonzero(np.diff(self.offsets()))
        if len(users) <= count:
            return self
        sample = np.zeros(self.n_users, bool)
        sample[np.random.default_rng(seed).choice(users, count, replace=False)] = True
        return self.subset(sample[self.user])

    def concat(self, other: Interactions) -> Interactions:
        """Both logs as one, sorted again; they must share codes and the moment that ages are counted from."""
        if (self.n_users, self.n_items) != (other.n_users, other.n_items):
            raise ValueError("the two logs are coded differently: their numbers of users and items differ")
        return merged([self, other])[0]

    def matrix(self) -> sp.csr_matrix:
        """The log as a (n_users, n_items) float32 matrix; the weights of a repeated pair add up."""
        shape = (self.n_users, self.n_items)
        import scipy.sparse as sp

        matrix = sp.csr_matrix((self.weight, (self.user, self.item)), shape=shape, dtype=np.float32)
        matrix.sum_duplicates()
        return matrix

    def pairs(self) -> sp.csr_matrix:
        """Who chose what: (n_users, n_items) float32 of ones, a repeated pair once."""
        matrix = self.matrix()
        matrix.data[:] = 1
        return matrix

    def offsets(self) -> Int64s:
        """Where each user's interactions start: (n_users + 1,) int64, as in a CSR matrix."""
        return self._offsets

    @cached_property
    def _offsets(self) -> Int64s:
        return np.concatenate([[0], np.cumsum(np.bincount(self.user, minlength=self.n_users))]).astype(np.int64)

    def item_counts(self) -> Int64s:
        """How often each item was chosen: (n_items,) int64."""
        return np.bincount(self.item, minlength=self.n_items)


def merged(logs: Sequence[Interactions]) -> tuple[Interactions, Int64s]:
    """Logs that share codes and the moment that ages are counted from as one, and its rows' places in them one by one.

    A single log stays as it is, not copied.
    """
    if len(logs) == 1:
        return logs[0], np.arange(len(logs[0]))
    user, item, age_days, weight = (
        np.concatenate([getattr(log, name) for log in logs]) for name in ("user", "item", "age_days", "weight")
    )
    order = np.lexsort((item, -age_days, user))
    first = logs[0]
    return Interactions(user[order], item[order], age_days[order], weight[order], first.n_users, first.n_items), order


def distinct(values: Int64s) -> Int64s:
    """Sorted distinct values: `np.unique` hashes numbers, and takes ten times as long."""
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def decay(history: Interactions, half_life_days: float) -> Floats:
    """Each interaction's weight, halved with every half life since its user's newest one: (n,) float32.

    Counting from the user's own newest interaction leaves the direction of a mean as it is, and keeps a user who
    was last seen decades of half lives ago from vanishing below the smallest float.
    """
    newest = np.full(history.n_users, np.inf)
    np.minimum.at(newest, history.user, history.age_days)
    age_days = history.age_days - newest[history.user]
    return (history.weight * np.exp2(-age_days / half_life_days)).astype(np.float32)


def decayed_mean(vectors: Floats, history: Interactions, half_life_days: float) -> Floats:
    """Users as the mean of what they chose, an interaction counting half at each half life of age.

    vectors: (n_items, d) float32, a zero row for an item without one, which then counts for nothing.
    Returns (n_users, d) float32 of unit norm; a zero row for a user of whom nothing is known.
    """
    shape = (history.n_users, history.n_items)
    import scipy.sparse as sp

    matrix = sp.csr_matrix((decay(history, half_life_days), (history.user, history.item)), shape=shape)
    return unit_rows((matrix @ vectors).astype(np.float32))


def unit_rows(vectors: Floats) -> Floats:
    """Rows scaled to length 1, in float32; a zero row stays zero."""
    norms = row_norms(vectors)[:, None]
    scaled: Floats = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)
    return scaled


def row_norms(vectors: Floats, rows: Int64s | None = None) -> Floats:
    """The length of each row, or of some, (n,) of the vectors' type: numpy alone would make a table of the squares."""
    count = len(vectors) if rows is None else len(rows)
    norms = np.empty(count, vectors.dtype if vectors.dtype.kind == "f" else np.float64)
    for start in range(0, count, NORM_ROWS):
        block = slice(start, start + NORM_ROWS)
        norms[block] = np.linalg.norm(vectors[block] if rows is None else vectors[rows[block]], axis=1)
    return norms
