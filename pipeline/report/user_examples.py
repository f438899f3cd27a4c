"""Ten users with what they chose last and the head of the list that goes out to them, `recommendations.parquet`.

The users are drawn by a seeded generator, not picked by hand, among those with a history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc

from pipeline.artefacts.published import Published
from pipeline.report.cards import Card, ScoreParts, Tile, UserShelf
from pipeline.report.files import RunFiles, dataset, rows_of
from pipeline.report.items import Item, items_of
from pipeline.report.pictures import CARD, Studio
from pipeline.report.score_parts import Recommendation, parts_of

USERS = 10
HISTORY = 6
RECOMMENDED = 8
_EASY_HISTORY = 3


def shelves_of(
    run: RunFiles, users: Sequence[str], studio: Studio, popularity: Mapping[str, int]
) -> tuple[tuple[UserShelf, ...], dict[str, Tile]]:
    """Returns the shelves of those users who have a list, and the tile of every item on them by id."""
    lists, histories = _lists(run, users), _histories(run, users)
    recommended = [entry for user in users for entry in lists[user]]
    parts = parts_of(run, recommended)
    shown = {entry.item for entry in recommended} | {item for user in lists for item in histories[user][:HISTORY]}
    items = items_of(run, shown)
    tiles = studio.tiles({item_id: item.titled for item_id, item in items.items()}, CARD)
    telling = _telling(items)

    def card(item_id: str, parts: ScoreParts | None = None) -> Card:
        item, fresh = items[item_id], popularity.get(item_id, 0) == 0
        return Card(item_id, item.title, _caption(item, telling), fresh, tiles[item_id], parts)

    shelves = (
        UserShelf(
            user,
            len(histories[user]),
            tuple(card(item_id) for item_id in histories[user][:HISTORY] if item_id in items),
            tuple(card(entry.item, parts.get(entry)) for entry in lists[user] if entry.item in items),
        )
        for user in users
        if lists[user]
    )
    return tuple(shelves), tiles


def _telling(items: Mapping[str, Item]) -> set[str]:
    """Names the attributes that differ between items: one that is the same everywhere says nothing on a card."""
    pairs = {pair for item in items.values() for pair in item.attributes}
    names = [name for name, _ in pairs]
    return {name for name in names if names.count(name) > 1}


def _caption(item: Item, telling: set[str]) -> str:
    return " · ".join(value for name, value in item.attributes if name in telling and len(value) <= 28)


def drawn(run: RunFiles) -> list[str]:
    """At most ten users to show, by id: of those with a vector, and rather of those who chose a few items."""
    known = set(Published(run.index, run.index.name).users(["user_id"])["user_id"].to_pylist())
    log = dataset(run.staged / "interactions.parquet").to_table(columns=["user_id", "item_id"])
    counts = log.group_by("user_id").aggregate([("item_id", "count_distinct")])
    chosen = {row["user_id"]: row["item_id_count_distinct"] for row in counts.to_pylist() if row["user_id"] in known}
    easy = sorted(user for user, items in chosen.items() if items >= _EASY_HISTORY)
    pool = easy if len(easy) >= USERS else sorted(chosen)
    return sorted(pool[place] for place in np.random.default_rng(run.seed).permutation(len(pool))[:USERS])


def _histories(run: RunFiles, users: Sequence[str]) -> dict[str, list[str]]:
    """Each user's distinct items, newest first."""
    log = rows_of(run.staged / "interactions.parquet", "user_id", users, ["user_id", "item_id", "ts"])
    log = log.sort_by([("ts", "descending"), ("item_id", "ascending")])
    return {
        user: list(dict.fromkeys(log.filter(pc.equal(log["user_id"], user))["item_id"].to_pylist())) for user in users
    }


def _lists(run: RunFiles, users: Sequence[str]) -> dict[str, list[Recommendation]]:
    """The head of each user's list, best first."""
    rows = Published(run.index, run.index.name).lists(users)
    rows = rows.filter(pc.less_equal(rows["rank"], RECOMMENDED)).sort_by("rank")
    lists: dict[str, list[Recommendation]] = {user: [] for user in users}
    for row in rows.to_pylist():
        lists[row["user_id"]].append(Recommendation(row["user_id"], row["item_id"], row["score"]))
    return lists
