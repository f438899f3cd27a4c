"""Versions of one published index, made so that each answer tells of which version every part of it is.

The version's number is in the index's digest; behind each title; in the scores of lists, of the first stage (once by
the items' vectors and 2.5 times by the users') and of content; and rows of items are in another order in each, so that
a row that is read of another version is another item, of another score.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.published import CONTENT, ITEMS, LISTS, RECOMMEND, USERS
from pipeline.artefacts.vectors import matrix, vector_column, write_groups
from pipeline.errors import ConfigError
from pipeline.indexing.clusters import Indexed, exact_index
from pipeline.interactions import Floats, Int64s
from pipeline.serving import Answer, Batch, Index
from pipeline.storage.files import sha256_of
from pipeline.workspace import RECEIPT
from tests.receipts import write_receipt

MARK, OF_USERS, NEAR = " · version ", 2.5, 0.02
K, VECTORS = 6, 16


def digest_of(number: int) -> str:
    """The name of a version's index."""
    return f"{number:020x}"


@dataclass(frozen=True)
class Truth:
    """What a published index says, read by plain means. folder: the index's, which is not swept."""

    folder: Path

    @cached_property
    def items(self) -> pa.Table:
        return pq.read_table(self.folder / ITEMS)

    @cached_property
    def users(self) -> pa.Table:
        return pq.read_table(self.folder / USERS)

    @cached_property
    def lists(self) -> pa.Table:
        return pq.read_table(self.folder / LISTS)

    @cached_property
    def vectors(self) -> tuple[Floats, Floats]:
        """Of users and items."""
        index = faiss.read_index(str(self.folder / RECOMMEND))
        return matrix(self.users["vector"]), index.reconstruct_n(0, index.ntotal)

    @cached_property
    def content(self) -> tuple[Int64s, Floats]:
        """The rows that have content, and their vectors."""
        index = faiss.read_index(str(self.folder / CONTENT))
        rows = faiss.vector_to_array(index.id_map)
        return rows, np.stack([index.reconstruct(int(row)) for row in rows])

    @cached_property
    def products(self) -> Floats:
        users, items = self.vectors
        return users @ items.T

    @cached_property
    def cosines(self) -> Floats:
        """By row of items; not a number where one has no content."""
        rows, vectors = self.content
        table = np.full((len(self.items), len(self.items)), np.nan, np.float32)
        table[np.ix_(rows, rows)] = vectors @ vectors.T
        return table

    @cached_property
    def step(self) -> float:
        """How far the scores of two versions are apart: farther than any two of one version are."""
        scores = np.abs(self.lists["score"].to_numpy()).max(initial=1)
        return 2 * float(np.ceil(max(np.abs(self.products).max(), scores))) + 2

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.items["item_id"].to_pylist())}

    @cached_property
    def genre_of(self) -> dict[str, str]:
        return dict(zip(self.items["item_id"].to_pylist(), self.items["genre"].to_pylist(), strict=True))

    @cached_property
    def listed(self) -> dict[str, list[tuple[str, float]]]:
        lists: dict[str, list[tuple[str, float]]] = {}
        for entry in self.lists.to_pylist():
            lists.setdefault(entry["user_id"], []).append((entry["item_id"], entry["score"]))
        return lists


def write_version(truth: Truth, folder: Path, number: int) -> None:
    """Writes a version's index folder, its receipt last."""
    shutil.copytree(truth.folder, folder, ignore=shutil.ignore_patterns(RECEIPT))
    count, shift = len(truth.items), truth.step * number
    order = np.roll(np.arange(count), 7 * number)
    place = np.argsort(order)
    titles = [f"{title or ''}{MARK}{number}" for title in truth.items["title"].to_pylist()]
    at = truth.items.schema.get_field_index("title")
    items = truth.items.set_column(at, truth.items.schema.field("title"), pa.array(titles, pa.string()))
    pq.write_table(items.take(pa.array(order)), folder / ITEMS)
    users, vectors = truth.vectors
    marked = np.hstack([vectors, np.full((count, 1), shift), np.ones((count, 1))]).astype(np.float32)[order]
    faiss.write_index(exact_index(Indexed(marked, np.arange(count))), str(folder / RECOMMEND))
    marked = np.hstack([users, np.ones((len(users), 1)), np.full((len(users), 1), OF_USERS * shift)])
    vector = vector_column(marked.astype(np.float32))
    at = truth.users.schema.get_field_index("vector")
    write_groups(folder / USERS, [truth.users.set_column(at, pa.field("vector", vector.type), vector)])
    rows, content = truth.content
    labels = place[rows]
    marked = np.hstack([content, np.full((len(rows), 1), np.sqrt(shift))]).astype(np.float32)
    faiss.write_index(exact_index(Indexed(marked, np.arange(len(rows)), labels)), str(folder / CONTENT))
    at = truth.lists.schema.get_field_index("score")
    scores = pa.array(truth.lists["score"].to_numpy() + np.float32(shift), pa.float32())
    pq.write_table(truth.lists.set_column(at, truth.lists.schema.field("score"), scores), folder / LISTS)
    write_receipt(folder)


def write_run(workspace: Path, model: Path, truth: Truth, number: int) -> str:
    """Leaves a night that has all but published: the receipts of one that has, but for its index, a version of it.

    model: a copy of that night's folder. Returns the run's id.
    """
    run_id, digest = f"night-{number:03d}", digest_of(number)
    folder = workspace / "index" / digest
    write_version(truth, folder, number)
    run = workspace / "runs" / run_id
    shutil.copytree(model, run, ignore=shutil.ignore_patterns("publish.json", "manifest.json", "report.html"))
    opened = json.loads((run / "run.json").read_text())
    began = datetime.fromisoformat(opened["started_at"]) + timedelta(seconds=number)
    (run / "run.json").write_text(json.dumps({**opened, "run_id": run_id, "started_at": began.isoformat()}))
    receipt = json.loads((run / "steps" / "index.json").read_text())
    files = [folder / Path(name).relative_to(receipt["path"]) for name in receipt["outputs"]]
    outputs = {str(path.relative_to(workspace)): sha256_of(path) for path in files}
    made = {**receipt, "path": f"index/{digest}", "digest": digest, "outputs": outputs}
    (run / "steps" / "index.json").write_text(json.dumps(made))
    return run_id


def asked(index: Index, truth: Truth, random: np.random.Generator) -> tuple[int, str]:
    """Asks a question of a random kind; returns the version that answered, and what is not of it, or not right."""
    users = truth.users["user_id"].to_pylist()
    row, item = int(random.integers(len(users))), str(random.choice(list(truth.row_of)))
    user = users[row]
    match int(random.integers(6)):
        case 0 if user in truth.listed:
            answer = index.recommend(user, k=3)
            expected = [(item, score) for item, score in truth.listed[user][:3]]
            found = [(hit.item_id, hit.score - truth.step * _number(answer)) for hit in answer.hits]
            alike = len(found) == len(expected) and all(
                own == other and abs(a - b) < NEAR for (own, a), (other, b) in zip(found, expected, strict=True)
            )
            return _told(answer, "" if alike and answer.source == "list" else f"list of {user}: {found}")
        case 1 if genre := truth.genre_of[item]:
            answer = index.recommend(user, k=K, filter={"genre": genre})
            owned = set(truth.users["seen"][row].as_py())
            wrong = [hit for hit in answer.hits if truth.genre_of[hit.item_id] != genre or hit.item_id in owned]
            passing = sum(own == genre and one not in owned for one, own in truth.genre_of.items())
            if wrong or len(answer.hits) != min(K, passing):
                return _told(answer, f"within {genre}: {answer.hits}")
            known = [truth.products[row, truth.row_of[hit.item_id]] for hit in answer.hits]
            return _told(answer, _apart(answer, truth, known, 1 + OF_USERS))
        case 2 if not np.isnan(truth.cosines[truth.row_of[item], truth.row_of[item]]):
            answer = index.similar(item, k=K)
            known = [truth.cosines[truth.row_of[item], truth.row_of[hit.item_id]] for hit in answer.hits]
            return _told(answer, _apart(answer, truth, known, 1) if len(answer.hits) == K else "too few are similar")
        case 3 if not np.isnan(truth.cosines[truth.row_of[item], truth.row_of[item]]):
            answer = index.search(item=item, user=user, k=K, filter={"genre": ["jazz", "samba", "soul"]})
            return _told(answer, "itself" if item in {hit.item_id for hit in answer.hits} else "")
        case 4:
            rows = random.integers(len(users), size=VECTORS)
            sides = np.tile(np.array([1, 0], np.float32), (VECTORS, 1))
            batch = index.nearest(np.hstack([truth.vectors[0][rows], sides]), K)
            return int(batch.index, 16), _batch_fault(batch, truth, rows)
    try:
        index.recommend("nobody")
    except ConfigError as error:
        return int(index.digest, 16), "" if "user nobody: not in the published index" in str(error) else str(error)
    return int(index.digest, 16), "nobody is answered"


def _number(answer: Answer) -> int:
    return int(answer.index, 16)


def _told(answer: Answer, fault: str) -> tuple[int, str]:
    """The version, and what is wrong with an answer: as found, or its titles."""
    number = _number(answer)
    torn = [hit.title for hit in answer.hits if hit.title.partition(MARK)[2] != str(number)]
    return number, fault or (f"titles {torn} in version {number}" if torn else "")


def _apart(answer: Answer, truth: Truth, known: Iterable[float], times: float) -> str:
    shift = truth.step * _number(answer) * times
    wrong = [hit for hit, score in zip(answer.hits, known, strict=True) if abs(hit.score - shift - score) >= NEAR]
    return f"scores {wrong} in version {_number(answer)}" if wrong else ""


def _batch_fault(batch: Batch, truth: Truth, users: Int64s) -> str:
    shift = truth.step * int(batch.index, 16)
    for user, items, scores in zip(users, batch.item_ids(), batch.scores - shift, strict=True):
        known = [truth.products[user, truth.row_of[item]] for item in items]
        if len(items) != K or np.abs(scores - known).max() >= NEAR:
            return f"batch {items} {scores} in version {batch.index}"
    return ""
