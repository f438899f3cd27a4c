"""How many users are recommended something else than on an earlier night, by the heads of both nights' lists.

At most MAX_USERS users, drawn by the night's seed; of the lists no others are read into memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.artefacts.published import LISTS, Published
from pipeline.artefacts.read import readable
from pipeline.storage.documents import skip_broken

# A share among so many is known to 2 percentage points at worst.
MAX_USERS = 2000
HEAD = 10

Heads = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ListChanges:
    """Users with a list on both nights. changed: whose first `head` items are others, or in another order.

    kept: of the earlier first items the mean share that is still among the first.
    """

    users: int
    changed: int
    kept: float
    head: int


@cache  # an index never changes, and the gate and the report both ask
def list_changes_of(index: Path, earlier: Path, seed: int) -> ListChanges | None:
    """Compares the lists of an index with those of an earlier one; None where the earlier ones cannot be read."""
    ids = sorted(Published(index, index.name).users(["user_id"])["user_id"].to_pylist())
    places = np.random.default_rng(seed).permutation(len(ids))[:MAX_USERS]
    users = [ids[place] for place in places]
    before = skip_broken(lambda: _heads(earlier, users))
    return None if before is None else _compared(before, _heads(index, users))


def _heads(index: Path, users: Sequence[str]) -> dict[str, list[str]]:
    """The first items of each user's list, best first. Raises ShardCorrupt if the lists are not what they should be."""
    rows = Published(index, index.name).lists(users)
    heads: dict[str, list[str]] = {}
    with readable(index / LISTS):
        for row in rows.select(["user_id", "rank", "item_id"]).sort_by("rank").to_pylist():
            if row["rank"] <= HEAD:
                heads.setdefault(row["user_id"], []).append(row["item_id"])
    return heads


def _compared(before: Heads, now: Heads) -> ListChanges:
    """Of lists that are shorter on one night, as many items as that has for anyone."""
    both = sorted(before.keys() & now.keys())
    head = min((max(len(heads[user]) for user in both) for heads in (before, now) if both), default=0)
    pairs = [(before[user][:head], now[user][:head]) for user in both]
    kept = [len({*old} & {*new}) / len(old) for old, new in pairs]
    return ListChanges(len(both), sum(old != new for old, new in pairs), float(np.mean(kept)) if kept else 1.0, head)
