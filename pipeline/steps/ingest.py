"""Ingest: read the source, clean it, hash the media, split it, check it, and stage it in buckets.

- the queries fill DuckDB tables; `sql/stage/` judges every row and says why one is dropped;
- `sql/stage/split_*.sql` cuts the log, and a seeded share of items is held out to measure cold start; a split that is
  given is taken as it is, and what is never in its training part is cold;
- `sql/checks/` return offending rows, and stop the night or warn;
- each media file's bytes are hashed, so that the next step knows what has changed without decoding anything.

Media that the source gives as bytes are kept in the workspace, see `media.stored`.

Peak memory: 0.3 GB, and 220 bytes a choice, 30 a user, 250 an item and five times its texts; a bucket's media where
they come as bytes. DuckDB holds a quarter of
the machine's memory at most, and works on disk beyond that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.artefacts.log import PARTS, RowsWriter
from pipeline.artefacts.published import published_now
from pipeline.artefacts.staged import (
    LOG,
    LOG_USERS,
    SHOWN,
    SUMMARY,
    USERS,
    CheckOutcome,
    SourceSummary,
    Staged,
    TableIntake,
)
from pipeline.artefacts.write import write_table, writer
from pipeline.config import Config
from pipeline.config.shared import Array, TextSettings
from pipeline.encoders import make
from pipeline.encoders.text.template import check_columns
from pipeline.encoders.weights import locate
from pipeline.errors import WorkspaceError
from pipeline.media import MEDIA
from pipeline.night import Night, StepReceipt
from pipeline.source import OPTIONAL, execute, read
from pipeline.source.columns import BYTES
from pipeline.steps.checks import check
from pipeline.steps.leaks import leaks
from pipeline.steps.media_hashes import check_any, with_hashes
from pipeline.steps.room import room
from pipeline.steps.staging import averaged_of, columns_of, connect, row_count, stage
from pipeline.storage.documents import Json, read_json
from pipeline.workspace import Workspace

log = logging.getLogger("medley")
LAYOUT = "staged/layout.json"
ROWS_PER_GROUP, ROWS_PER_BATCH = 16_384, 65_536
# Of items whose media are bytes.
MEDIA_PER_BATCH = 256
LOG_TYPES = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "ts": pa.timestamp("us", "UTC"),
    "weight": pa.float64(),
    "part": pa.string(),
}


@dataclass(frozen=True)
class Layout:
    """What is read of `layout.json`. buckets: how many the workspace's items lie in."""

    buckets: int


def run(night: Night) -> StepReceipt:
    """Stages a snapshot of the source as of the night's "now".

    Raises SourceError, ConfigError, CheckFailed or WorkspaceError; nothing is left behind then.
    """
    return night.content_step("ingest", "staged", lambda folder: _Staging(night, folder).stage())


def staged_of(night: Night) -> Staged:
    """What this run staged. Raises StepFailed if nothing."""
    return Staged(night.folder_of("ingest"))


@dataclass(frozen=True)
class _Staging:
    night: Night
    folder: Path

    def stage(self) -> Json:
        config = self.night.config
        with connect(config, spill=self.folder.with_suffix(".spill")) as connection:
            read(connection, config.source, config.ingest.split == "given", columns_of(config), averaged_of(config))
            buckets = _buckets(self.night.workspace, connection, config)
            stage(connection, config, self.night.as_of, buckets)
            checks = check(connection, config.ingest.warn_only)
            self._check_encoders(connection)
            self._check_room(row_count(connection, "items"))
            self._write_items(connection, buckets)
            checks += tuple(leaks(connection, self.folder / "items", list(config.extract.modalities())))
            self._write_logs(connection)
            if config.source.users:
                _write(connection.sql("from users order by user_id").to_arrow_table(), self.folder / USERS)
            summary = asdict(_summary(connection, config, buckets, checks))
        (self.folder / SUMMARY).write_text(json.dumps(summary, indent=1, sort_keys=True), "utf-8")
        return {"rows": summary["items"], **summary}

    def _check_encoders(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raises now what encoding would raise: weights that are not there, a template's column that is missing."""
        config = self.night.config
        for modality, settings in config.extract.modalities().items():
            weights = str(getattr(settings, "weights", ""))
            if isinstance(settings, Array):
                make(config, modality)
            elif weights.startswith(("package:", "path:")):
                locate(weights)
            if isinstance(settings, TextSettings):
                columns = connection.sql("select * exclude (bucket) from items").columns
                check_columns(settings.template, columns)

    def _check_room(self, items: int) -> None:
        """Raises WorkspaceError if a first night has no room; a later one, which leaves less, is warned."""
        root = self.night.workspace.root
        try:
            room(root, items)
        except WorkspaceError as error:
            if published_now(root) is None:
                raise
            log.warning("%s", error)

    def _write_items(self, connection: duckdb.DuckDBPyConnection, buckets: int) -> None:
        """Writes `items/`, bucket by bucket, in one pass over the sorted table."""
        (self.folder / "items").mkdir()
        sizes = _bucket_rows(connection, buckets)
        rows = connection.sql("select * exclude (bucket) from items order by bucket, item_id")
        given = [modality for modality in sorted(MEDIA) if modality + BYTES in rows.columns]
        size = MEDIA_PER_BATCH if given else ROWS_PER_BATCH
        for bucket, table in enumerate(_cut(rows.to_arrow_reader(size), sizes)):
            for modality, settings in self.night.config.extract.modalities().items():
                if modality in MEDIA and not isinstance(settings, Array):
                    table = with_hashes(self.night, table, modality, f"bucket-{bucket:05d}.parquet")
            table = table.drop_columns([modality + BYTES for modality in given])
            write_table(table, self.folder / "items" / f"bucket-{bucket:05d}.parquet", row_group_size=ROWS_PER_GROUP)
        for modality in given:
            self.night.workspace.share(f"media/{modality}")
        for modality, settings in self.night.config.extract.modalities().items():
            if modality in MEDIA and not isinstance(settings, Array):
                check_any(self.night, self.folder / "items", modality)

    def _write_logs(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Writes what users chose and were shown, each twice in one pass: coded, and with its ids as Parquet."""
        execute(connection, "stage/code.sql")
        users = connection.sql("select user_id from user_codes order by user_code").to_arrow_table()
        items = connection.sql("select item_id from item_codes order by item_code").to_arrow_table()
        (self.folder / LOG).mkdir()
        write_table(users, self.folder / LOG_USERS)
        ids = {"user_id": users["user_id"], "item_id": items["item_id"]}
        self._write_log(connection, "interactions", LOG, ids)
        if self.night.config.source.shown:
            self._write_log(connection, "shown", SHOWN, ids)

    def _write_log(
        self, connection: duckdb.DuckDBPyConnection, table: str, name: str, ids: dict[str, pa.ChunkedArray]
    ) -> None:
        counts = dict(connection.execute(f"select part, count(*) from {table} group by part").fetchall())
        ((learnt, everything),) = connection.execute("from newest").fetchall()
        arrays = RowsWriter(self.folder / name, counts, (learnt, everything))
        schema = pa.schema({column: LOG_TYPES[column] for column in LOG_TYPES if name == LOG or column != "weight"})
        rows = connection.sql(f"from {table}_coded order by user, ts, item, part").to_arrow_reader(ROWS_PER_BATCH)
        with writer(self.folder / f"{table}.parquet", schema) as parquet:
            for batch in rows:
                arrays.append(batch)
                columns = {
                    "user_id": ids["user_id"].take(batch["user"]),
                    "item_id": ids["item_id"].take(batch["item"]),
                    "ts": batch["ts"].cast(LOG_TYPES["ts"]),
                    "weight": batch["weight"],
                    "part": pa.array(PARTS).take(batch["part"]),
                }
                parquet.write_table(pa.table(columns).select(schema.names))


def _buckets(workspace: Workspace, connection: duckdb.DuckDBPyConnection, config: Config) -> int:
    """The number of buckets: chosen at the first run, kept after."""
    layout = read_json(workspace.path(LAYOUT), Layout)
    if layout is None:
        rows = row_count(connection, "items_read")
        layout = asdict(Layout(max(4, -(-rows // config.ingest.rows_per_bucket))))
        if not workspace.create_json(LAYOUT, layout):  # another first night has been faster
            return _buckets(workspace, connection, config)
    return int(layout["buckets"])


def _bucket_rows(connection: duckdb.DuckDBPyConnection, buckets: int) -> list[int]:
    rows = dict(connection.execute("select bucket, count(*) from items group by bucket").fetchall())
    return [rows.get(bucket, 0) for bucket in range(buckets)]


def _cut(rows: pa.RecordBatchReader, sizes: Sequence[int]) -> Iterator[pa.Table]:
    """The rows in parts of some sizes, no more than one part and one batch in memory."""
    held = rows.schema.empty_table()
    for size in sizes:
        while len(held) < size:
            held = pa.concat_tables([held, pa.Table.from_batches([rows.read_next_batch()])])
        yield held.slice(0, size).combine_chunks()
        held = held.slice(size)


def _write(table: pa.Table, path: Path) -> Json:
    write_table(table, path, row_group_size=ROWS_PER_GROUP)
    return {}


def _summary(
    connection: duckdb.DuckDBPyConnection, config: Config, buckets: int, checks: tuple[CheckOutcome, ...]
) -> SourceSummary:
    ((items, cold_items, users, validation_cut, test_cut),) = connection.execute("from counts").fetchall()
    tables = ["items", "interactions", *(name for name in OPTIONAL if getattr(config.source, name))]
    return SourceSummary(
        kind=config.ingest.split,
        seed=config.seed,
        buckets=buckets,
        bucket_rows=tuple(_bucket_rows(connection, buckets)),
        validation_cut=_iso(validation_cut),
        test_cut=_iso(test_cut),
        cold_items=cold_items,
        parts=dict(sorted(connection.execute("from part_counts").fetchall())),
        users=users,
        items=items,
        intake=tuple(_intake(connection, table) for table in tables),
        checks=checks,
    )


def _intake(connection: duckdb.DuckDBPyConnection, table: str) -> TableIntake:
    reasons = "select dropped, row_count from intake where source_table = $table"
    counts: dict[str | None, int] = dict(connection.execute(reasons, {"table": table}).fetchall())
    dropped = {reason: rows for reason, rows in counts.items() if reason}
    return TableIntake(table, sum(counts.values()), counts.get(None, 0), dict(sorted(dropped.items())))


def _iso(moment: datetime | None) -> str | None:
    return f"{moment}Z".replace(" ", "T") if moment is not None else None
