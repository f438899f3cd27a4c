"""The k best of each row of scores, whatever ties.

- the k-th largest of the maxima of groups of columns is a number that at least k scores reach, found in one pass;
- what reaches it, few more than k, is sorted;
- a row in which many tie at the k-th place is picked by itself.

Equal scores are ordered by a fixed hash of the user's and the item's code: always the same, and no better than
chance. The order of the codes themselves would not do: catalogues are often numbered by age or fame, so that a model
that scores all new items alike would look as if it knew them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.interactions import Floats, Int32s, Int64s

# A row with more contenders than this many times k has many that tie.
CROWD = 8


def top_k(scores: Floats, k: int, users: Int32s, items: Int64s | None = None) -> Int64s:
    """The columns of the k largest scores of each row, best first, equals ordered by `tie_break`.

    scores: (n, m). users: (n,) the rows' user codes. items: (m,) the columns' item codes, by default the columns.
    Returns (n, min(k, m)) int64.
    """
    scores = scores.astype(np.float32, copy=False)
    n, m = scores.shape
    k = min(k, m)
    if not k:
        return np.zeros((n, 0), np.int64)
    items = np.arange(m) if items is None else items
    bound = _lower_bound(scores, k)
    reached = scores >= bound[:, None]
    crowded = np.count_nonzero(reached, axis=1) > CROWD * k
    single = np.flatnonzero(~crowded)
    place, columns = np.divmod(np.flatnonzero(reached[single] if crowded.any() else reached), m)
    rows = single[place]
    best = np.empty((n, k), np.int64)
    best[single] = columns[top_of_entries(rows, scores[rows, columns], k, users, items[columns])]
    for row in np.flatnonzero(crowded):
        best[row] = _top_of_row(scores[row], k, users[row], items)
    return best


def top_of_entries(rows: Int64s, scores: Floats, k: int, users: Int32s, items: Int64s) -> Int64s:
    """The places of the k best entries of every row that has any, best first: (rows that have some, k) int64.

    rows: (c,), which have k entries at least. scores and items: (c,). users: by row.
    """
    order = _order(rows, scores, users, items)
    counts = np.bincount(rows)
    counts = counts[counts > 0]
    return order[(np.cumsum(counts) - counts)[:, None] + np.arange(k)]


def _lower_bound(scores: Floats, k: int) -> Floats:
    """(n,) a number that at least k scores of each row reach, and few more than k unless they tie.

    The k-th largest of the maxima of disjoint groups of columns is one, and takes one pass that a processor likes.
    """
    n, m = scores.shape
    groups = max(4 * k, 256)
    width = m // groups
    maxima = scores[:, : width * groups].reshape(n, width, groups).max(axis=1) if width > 3 else scores
    bound: Floats = np.partition(maxima, -k, axis=1)[:, -k]
    return bound


def _order(rows: Int64s, scores: Floats, users: Int32s, items: Int64s) -> Int64s:
    """Of scores (c,) in rows (c,), the order by row, then the largest first, equals by `tie_break`.

    A row and a score fit into one integer, as the bits of positive numbers are in the numbers' order, and of negative
    ones in the reverse; integers are sorted several times as fast as columns, one after the other.
    """
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)  # and -0 is 0
    key = (rows << 32) - np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    order = np.argsort(key)
    if (np.diff(key[order]) == 0).any():
        order = np.lexsort((tie_break(users[rows], items), key))
    return order


def _top_of_row(scores: Floats, k: int, user: np.int32, items: Int64s) -> Int64s:
    last = np.partition(scores, -k)[-k]
    above, level = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
    keys = tie_break(user, items[level])
    level = level[np.argpartition(keys, k - len(above) - 1)[: k - len(above)]]
    best = np.concatenate([above, level])
    return best[np.lexsort((tie_break(user, items[best]), -scores[best]))]


def tie_break(users: Int32s | np.int32, items: Int64s) -> npt.NDArray[np.uint64]:
    """A fixed pseudo-random key of each pair of codes, the lower first among equal scores (SplitMix64's mixer)."""
    key = (np.asarray(users).astype(np.uint64) << np.uint64(32)) + np.asarray(items).astype(np.uint64)
    key = key + np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))
