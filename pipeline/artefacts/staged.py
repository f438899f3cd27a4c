"""What `ingest` leaves, `staged/<snapshot>/`: the source's tables, cleaned, split into parts, and read as arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.artefacts.read import read_table
from pipeline.errors import ShardCorrupt, StepFailed
from pipeline.interactions import Interactions, Mask
from pipeline.workspace import RECEIPT, Json, Workspace, digest, read_json

PARTS = ("train", "validation", "test", "held_out")
LEARNT = PARTS[:2]
OPENED = "opened.json"
SUMMARY, INTERACTIONS, SHOWN, USERS = "split.json", "interactions.parquet", "shown.parquet", "users.parquet"
MICROSECONDS_PER_DAY = 86_400e6


@dataclass(frozen=True)
class Showings:
    """The staged log of what users were shown. newest: of the interactions whose ages it shares, in µs, or null."""

    path: Path
    newest: pa.Scalar

    def read(self, parts: Sequence[str], users: list[str], items: list[str]) -> Interactions:
        """Those of some parts, coded, each of weight 1. An age may be below 0."""
        table = pq.read_table(self.path, filters=pc.field("part").isin(list(parts)))
        table = table.append_column("weight", pa.array(np.ones(len(table))))
        return _coded(table, self.newest, users, items)[0]


@dataclass(frozen=True)
class Log:
    """What may be learned and chosen from, coded: the parts train and validation of the staged log.

    users: everyone in the staged log; user and item codes are positions in `users` and in the catalogue's `items`.
    cold: (n_items,) bool, held out of the evaluated training.
    entries: the interactions, their ages counted from the newest of the two parts. part: (n,) int8, position in PARTS.
    showings: the log of what users were shown, if the source tells.
    """

    users: list[str]
    items: list[str]
    cold: Mask
    entries: Interactions
    part: np.ndarray
    showings: Showings | None = None

    def of(self, *parts: str) -> Interactions:
        """The interactions of some parts. Raises LookupError for a part that this log does not hold."""
        self._check(parts)
        return self.entries.subset(np.isin(self.part, [PARTS.index(part) for part in parts]))

    def shown(self, *parts: str) -> Interactions:
        """What users were shown in some parts, chosen or not, coded and aged as `entries`; empty if nothing tells.

        Raises LookupError for a part that this log does not hold.
        """
        self._check(parts)
        if self.showings is None:
            return self.entries.subset(np.zeros(len(self.entries), bool))
        return self.showings.read(parts, self.users, self.items)

    def _check(self, parts: Sequence[str]) -> None:
        sealed = set(parts) - set(self._parts())
        if sealed:
            raise LookupError(f"{', '.join(sorted(sealed))}: sealed; only evaluate opens it, by open_test, once a run")

    def _parts(self) -> tuple[str, ...]:
        return LEARNT


@dataclass(frozen=True)
class OpenedLog(Log):
    """All four parts: test and held_out are what a model is asked for. An age in them may be below 0."""

    def _parts(self) -> tuple[str, ...]:
        return PARTS


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

    @classmethod
    def of(cls, document: Json) -> SourceSummary:
        """The summary that `split.json`, or the receipt of `ingest`, holds."""
        own = {name: document[name] for name in cls.__dataclass_fields__}
        intake = tuple(TableIntake(**table) for table in document["intake"])
        checks = tuple(CheckOutcome(**check) for check in document["checks"])
        return cls(**own | {"bucket_rows": tuple(own["bucket_rows"]), "intake": intake, "checks": checks})


@dataclass(frozen=True)
class Staged:
    """One snapshot of the source. folder: `staged/<snapshot>`."""

    folder: Path

    @cached_property
    def summary(self) -> SourceSummary:
        """What came in, and how it was split. Raises ShardCorrupt if the snapshot is gone."""
        return SourceSummary.of(self._json(SUMMARY))

    def digest(self, *names: str) -> str:
        """The digest of the contents of those files whose path in the snapshot begins with one of `names`."""
        files = {
            path.partition(f"{self.folder.name}/")[2]: sha256 for path, sha256 in self._json(RECEIPT)["files"].items()
        }
        return digest({path: sha256 for path, sha256 in files.items() if path.startswith(names)})

    def items(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The catalogue in its fixed order: bucket after bucket, each sorted by item_id."""
        buckets = [pq.read_table(path, columns=columns) for path in sorted(self.folder.glob("items/bucket-*.parquet"))]
        return pa.concat_tables(buckets, promote_options="permissive")

    def bucket(self, number: int) -> pa.Table:
        """The items of one bucket, sorted by item_id."""
        return pq.read_table(self.folder / "items" / f"bucket-{number:05d}.parquet")

    def profiles(self, columns: Sequence[str] | None = None) -> pa.Table | None:
        """What the source tells of users, (user_id, profile, and what else it gives), by user_id; None if nothing."""
        path = self.folder / USERS
        return pq.read_table(path, columns=columns) if path.exists() else None

    def read_log(self) -> Log:
        """What may be learned and chosen from, sorted by user, then oldest first, then item."""
        table, users, items, cold = self._coding()
        learnt = table.filter(_learnt(table))
        newest = _newest(learnt)
        return Log(users, items, cold, *_coded(learnt, newest, users, items), self._showings(newest))

    def read_everything(self) -> Interactions:
        """The whole staged log, which what is published is made from, coded as in `read_log`.

        Nothing in it says which part an interaction is of.
        """
        table, users, items, _ = self._coding()
        return _coded(table, _newest(table), users, items)[0]

    def read_all_shown(self) -> Interactions:
        """All that users were shown, which what is published is made from, coded and aged as in `read_everything`.

        The source must tell of it.
        """
        table, users, items, _ = self._coding()
        return Showings(self.folder / SHOWN, _newest(table)).read(PARTS, users, items)

    def read_choices(self, user: str) -> tuple[list[str], Interactions]:
        """What one user chose in the whole log: the distinct items, and the choices, coded by their places there.

        Raises ShardCorrupt if the log is gone or cannot be read.
        """
        table = read_table(self.folder / INTERACTIONS, where=ds.field("user_id") == user)
        items = pc.unique(table["item_id"]).to_pylist()
        return items, _coded(table, _newest(table), [user], items)[0]

    def _coding(self) -> tuple[pa.Table, list[str], list[str], Mask]:
        """The staged log, its users, and the catalogue's items and which of them are cold."""
        catalogue = self.items(["item_id", "cold"])
        table = pq.read_table(self.folder / INTERACTIONS)
        cold = catalogue["cold"].to_numpy(zero_copy_only=False).astype(bool)
        return table, pc.unique(table["user_id"]).to_pylist(), catalogue["item_id"].to_pylist(), cold

    def _showings(self, newest: pa.Scalar) -> Showings | None:
        path = self.folder / SHOWN
        return Showings(path, newest) if path.exists() else None

    def _json(self, name: str) -> Json:
        document = read_json(self.folder / name)
        if document is None:
            raise ShardCorrupt(f"{self.folder}: has no {name}; run `medley ingest` again")
        return document


def open_test(staged: Staged, workspace: Workspace, run: str, evaluation: str, folder: Path) -> OpenedLog:
    """Opens the test and held-out parts: the one way to read them, and once a run.

    run: the run's folder in the workspace. evaluation: the digest of what is evaluated, and how. folder: where its
    outcome is being built; `opened.json` is left in it. That a run has looked is kept in its folder: it may look again
    for the same evaluation, which a kill interrupted, and for no other. Raises StepFailed where it has looked already.
    """
    record = f"{run}/{OPENED}"
    before = workspace.read_json(record)
    if (folder / OPENED).exists() or (before is not None and before["evaluation"] != evaluation):
        raise StepFailed(
            f"run {Path(run).name} has opened its test part already, and what is chosen after that is chosen on it; "
            "begin another run with `medley ingest`"
        )
    workspace.write_json(record, {"evaluation": evaluation})
    table, users, items, cold = staged._coding()
    sealed = pc.sum(pc.invert(_learnt(table))).as_py() or 0
    (folder / OPENED).write_text(json.dumps({"rows": sealed}), "utf-8")
    newest = _newest(table.filter(_learnt(table)))
    return OpenedLog(users, items, cold, *_coded(table, newest, users, items), staged._showings(newest))


def _newest(table: pa.Table) -> pa.Scalar:
    return pc.max(table["ts"]).cast(pa.int64())


def _learnt(table: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(table["part"], pa.array(LEARNT))


def _coded(table: pa.Table, newest: pa.Scalar, users: list[str], items: list[str]) -> tuple[Interactions, np.ndarray]:
    """The rows as arrays in order, and their parts; ages are counted from `newest`, in µs."""
    user = pc.index_in(table["user_id"], pa.array(users, pa.string())).to_numpy().astype(np.int32)
    item = pc.index_in(table["item_id"], pa.array(items, pa.string())).to_numpy().astype(np.int32)
    age_us = pc.subtract(newest, table["ts"].cast(pa.int64()))
    age_days = age_us.to_numpy() / MICROSECONDS_PER_DAY
    weight = table["weight"].to_numpy().astype(np.float32)
    part = pc.index_in(table["part"], pa.array(PARTS)).to_numpy().astype(np.int8)
    order = np.lexsort((item, -age_days, user))
    found = Interactions(user[order], item[order], age_days[order], weight[order], len(users), len(items))
    return found, part[order]
