"""Ten users with what they chose last and the head of the list that goes out to them, `recommendations.parquet`.

The users are drawn by a seeded generator, not picked by hand, among those with a history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.published import Published
from pipeline.artefacts.staged import Staged
from pipeline.report.files import RunFiles
from pipeline.report.items import Item, items_of
from pipeline.report.pictures import CARD, Studio, Tile
from pipeline.report.score_parts import Recommendation, ScoreParts, parts_of

USERS = 10
HISTORY = 6
RECOMMENDED = 8
_EASY_HISTORY = 3


@dataclass(frozen=True)
class Card:
    """An item on a shelf; `caption` is a short line below the title and `fresh` marks one nobody has chosen yet.

    score: of a recommendation, what its score is made of.
    """

    item_id: str
    title: str
    caption: str
    fresh: bool
    tile: Tile
    score: ScoreParts | None = None


@dataclass(frozen=True)
class UserShelf:
    """A user's latest choices (newest first) and recommendations (best first)."""

    user_id: str
    chosen: int
    history: tuple[Card, ...]
    recommended: tuple[Card, ...]


def shelves_of(
    run: RunFiles, users: Sequence[str], studio: Studio, popularity: Mapping[str, int]
) -> tuple[tuple[UserShelf, ...], dict[str, Tile]]:
    """Returns the shelves of those users who have a list, and the tile of every item on them by id."""
    lists, histories = _lists(run, users), _histories(run, users)
    recommended = [entry for user in users for entry in lists[user]]
    parts = parts_of(run, recommended)
    uses = Counter(entry.item for entry in recommended)
    uses.update(item for user in lists for item in histories[user][:HISTORY])
    items = items_of(run, uses)
    tiles = studio.tiles({item_id: item.titled for item_id, item in items.items()}, CARD, uses)
    telling = _telling(items)

    def card(item_id: str, parts: ScoreParts | None = None) -> Card:
        item, fresh = items[item_id], popularity.get(item_id, 0) == 0
        caption = " · ".join(value for name, value in item.attributes if name in telling and len(value) <= 28)
        return Card(item_id, item.title, caption, fresh, tiles[item_id], parts)

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


def drawn(run: RunFiles) -> list[str]:
    """At most ten users to show, by id: of those with a vector, and rather of those who chose a few items."""
    known = set(Published(run.index, run.index.name).users(["user_id"])["user_id"].to_pylist())
    log, users = Staged(run.staged).read_everything(), Staged(run.staged).user_ids().to_pylist()
    owners = np.unique(log.user.astype(np.int64) * log.n_items + log.item) // max(log.n_items, 1)
    items = np.bincount(owners, minlength=log.n_users).tolist()
    chosen = {user: count for user, count in zip(users, items, strict=True) if count and user in known}
    easy = sorted(user for user, count in chosen.items() if count >= _EASY_HISTORY)
    pool = easy if len(easy) >= USERS else sorted(chosen)
    return sorted(pool[place] for place in np.random.default_rng(run.config.seed).permutation(len(pool))[:USERS])


def _histories(run: RunFiles, users: Sequence[str]) -> dict[str, list[str]]:
    """Each user's distinct items, newest first."""
    staged = Staged(run.staged)
    log, items = staged.read_everything(), staged.items(["item_id"])["item_id"]
    codes = {user: code for code, user in enumerate(staged.user_ids().to_pylist())}
    histories = {}
    for user in users:
        own = log.of_users(range(codes[user], codes[user] + 1))
        choices = sorted(zip(own.age_days.tolist(), items.take(pa.array(own.item)).to_pylist(), strict=True))
        histories[user] = list(dict.fromkeys(item for _, item in choices))
    return histories


def _lists(run: RunFiles, users: Sequence[str]) -> dict[str, list[Recommendation]]:
    """The head of each user's list, best first."""
    rows = Published(run.index, run.index.name).lists(users)
    rows = rows.filter(pc.less_equal(rows["rank"], RECOMMENDED)).sort_by("rank")
    lists: dict[str, list[Recommendation]] = {user: [] for user in users}
    for row in rows.to_pylist():
        lists[row["user_id"]].append(Recommendation(row["user_id"], row["item_id"], row["score"]))
    return lists
