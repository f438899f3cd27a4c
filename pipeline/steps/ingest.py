"""Ingest: read the source, clean it, hash the media, split it, check it, and stage it in buckets.

- the queries fill DuckDB tables; `sql/stage/` judges every row and says why one is dropped;
- `sql/stage/split_*.sql` cuts the log, and a seeded share of items is held out to measure cold start; a split that is
  given is taken as it is, and what is never in its training part is cold;
- `sql/checks/` return offending rows, and stop the night or warn;
- each media file's bytes are hashed, so that the next step knows what has changed without decoding anything.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.log import PARTS, RowsWriter
from pipeline.artefacts.staged import LOG, LOG_USERS, SHOWN, USERS, Staged
from pipeline.config import Config
from pipeline.errors import CheckFailed, MediaError
from pipeline.media import media_root, raw_of
from pipeline.night import Night, StepReceipt
from pipeline.source import OPTIONAL, execute, read, set_variables, sql_folder
from pipeline.workspace import Json, Workspace

log = logging.getLogger("medley")
LAYOUT = "staged/layout.json"
MEDIA = ("image", "audio")
LOG_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "ts": pa.timestamp("us", "UTC"),
        "weight": pa.float64(),
        "part": pa.string(),
    }
)


def run(night: Night) -> StepReceipt:
    """Stages a snapshot of the source as of the night's "now".

    Raises SourceError, ConfigError or CheckFailed; nothing is left behind then.
    """
    return night.content_step("ingest", "staged", lambda folder: _Staging(night, folder).stage())


def staged_of(night: Night) -> Staged:
    """What this run ingested. Raises StepFailed if it has not."""
    return Staged(night.workspace.path(night.receipt("ingest").path))


@dataclass(frozen=True)
class _Staging:
    night: Night
    folder: Path

    def stage(self) -> Json:
        config = self.night.config
        with _connect(config, spill=self.folder.with_suffix(".spill")) as connection:
            read(connection, config.source, parts=config.ingest.split == "given")
            buckets = _buckets(self.night.workspace, connection, config)
            self._clean_and_split(connection, buckets)
            checks = _check(connection, config.ingest.warn_only)
            self._write_items(connection, buckets)
            execute(connection, "stage/code.sql")
            self._write_log(connection, "interactions", LOG)
            if config.source.shown:
                self._write_log(connection, "shown", SHOWN)
            self._write_users(connection)
            summary = _summary(connection, config, buckets, checks)
        (self.folder / "split.json").write_text(json.dumps(summary, indent=1, sort_keys=True), "utf-8")
        return {"rows": summary["items"], **summary}

    def _clean_and_split(self, connection: duckdb.DuckDBPyConnection, buckets: int) -> None:
        config = self.night.config.ingest
        set_variables(
            connection,
            {
                "as_of": self.night.as_of.replace(tzinfo=None),
                "seed": str(self.night.config.seed),
                "buckets": buckets,
                **config.model_dump(exclude={"rows_per_bucket", "warn_only"}),
            },
        )
        execute(connection, "stage/items.sql")
        execute(connection, "stage/interactions.sql")
        execute(connection, "stage/users.sql")
        _k_core(connection)
        execute(connection, f"stage/split_{config.split}.sql")
        execute(connection, "stage/hold_out_cold.sql")
        execute(connection, "stage/shown.sql")

    def _write_items(self, connection: duckdb.DuckDBPyConnection, buckets: int) -> None:
        (self.folder / "items").mkdir()
        root = media_root(self.night.config)
        for bucket in range(buckets):
            query = "select * exclude (bucket) from items where bucket = $bucket order by item_id"
            table = connection.sql(query, params={"bucket": bucket}).to_arrow_table()
            for modality in MEDIA:
                if settings := getattr(self.night.config.extract, modality):
                    table = _with_hashes(table, modality, partial(raw_of, settings, root))
            pq.write_table(table, self.folder / "items" / f"bucket-{bucket:05d}.parquet", row_group_size=16_384)

    def _write_log(self, connection: duckdb.DuckDBPyConnection, table: str, name: str) -> None:
        """Writes a log twice in one pass: as coded arrays, and with its ids as Parquet."""
        users = connection.sql("select user_id from user_codes order by user_code").to_arrow_table()["user_id"]
        items = connection.sql("select item_id from item_codes order by item_code").to_arrow_table()["item_id"]
        if name == LOG:
            (self.folder / LOG).mkdir()
            pq.write_table(pa.table({"user_id": users}), self.folder / LOG_USERS)
        counts = dict(connection.execute(f"select part, count(*) from {table} group by part").fetchall())
        ((learnt, everything),) = connection.execute("from newest").fetchall()
        arrays = RowsWriter(self.folder / name, counts, (learnt, everything))
        rows = connection.sql(f"from {table}_coded order by user, ts, item, part")
        schema = LOG_SCHEMA if name == LOG else LOG_SCHEMA.remove(3)
        with pq.ParquetWriter(self.folder / f"{table}.parquet", schema) as parquet:
            for batch in rows.to_arrow_reader(65_536):
                arrays.append(batch)
                ids = {"user_id": users.take(batch["user"]), "item_id": items.take(batch["item"])}
                times = batch["ts"].cast(LOG_SCHEMA.field("ts").type)
                rest = {"ts": times, "weight": batch["weight"], "part": pa.array(PARTS).take(batch["part"])}
                parquet.write_table(pa.table({**ids, **rest}).select(schema.names).cast(schema))

    def _write_users(self, connection: duckdb.DuckDBPyConnection) -> None:
        if not self.night.config.source.users:
            return
        users = connection.sql("from users order by user_id").to_arrow_table()
        pq.write_table(users, self.folder / USERS, row_group_size=16_384)


def _connect(config: Config, spill: Path) -> duckdb.DuckDBPyConnection:
    threads = str(config.threads or os.cpu_count() or 1)
    connection = duckdb.connect(":memory:", config={"threads": threads, "temp_directory": str(spill)})
    connection.execute("load icu; set timezone = 'UTC'")
    return connection


def _buckets(workspace: Workspace, connection: duckdb.DuckDBPyConnection, config: Config) -> int:
    kept = workspace.read_json(LAYOUT)
    if kept is None:
        rows = _scalar(connection, "select count(*) from items_read")
        kept = {"buckets": max(4, -(-rows // config.ingest.rows_per_bucket))}
        workspace.write_json(LAYOUT, kept)
    return int(str(kept["buckets"]))


def _k_core(connection: duckdb.DuckDBPyConnection) -> None:
    before = -1
    while before != (now := _scalar(connection, "select count(*) from log")):
        before = now
        execute(connection, "stage/k_core.sql")


def _check(connection: duckdb.DuckDBPyConnection, warn_only: tuple[str, ...]) -> list[Json]:
    checks: list[Json] = []
    for path in sorted((sql_folder() / "checks").glob("assert_*.sql")):
        query = path.read_text("utf-8")
        offending = connection.execute(query)
        columns = [column[0] for column in offending.description or ()]
        rows = offending.fetchall()
        why = query.splitlines()[0].removeprefix("--").strip()
        level = "warn" if path.stem in warn_only else "error"
        checks.append({"name": path.stem, "why": why, "rows": len(rows), "level": level})
        if rows:
            example = ", ".join(f"{name}={value}" for name, value in zip(columns, rows[0], strict=True))
            message = f"check {path.stem}: {len(rows)} rows, the first {example}. {why}"
            if level == "error":
                raise CheckFailed(f"{message} Mend the source, or list it in ingest.warn_only.")
            log.warning(message)
    return checks


def _with_hashes(table: pa.Table, modality: str, read: Callable[[str], bytes]) -> pa.Table:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda source: _hash(source, modality, read), table[modality].to_pylist()))
    hashes = pa.array([hash_ for hash_, _ in found], pa.binary(32))
    problems = pa.array([problem for _, problem in found], pa.string())
    return table.append_column(f"{modality}_hash", hashes).append_column(f"{modality}_problem", problems)


def _hash(source: str | None, modality: str, read: Callable[[str], bytes]) -> tuple[bytes | None, str | None]:
    if not source:
        return None, f"no {modality}"
    try:
        return hashlib.sha256(read(source)).digest(), None
    except MediaError as error:
        return None, str(error)


def _summary(connection: duckdb.DuckDBPyConnection, config: Config, buckets: int, checks: list[Json]) -> Json:
    execute(connection, "stage/summary.sql")
    ((items, cold_items, users, validation_cut, test_cut),) = connection.execute("from counts").fetchall()
    in_buckets = dict(connection.execute("from bucket_counts").fetchall())
    tables = ["items", "interactions", *(name for name in OPTIONAL if getattr(config.source, name))]
    return {
        "kind": config.ingest.split,
        "seed": config.seed,
        "buckets": buckets,
        "bucket_rows": [in_buckets.get(bucket, 0) for bucket in range(buckets)],
        "validation_cut": _iso(validation_cut),
        "test_cut": _iso(test_cut),
        "cold_items": cold_items,
        "parts": dict(sorted(connection.execute("from part_counts").fetchall())),
        "users": users,
        "items": items,
        "intake": [_intake(connection, table) for table in tables],
        "checks": checks,
    }


def _intake(connection: duckdb.DuckDBPyConnection, table: str) -> Json:
    counts = {reason: rows for name, reason, rows in connection.execute("from intake").fetchall() if name == table}
    read = sum(counts.values())
    kept = counts.pop(None, 0)
    return {"table": table, "read": read, "kept": kept, "dropped": dict(sorted(counts.items()))}


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _iso(moment: object) -> str | None:
    return f"{moment}Z".replace(" ", "T") if moment is not None else None
