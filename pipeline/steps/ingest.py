"""Ingest: read the source, clean it, hash the media, split it, check it, and stage it in buckets.

- the queries fill DuckDB tables; `sql/stage/` judges every row and says why one is dropped;
- `sql/stage/split_*.sql` cuts the log, and a seeded share of items is held out to measure cold start; a split that is
  given is taken as it is, and what is never in its training part is cold;
- `sql/checks/` return offending rows, and stop the night or warn;
- each media file's bytes are hashed, so that the next step knows what has changed without decoding anything.

Peak memory: 0.3 GB, and 220 bytes a choice, 30 a user, 250 an item and five times its texts. DuckDB holds a quarter of
the machine's memory at most, and works on disk beyond that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.known_files import KnownFiles
from pipeline.artefacts.log import PARTS, RowsWriter
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
from pipeline.config import MODALITIES, Config
from pipeline.config.shared import Array
from pipeline.errors import MediaError
from pipeline.media import MEDIA, media_root
from pipeline.night import Night, StepReceipt
from pipeline.runtime import memory_bytes
from pipeline.source import OPTIONAL, execute, read, set_variables
from pipeline.steps.checks import check
from pipeline.workspace import Json, Workspace

LAYOUT = "staged/layout.json"
READERS, ROWS_PER_GROUP, ROWS_PER_BATCH = 8, 16_384, 65_536
# What DuckDB may hold before it spills; Arrow, and what is written, come on top.
MEMORY_SHARE = 0.25
LOG_TYPES = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "ts": pa.timestamp("us", "UTC"),
    "weight": pa.float64(),
    "part": pa.string(),
}


def run(night: Night) -> StepReceipt:
    """Stages a snapshot of the source as of the night's "now".

    Raises SourceError, ConfigError or CheckFailed; nothing is left behind then.
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
            read(connection, config.source, config.ingest.split == "given", columns_of(config))
            buckets = _buckets(self.night.workspace, connection, config)
            self._clean_and_split(connection, buckets)
            checks = check(connection, config.ingest.warn_only)
            self._write_items(connection, buckets)
            self._write_logs(connection)
            if config.source.users:
                _write(connection.sql("from users order by user_id").to_arrow_table(), self.folder / USERS)
            summary = asdict(_summary(connection, config, buckets, checks))
        (self.folder / SUMMARY).write_text(json.dumps(summary, indent=1, sort_keys=True), "utf-8")
        return {"rows": summary["items"], **summary}

    def _clean_and_split(self, connection: duckdb.DuckDBPyConnection, buckets: int) -> None:
        config = self.night.config.ingest
        set_variables(
            connection,
            {
                "as_of": self.night.as_of.replace(tzinfo=None),
                "seed": str(self.night.config.seed),
                "buckets": buckets,
                **config.model_dump(exclude={"rows_per_bucket", "warn_only", "trust_times"}),
            },
        )
        execute(connection, "stage/items.sql")
        execute(connection, "stage/interactions.sql")
        execute(connection, "stage/users.sql")
        if config.min_user_interactions > 1 or config.min_item_interactions > 1:
            _k_core(connection)
        execute(connection, f"stage/split_{config.split}.sql")
        execute(connection, "stage/hold_out_cold.sql")
        execute(connection, "stage/shown.sql")

    def _write_items(self, connection: duckdb.DuckDBPyConnection, buckets: int) -> None:
        """Writes `items/`, bucket by bucket, in one pass over the sorted table."""
        (self.folder / "items").mkdir()
        root = media_root(self.night.config)
        sizes = _bucket_rows(connection, buckets)
        rows = connection.sql("select * exclude (bucket) from items order by bucket, item_id")
        for bucket, table in enumerate(_cut(rows.to_arrow_reader(ROWS_PER_BATCH), sizes)):
            for modality, settings in self.night.config.extract.modalities().items():
                if modality in MEDIA and not isinstance(settings, Array):
                    table = self._with_hashes(table, modality, root, f"bucket-{bucket:05d}.parquet")
            pq.write_table(table, self.folder / "items" / f"bucket-{bucket:05d}.parquet", row_group_size=ROWS_PER_GROUP)

    def _with_hashes(self, table: pa.Table, modality: str, root: Path | None, name: str) -> pa.Table:
        """Adds the hash of what each item's column names, or why there is none. name: of the bucket's file."""
        settings = self.night.config.extract.modalities()[modality]
        assert root is not None
        path, workspace = f"known/{modality}/{name}", self.night.workspace
        trusted = self.night.config.ingest.trust_times and not self.night.full
        known = KnownFiles.read(workspace.path(path)) if trusted else KnownFiles()
        sha256 = partial(known.sha256, root, max_bytes=getattr(settings, "max_bytes", 0))
        with ThreadPoolExecutor(READERS) as pool:
            hashes = list(pool.map(lambda source: _hash(source, modality, sha256), table[modality].to_pylist()))
        if known.changed():
            workspace.commit_file(path, lambda file: _write(known.table(), file))
        return _with_column(table, modality, hashes)

    def _write_logs(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Writes what users chose and were shown, each twice in one pass: coded, and with its ids as Parquet."""
        execute(connection, "stage/code.sql")
        users = connection.sql("select user_id from user_codes order by user_code").to_arrow_table()
        items = connection.sql("select item_id from item_codes order by item_code").to_arrow_table()
        (self.folder / LOG).mkdir()
        pq.write_table(users, self.folder / LOG_USERS)
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
        with pq.ParquetWriter(self.folder / f"{table}.parquet", schema) as parquet:
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


def columns_of(config: Config) -> tuple[str, ...]:
    """The columns of the items that modalities of the user's own are encoded from; given vectors have none."""
    extract = config.extract.modalities()
    return tuple(name for name, read in extract.items() if name not in MODALITIES and not isinstance(read, Array))


def connect(config: Config, spill: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory, bounded, that spills to a folder beyond that."""
    limits: dict[str, str | bool | int | float | list[str]] = {
        "threads": str(config.threads or os.cpu_count() or 1),
        "memory_limit": f"{int(MEMORY_SHARE * memory_bytes())}B",
        "temp_directory": str(spill),
    }
    connection = duckdb.connect(":memory:", config=limits)
    connection.execute("load icu; set timezone = 'UTC'")
    return connection


def _buckets(workspace: Workspace, connection: duckdb.DuckDBPyConnection, config: Config) -> int:
    """The number of buckets: chosen at the first run, kept after."""
    layout = workspace.read_json(LAYOUT)
    if layout is None:
        layout = {"buckets": max(4, -(-_rows(connection, "items_read") // config.ingest.rows_per_bucket))}
        workspace.write_json(LAYOUT, layout)
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


def _k_core(connection: duckdb.DuckDBPyConnection) -> None:
    before = -1
    while before != (now := _rows(connection, "log")):
        before = now
        execute(connection, "stage/k_core.sql")


Hash = tuple[bytes | None, str | None]


def _hash(source: str | None, modality: str, sha256: Callable[[str], bytes]) -> Hash:
    """The hash of what an item's column names, or why there is none."""
    if not source:
        return None, f"no {modality}"
    try:
        return sha256(source), None
    except MediaError as error:
        return None, str(error)


def _with_column(table: pa.Table, modality: str, hashes: list[Hash]) -> pa.Table:
    values = pa.array([sha256 for sha256, _ in hashes], pa.binary(32))
    problems = pa.array([problem for _, problem in hashes], pa.string())
    return table.append_column(f"{modality}_hash", values).append_column(f"{modality}_problem", problems)


def _write(table: pa.Table, path: Path) -> Json:
    pq.write_table(table, path, row_group_size=ROWS_PER_GROUP)
    return {}


def _summary(
    connection: duckdb.DuckDBPyConnection, config: Config, buckets: int, checks: tuple[CheckOutcome, ...]
) -> SourceSummary:
    execute(connection, "stage/summary.sql")
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
    counts = {reason: rows for name, reason, rows in connection.execute("from intake").fetchall() if name == table}
    rows = sum(counts.values())
    valid = counts.pop(None, 0)
    return TableIntake(table, rows, valid, dict(sorted(counts.items())))


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    ((rows,),) = connection.execute(f"select count(*) from {table}").fetchall()
    return int(rows)


def _iso(moment: datetime | None) -> str | None:
    return f"{moment}Z".replace(" ", "T") if moment is not None else None
