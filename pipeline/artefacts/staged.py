"""What `ingest` leaves, `staged/<snapshot>/`: the source's tables, cleaned, split into parts, and read as arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.log import EVERYTHING, LEARNT, PARTS, Log, OpenedLog, map_rows
from pipeline.artefacts.read import read_blocks, read_json, read_table, schema_of
from pipeline.errors import StepFailed
from pipeline.interactions import Interactions, Mask
from pipeline.storage.documents import Json, adapter
from pipeline.storage.documents import read_json as read_optional
from pipeline.workspace import RECEIPT, Workspace, digest

OPENED = "opened.json"
SUMMARY, USERS, SHOWN, INTERACTIONS = "split.json", "users.parquet", "shown", "interactions.parquet"
LOG, LOG_USERS = "log", "log/users.parquet"


@dataclass(frozen=True)
class TableIntake:
    """Rows of one of the source's tables: how many were read and kept, and how many dropped, by reason."""

    table: str
    read: int
    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class CheckOutcome:
    """One of `sql/checks/`: why it is made, how many rows offend, and whether that is an `error` or a `warn`."""

    name: str
    why: str
    rows: int
    level: str


@dataclass(frozen=True)
class SourceSummary:
    """What came in, and how it was split: `split.json`.

    kind: `ingest.split`. bucket_rows: items of each bucket. validation_cut, test_cut: ISO times in UTC, null where each
    user or the source has cuts of its own. parts: interactions of each part. users, items: how many are kept.
    """

    kind: str
    seed: int
    buckets: int
    bucket_rows: tuple[int, ...]
    validation_cut: str | None
    test_cut: str | None
    cold_items: int
    parts: dict[str, int]
    users: int
    items: int
    intake: tuple[TableIntake, ...]
    checks: tuple[CheckOutcome, ...]


@dataclass(frozen=True)
class Staged:
    """One snapshot of the source. folder: `staged/<snapshot>`."""

    folder: Path

    @cached_property
    def summary(self) -> SourceSummary:
        """What came in, and how it was split. Raises ShardCorrupt if the snapshot is gone."""
        summary: SourceSummary = adapter(SourceSummary).validate_python(self._json(SUMMARY, SourceSummary))
        return summary

    def digest(self, *names: str) -> str:
        """The digest of the contents of those files whose path in the snapshot begins with one of `names`."""
        files = {
            path.partition(f"{self.folder.name}/")[2]: sha256 for path, sha256 in self._json(RECEIPT)["files"].items()
        }
        return digest({path: sha256 for path, sha256 in files.items() if path.startswith(names)})

    def items(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The catalogue in its fixed order: bucket after bucket, each sorted by item_id."""
        buckets = [read_table(path, columns) for path in sorted(self.folder.glob("items/bucket-*.parquet"))]
        return pa.concat_tables(buckets, promote_options="permissive")

    def item_parts(self, wanted: Callable[[str], bool]) -> Iterator[pa.Table]:
        """The same, one bucket at a time, all of one schema. wanted: of a column's name, whether it is read."""
        paths = sorted(self.folder.glob("items/bucket-*.parquet"))
        whole = pa.unify_schemas([schema_of(path) for path in paths], promote_options="permissive")
        schema = pa.schema([field for field in whole if wanted(field.name)])
        for path in paths:
            part = read_table(path, schema.names)
            yield pa.concat_tables([schema.empty_table(), part], promote_options="permissive")

    def bucket(self, number: int) -> pa.Table:
        """The items of one bucket, sorted by item_id."""
        return read_table(self.folder / "items" / f"bucket-{number:05d}.parquet")

    def profiles(self, columns: Sequence[str] | None = None) -> pa.Table | None:
        """What the source tells of users, (user_id, profile, and what else it gives), by user_id; None if nothing."""
        path = self.folder / USERS
        return read_table(path, columns) if path.exists() else None

    def read_log(self) -> Log:
        """What may be learned and chosen from, sorted by user, then oldest first, then item."""
        users, items, cold = self._coding()
        return Log(users, items, cold, *self._of_parts(LEARNT, len(users), len(items)))

    def read_everything(self) -> Interactions:
        """The whole staged log, which what is published is made from, coded as in `read_log`.

        Nothing in it says which part an interaction is of.
        """
        return map_rows(self.folder / LOG / EVERYTHING, len(self.user_ids()), self.summary.items)

    def newest_choice(self) -> datetime | None:
        """When the newest choice of the whole log was made, None where there is none; read some rows at a time.

        Raises ShardCorrupt if the log is gone or cannot be read.
        """
        blocks = read_blocks(self.folder / INTERACTIONS, ["ts"], "run `medley ingest --full`")
        newest = (pc.max(block["ts"]).as_py() for _, block in blocks)
        return max((moment for moment in newest if moment is not None), default=None)

    def read_all_shown(self) -> Interactions:
        """All that users were shown, which what is published is made from, coded and aged as in `read_everything`.

        The source must tell of it.
        """
        return map_rows(self.folder / SHOWN / EVERYTHING, len(self.user_ids()), self.summary.items)

    def read_choices(self, user: str) -> tuple[list[str], Interactions]:
        """What one user chose in the whole log: the distinct items, and the choices, coded by their places there.

        Raises ShardCorrupt if the log is gone or cannot be read.
        """
        log = self.read_everything()
        code = pc.index(self.user_ids(), user).as_py()
        rows = slice(*np.searchsorted(log.user, np.array([code, code + 1], np.int32)))
        codes, first, places = np.unique(log.item[rows], return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        items = self.items(["item_id"])["item_id"].take(pa.array(codes[order])).to_pylist()
        nobody_else = np.zeros(len(places), np.int32)
        return items, Interactions(nobody_else, rank[places], log.age_days[rows], log.weight[rows], 1, len(items))

    def user_ids(self) -> pa.ChunkedArray:
        """Everyone in the log, then those who have a profile and no choice, in the order of their codes."""
        return read_table(self.folder / LOG_USERS)["user_id"]

    def _coding(self) -> tuple[list[str], list[str], Mask]:
        """The log's users, and the catalogue's items and which of them are cold."""
        catalogue = self.items(["item_id", "cold"])
        cold = catalogue["cold"].to_numpy(zero_copy_only=False).astype(bool)
        return self.user_ids().to_pylist(), catalogue["item_id"].to_pylist(), cold

    def _of_parts(
        self, parts: Sequence[str], n_users: int, n_items: int
    ) -> tuple[dict[str, Interactions], dict[str, Interactions]]:
        """What was chosen and what was shown in each of some parts."""

        def mapped(table: str) -> dict[str, Interactions]:
            if table == SHOWN and not (self.folder / SHOWN).exists():
                return {}
            return {part: map_rows(self.folder / table / part, n_users, n_items) for part in parts}

        return mapped(LOG), mapped(SHOWN)

    def _json(self, name: str, shape: object = Json) -> Json:
        return read_json(self.folder / name, shape, "run `medley ingest --full`")


@dataclass(frozen=True)
class Looked:
    """`opened.json` of a run: the digest of the evaluation that it opened its test part for."""

    evaluation: str


def open_test(staged: Staged, workspace: Workspace, run: str, evaluation: str, folder: Path) -> OpenedLog:
    """Opens the test and held-out parts: the one way to read them, and once a run.

    run: the run's folder in the workspace. evaluation: the digest of what is evaluated, and how. folder: where its
    outcome is being built; `opened.json` is left in it. That a run has looked is kept in its folder: it may look again
    for the same evaluation, which a kill interrupted, and for no other. Raises StepFailed where it has looked already.
    """
    record = f"{run}/{OPENED}"
    before = read_optional(workspace.path(record), Looked, "begin another run with `medley ingest`")
    if (folder / OPENED).exists() or (before is not None and before["evaluation"] != evaluation):
        raise StepFailed(
            f"run {Path(run).name} has opened its test part already, and what is chosen after that is chosen on it; "
            "begin another run with `medley ingest`"
        )
    workspace.write_json(record, {"evaluation": evaluation})
    users, items, cold = staged._coding()
    log = OpenedLog(users, items, cold, *staged._of_parts(PARTS, len(users), len(items)))
    (folder / OPENED).write_text(json.dumps({"rows": len(log.of("test", "held_out"))}), "utf-8")
    return log
