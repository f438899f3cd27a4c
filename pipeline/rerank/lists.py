"""The one list of a user: the first stage's best, in the re-ranker's order where one is used.

Whoever shows, evaluates, looks up or explains a user's list has it from here, or from the file that `index` writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.interactions import Floats, Int64s
from pipeline.rerank.snapshot import Snapshot

if TYPE_CHECKING:
    from pipeline.rerank.network import Ranker

BLOCK_USERS = 1024


def lists_of(
    snapshot: Snapshot, ranker: Ranker | None, users: Int64s, depth: int
) -> Iterator[tuple[Int64s, Int64s, Floats]]:
    """Some users at a time, (b,) codes, their items, (b, depth) int64, best first, and their scores, float32.

    depth: how many of the first stage's best are listed, and re-ordered by the ranker if there is one; -1 where there
    is none. A score is then its probability that the user chooses the item, else the inner product.
    """
    for start in range(0, len(users), BLOCK_USERS):
        block = users[start : start + BLOCK_USERS]
        items, scores = snapshot.candidates(block, depth)
        yield block, *((items, scores) if ranker is None else ranker.reordered(snapshot, block, items, scores))


def ranked_lists(snapshot: Snapshot, ranker: Ranker | None, users: Int64s, depth: int) -> Int64s:
    """All those lists, (len(users), depth) int64."""
    blocks = [lists for _, lists, _ in lists_of(snapshot, ranker, users, depth)]
    return np.concatenate([np.zeros((0, depth), np.int64), *blocks])
