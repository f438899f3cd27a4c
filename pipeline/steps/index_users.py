"""The published users: `users.parquet`, each one's vector and what they have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.vectors import vector_column, write_groups
from pipeline.interactions import Floats, Int64s, Interactions

# Who asks for one user reads a group: in 16,384 users of 64 numbers that takes 25 milliseconds, in these 2.
USERS_PER_GROUP = 1024


def write_users(user_ids: pa.Array, item_ids: pa.Array, history: Interactions, users: Floats, path: Path) -> None:
    """Writes user_id, vector and the sorted ids of what each has chosen, of the users that have a vector.

    users: (n_users, d) float32, a zero row without one.
    """
    known, order = np.flatnonzero(users.any(axis=1)), pc.sort_indices(item_ids)
    place, by_id = np.empty(len(item_ids), np.int64), item_ids.take(order)
    place[order.to_numpy()] = np.arange(len(item_ids))

    def blocks() -> Iterator[pa.Table]:
        for start in range(0, max(len(known), 1), USERS_PER_GROUP):
            block = known[start : start + USERS_PER_GROUP]
            ranks, ends = _chosen(history, block, place)
            seen = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), by_id.take(pa.array(ranks)))
            ids, own = user_ids.take(pa.array(block)), vector_column(users[block])
            yield pa.table({"user_id": ids, "vector": own, "seen": seen})

    write_groups(path, blocks())


def _chosen(history: Interactions, users: Int64s, place: Int64s) -> tuple[Int64s, Int64s]:
    """The distinct items of some users, in order of their places, and where each user's end, from 0.

    users: (b,) sorted codes. place: (n_items,) of each item. Returns (m,) places and (b + 1,) ends.
    """
    if not len(users):
        return np.zeros(0, np.int64), np.zeros(1, np.int64)
    first, stop = history.offsets()[[users[0], users[-1] + 1]]
    keys = np.unique(history.user[first:stop].astype(np.int64) * len(place) + place[history.item[first:stop]])
    owner, rank = np.divmod(keys, len(place))
    sizes = np.bincount(owner - users[0], minlength=users[-1] - users[0] + 1)[users - users[0]]
    return rank[np.isin(owner, users)], np.concatenate([[0], np.cumsum(sizes)])
