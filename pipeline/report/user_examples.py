"""Ten users with what they chose and what is recommended to them, exactly, from the published vectors.

The users are drawn by a seeded generator, not picked by hand, among those with a history. Item vectors are read in
batches and only each user's best rows are kept, so memory does not grow with the catalogue.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.artefacts.vectors import matrix
from pipeline.report.cards import Card, Tile, UserShelf
from pipeline.report.files import RunFiles, dataset, rows_of
from pipeline.report.items import Item, items_of
from pipeline.report.modality_shares import Why
from pipeline.report.pictures import CARD, Studio
from pipeline.report.reasons import reasons_of

USERS = 10
HISTORY = 6
RECOMMENDED = 8
_BATCH_ROWS = 16_384
_EASY_HISTORY = 3

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Taste:
    user_id: str
    history: list[str]
    """Distinct items, newest first."""
    seen: frozenset[str]


def shelves_of(
    run: RunFiles, studio: Studio, popularity: Mapping[str, int]
) -> tuple[tuple[UserShelf, ...], dict[str, Tile]]:
    """Returns at most ten shelves, and the tile of every item on them by id."""
    users = _draw(run)
    table = rows_of(run.model / "published" / "user_vectors.parquet", "user_id", users).sort_by("user_id")
    tastes = _tastes(run, table["user_id"].to_pylist())
    vectors = matrix(table["vector"])
    best = _recommend(run, tastes, vectors)
    triples = zip(tastes, best, reasons_of(run, vectors, best), strict=True)
    filled = [(taste, hits, reasons) for taste, hits, reasons in triples if hits]
    shown = {item for taste, hits, _ in filled for item in (*taste.history[:HISTORY], *(item for _, item in hits))}
    items = items_of(run, shown)
    tiles = studio.tiles({item_id: item.titled for item_id, item in items.items()}, CARD)

    telling = _telling(items)

    def card(item_id: str, why: Why | None = None) -> Card:
        item, fresh = items[item_id], popularity.get(item_id, 0) == 0
        return Card(item_id, item.title, _caption(item, telling), fresh, tiles[item_id], why)

    shelves = (
        UserShelf(
            taste.user_id,
            len(taste.history),
            tuple(card(item_id) for item_id in taste.history[:HISTORY] if item_id in items),
            tuple(card(item_id, reasons.get(item_id)) for _, item_id in hits if item_id in items),
        )
        for taste, hits, reasons in filled
    )
    return tuple(shelves), tiles


def _telling(items: Mapping[str, Item]) -> set[str]:
    """Names the attributes that differ between items: one that is the same everywhere says nothing on a card."""
    pairs = {pair for item in items.values() for pair in item.attributes}
    names = [name for name, _ in pairs]
    return {name for name in names if names.count(name) > 1}


def _caption(item: Item, telling: set[str]) -> str:
    return " · ".join(value for name, value in item.attributes if name in telling and len(value) <= 28)


def _draw(run: RunFiles) -> list[str]:
    vectors = dataset(run.model / "published" / "user_vectors.parquet")
    known = set(vectors.to_table(columns=["user_id"])["user_id"].to_pylist())
    log = dataset(run.staged / "interactions.parquet").to_table(columns=["user_id", "item_id"])
    counts = log.group_by("user_id").aggregate([("item_id", "count_distinct")])
    found = {row["user_id"]: row["item_id_count_distinct"] for row in counts.to_pylist() if row["user_id"] in known}
    easy = sorted(user for user, chosen in found.items() if chosen >= _EASY_HISTORY)
    pool = easy if len(easy) >= USERS else sorted(found)
    picked = np.random.default_rng(run.seed).permutation(len(pool))[:USERS]
    return [pool[place] for place in picked]


def _tastes(run: RunFiles, users: list[str]) -> list[_Taste]:
    log = rows_of(run.staged / "interactions.parquet", "user_id", users, ["user_id", "item_id", "ts"])
    log = log.sort_by([("ts", "descending"), ("item_id", "ascending")])
    seen = rows_of(run.index / "users.parquet", "user_id", users, ["user_id", "seen"])
    published = dict(zip(seen["user_id"].to_pylist(), seen["seen"].to_pylist(), strict=True))
    history = {
        user: list(dict.fromkeys(log.filter(pc.equal(log["user_id"], user))["item_id"].to_pylist())) for user in users
    }
    return [_Taste(user, history[user], frozenset(published.get(user) or ()) | set(history[user])) for user in users]


def _recommend(run: RunFiles, tastes: list[_Taste], users: Matrix) -> list[list[tuple[float, str]]]:
    best: list[list[tuple[float, str]]] = [[] for _ in tastes]
    vectors = dataset(run.model / "published" / "item_vectors.parquet")
    for batch in vectors.to_batches(batch_size=_BATCH_ROWS):
        present = batch.filter(batch["vector"].is_valid())
        if not len(present):
            continue
        ids = present["item_id"].to_pylist()
        scores = users @ matrix(present["vector"]).T
        for place, taste in enumerate(tastes):
            best[place] = _merge(best[place], ids, scores[place], taste.seen)
    return best


def _merge(
    best: list[tuple[float, str]], ids: list[str], scores: npt.NDArray[np.float32], seen: frozenset[str]
) -> list[tuple[float, str]]:
    order = np.argsort(-scores, kind="stable")[: RECOMMENDED + len(seen)]
    fresh = [(float(scores[row]), ids[row]) for row in order if ids[row] not in seen]
    return heapq.nsmallest(RECOMMENDED, best + fresh, key=lambda hit: (-hit[0], hit[1]))
