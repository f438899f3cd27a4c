"""What is published: `CURRENT.json`, and the index folder that it names.

items.parquet                            row → item_id, title, has_content, attributes
users.parquet                            user_id, vector, seen (item ids, sorted)
recommendations.parquet                  user_id, rank from 1, item_id, score: a user's one list, best first
users_without_recommendations.parquet    user_id, reason
blocks.json                              the sha256 of blocks of these tables, for who reads little of them
recommend.faiss · content.faiss · card.json · encoders.json · encoders/ · fusion.safetensors
fold_in/                                 what makes a user of a history, where that takes but a sum or a network
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import AwareDatetime

from pipeline.artefacts.mapped import MappedTable
from pipeline.artefacts.read import read_json, readable
from pipeline.artefacts.runs import StepReceipt
from pipeline.artefacts.verified import BLOCKS, blocks_of, sha256_by_name, verified
from pipeline.errors import WorkspaceError
from pipeline.runtime import arrow_without_pandas
from pipeline.storage import fetched, store_of
from pipeline.storage.documents import Json, skip_broken
from pipeline.storage.documents import read_json as read_optional
from pipeline.workspace import CARD, Workspace

if TYPE_CHECKING:
    import faiss
    import pyarrow as pa

CURRENT = "CURRENT.json"
ITEMS, USERS, ENCODERS = "items.parquet", "users.parquet", "encoders.json"
LISTS, WITHOUT_LIST = "recommendations.parquet", "users_without_recommendations.parquet"
# User vector → items, by row; any mix of an item's own modalities → items that have content, labelled by row.
RECOMMEND, CONTENT = "recommend.faiss", "content.faiss"
# What makes a user of a history, see `recommend.user_sides.export_users`; its items are rows of items.parquet.
FOLD_IN = "fold_in"
FULL = "run the night with --full"
# The one rule of the gate that no reason given by hand overrides: a broken file serves nobody.
INTEGRITY = "integrity"


def list_schema() -> pa.Schema:
    """The columns of `recommendations.parquet`."""
    import pyarrow as pa

    types = {"user_id": pa.string(), "rank": pa.int32(), "item_id": pa.string(), "score": pa.float32()}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])


@dataclass(frozen=True)
class Current:
    """`CURRENT.json`: the index that is published, its path in the workspace, and the run that made it.

    forced: why it was published though the gate refused it; empty where it did not. rolled_back_from: the run that was
    published before it was rolled back to this one; empty where none was.
    """

    index: str
    digest: str
    run_id: str
    as_of: AwareDatetime
    published_at: AwareDatetime
    forced: str = ""
    rolled_back_from: str = ""


@dataclass(frozen=True)
class Card:
    """What is read of `card.json`. lineage: step to path in the workspace. encoders: key by modality."""

    model: str
    lineage: dict[str, str]
    encoders: dict[str, str]


@dataclass(frozen=True)
class MadeWith:
    """An encoder in `encoders.json`."""

    identity: str
    fitted: str
    settings: Json


@dataclass(frozen=True)
class Published:
    """An index folder. digest: its name. Every method that reads raises ShardCorrupt if a file is not what it was.

    sha256: of each file by its path in the folder, which is verified before the file is first read; None for who has
    just written them. once: for one question, which reads little of the tables: they are verified block by block.
    """

    folder: Path
    digest: str
    sha256: Mapping[str, str] | None = None
    once: bool = False

    def path(self, name: str) -> Path:
        """A file of the folder, verified."""
        path = self.folder / name
        if self.sha256 is not None:
            verified(path, self.sha256.get(name), FULL)
        return path

    def verify(self) -> None:
        """Verifies every file that the folder's receipt names."""
        for name in self.sha256 or ():
            self.path(name)

    @property
    def card(self) -> Json:
        """`card.json`: what was measured, and where everything came from."""
        return read_json(self.path(CARD), Card)

    @property
    def encoders(self) -> Json:
        """`encoders.json`: what a query's encoder is made from, by modality."""
        return read_json(self.path(ENCODERS), dict[str, MadeWith], FULL)

    def table(self, name: str) -> MappedTable:
        """One of the Parquet files, which stays readable, also where the folder is swept meanwhile."""
        if name not in self._tables:
            blocks = self._blocks.get(name)
            path = self.path(name) if blocks is None else self.folder / name
            self._tables[name] = MappedTable(path, FULL, blocks)
        return self._tables[name]

    @cached_property
    def _tables(self) -> dict[str, MappedTable]:
        return {}

    @cached_property
    def _blocks(self) -> dict[str, list[str]]:
        """The sha256 of the tables' blocks, where tables are verified by them; an older index has none."""
        return blocks_of(self.path(BLOCKS), FULL) if self.once and BLOCKS in (self.sha256 or ()) else {}

    def items(self, columns: Sequence[str] | None = None, only: Sequence[str] | None = None) -> pa.Table:
        """The items, row for row as in `recommend.faiss`, or those of some ids."""
        return self._of(ITEMS, "item_id", only, columns)

    def users(self, columns: Sequence[str] | None = None, only: Sequence[str] | None = None) -> pa.Table:
        """Those who have a vector, or those of some ids."""
        return self._of(USERS, "user_id", only, columns)

    def lists(self, users: Sequence[str] | None = None) -> pa.Table:
        """The recommendations of all users or of some, each list best first."""
        return self._of(LISTS, "user_id", users)

    def without_list(self, user: str) -> str | None:
        """Why a user has no recommendations; None where they have, or are not known."""
        reasons = self._of(WITHOUT_LIST, "user_id", [user])["reason"]
        return str(reasons[0].as_py()) if len(reasons) else None

    def faiss(self, name: str) -> faiss.Index:
        """One of the FAISS files, mapped into memory: a search reads what it looks into.

        The older way to map, `IO_FLAG_MMAP`, reads exact indexes whole, and searches cells many times slower.
        """
        import faiss

        path = self.path(name)
        with readable(path):
            return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)

    def _of(self, name: str, key: str, ids: Sequence[str] | None, columns: Sequence[str] | None = None) -> pa.Table:
        table = self.table(name)
        return table.read(columns) if ids is None else table.of(key, ids, columns)


def current(workspace: Path) -> Json:
    """`CURRENT.json`: `index`, `digest`, `run_id`, `as_of`, `published_at`.

    Raises WorkspaceError if the folder is not there, nothing has been published yet, or the file is broken.
    """
    document = published_now(existing(workspace))
    if document is None:
        raise WorkspaceError(f"workspace {workspace}: nothing is published yet; run `medley run` first")
    return document


def existing(workspace: Path) -> Path:
    """The folder itself. Raises WorkspaceError if it is not there."""
    if not workspace.is_dir():
        raise WorkspaceError(f"workspace {workspace}: no such folder; give the one that medley.yaml names with -w")
    return workspace


def published_now(workspace: Path) -> Json | None:
    """`CURRENT.json`, None where nothing has been published yet. Raises WorkspaceError if it is broken."""
    return read_optional(fetched(workspace / CURRENT), Current, "remove it, and publish the night again")


def replace_published(
    workspace: Workspace,
    before: Json | None,
    opened: Json,
    index: StepReceipt,
    forced: str = "",
    rolled_back_from: str = "",
) -> None:
    """Writes `CURRENT.json`, as of this moment; see `Current`. opened: `run_id` and `as_of` of the run of the index.

    before: what was published when this one was judged, None for nothing, or what cannot be read. The index that was
    published counts as changed now: from now on a sweep leaves it to its readers for a while. Raises WorkspaceError if
    another run has been published meanwhile.
    """
    if before and before["index"] != index.path:
        workspace.touch(str(before["index"]))
    document = {
        "index": index.path,
        "digest": index.digest,
        "run_id": opened["run_id"],
        "as_of": opened["as_of"],
        "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "forced": forced,
        "rolled_back_from": rolled_back_from,
    }
    if not workspace.replace_json(CURRENT, document, before):
        run = opened["run_id"]
        now = (skip_broken(lambda: published_now(workspace.root)) or {}).get("run_id", "another run")
        raise WorkspaceError(
            f"{CURRENT}: {now} was published while run {run} was judged; it stays, and `medley publish --run-id {run}` "
            "judges this one again"
        )


def published(workspace: Path, once: bool = False) -> Published:
    """The index that is published, its files to be verified. Raises as `current`, and ShardCorrupt without receipt.

    once: see Published.
    """
    arrow_without_pandas()
    if (place := store_of(workspace)) is not None:
        place[0].forget()
    document = current(workspace)
    folder = fetched(workspace / str(document["index"]))
    return Published(folder, str(document["digest"]), sha256_by_name(folder, FULL), once)
