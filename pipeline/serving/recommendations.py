"""Recommendations: for every user with a vector the best items of the index, as a table that needs no search.

Candidates come from `recommend.faiss`, without what the user has; the night's re-ranker orders them where it helps, and
else the index's own order stays. `rank` counts from 1; `score` is the re-ranker's probability that the user chooses the
item, or where it is not used the inner product; the index's card says of what exactly. Users are read and written in
blocks, so that memory does not grow with their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.staged import Log
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.night import Night
from pipeline.recommend.base import Rows
from pipeline.rerank.network import Ranker, load_ranker
from pipeline.rerank.snapshot import NOTHING, Catalogue, Snapshot
from pipeline.runtime import threads
from pipeline.steps.fuse_users import write_without
from pipeline.steps.rerank import modalities_of
from pipeline.workspace import Json

FILE = "recommendations.parquet"
WITHOUT = "users_without_recommendations.parquet"
NO_VECTOR = "the model has no vector for them"
NOTHING_LEFT = "they have every item of the index"
BLOCK_USERS = 1024
SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Published:
    """users: (n_users, d) and items: (n_items, d) float32. kept: (n_items,) bool, the rows of the index."""

    users: Floats
    items: Floats
    kept: Mask


def write(night: Night, log: Log, history: Interactions, published: Published, folder: Path) -> Json:
    """Writes `recommendations.parquet` into the index folder, by user_id and rank, and returns what the card says.

    Beside it goes `users_without_recommendations.parquet` (user_id, reason).

    history: all that users have chosen.
    """
    told = night.receipt("train").details["ranker"]
    used = bool(told["used"])
    count = night.config.index.recommendations
    depth = max(count, night.config.ranker.candidates) if used else count
    index = faiss.read_index(str(folder / "recommend.faiss"))
    first = Catalogue(published.items, modalities_of(night) if used else {}, published.kept, index)
    snapshot = Snapshot(first, published.users, history)
    trained = night.workspace.path(night.receipt("train").path, "published")
    ranker = load_ranker(trained, first, night.config.ranker, threads(night.config)) if used else None
    known = snapshot.known_users()
    served = np.zeros(len(log.users), bool)
    rows = 0
    with pq.ParquetWriter(folder / FILE, SCHEMA) as writer:
        for start in range(0, len(known), BLOCK_USERS):
            block = known[start : start + BLOCK_USERS]
            lists, scores = _ordered(snapshot, ranker, block, depth)
            table = _table(log, block, lists[:, :count], scores[:, :count])
            writer.write_table(table)
            served[block] = (lists != NOTHING).any(axis=1)
            rows += table.num_rows
    missing = {log.users[user]: NO_VECTOR for user in np.flatnonzero(~served)}
    missing |= {log.users[user]: NOTHING_LEFT for user in known[~served[known]]}
    without = write_without(night, log, missing, folder / WITHOUT)
    score = _meaning(night, told["learned_from"]) if used else "inner product"
    return {"rows": rows, "users": int(served.sum()), "users_without": without, "k": count, "score": score}


def _meaning(night: Night, learned_from: str) -> str:
    """What a score of the re-ranker is."""
    days = f"within {night.config.ranker.chosen_within_days:g} days of being shown the item"
    when = days if learned_from == "shown" else "within a time as long as the validation part"
    return f"probability by the re-ranker that the user chooses the item {when}"


def _ordered(snapshot: Snapshot, ranker: Ranker | None, users: Rows, depth: int) -> tuple[Rows, Floats]:
    """Each user's items, (b, depth) int64, -1 where there is none, best first, and their scores, float32."""
    lists = snapshot.candidates(users, depth)
    if ranker is not None:
        return ranker.reordered(snapshot, users, lists)
    return lists, np.einsum("bd,bkd->bk", snapshot.users[users], snapshot.catalogue.vectors[lists])


def _table(log: Log, users: Rows, lists: Rows, scores: Floats) -> pa.Table:
    row, column = np.nonzero(lists != NOTHING)
    names = pa.array(log.users).take(pa.array(users[row])), pa.array(log.items).take(pa.array(lists[row, column]))
    rank, score = pa.array(column + 1, pa.int32()), pa.array(scores[row, column], pa.float32())
    return pa.table([names[0], rank, names[1], score], schema=SCHEMA)
