"""Staging in DuckDB: `sql/stage/` judges every row that the source returned, and cuts the log."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.config import MODALITIES, Config
from pipeline.config.shared import Array
from pipeline.runtime import memory_bytes
from pipeline.source import execute, set_variables

# What DuckDB may hold before it spills; Arrow, and what is written, come on top.
MEMORY_SHARE = 0.25


def columns_of(config: Config) -> tuple[str, ...]:
    """The columns of the items that modalities of the user's own are encoded from; given vectors have none."""
    extract = config.extract.modalities()
    return tuple(name for name, read in extract.items() if name not in MODALITIES and not isinstance(read, Array))


def averaged_of(config: Config) -> tuple[str, ...]:
    """The media of whose lists every file counts."""
    extract = config.extract.modalities()
    return tuple(name for name, settings in extract.items() if getattr(settings, "lists", "first") == "mean")


def connect(config: Config, spill: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory. spill: where it puts what is more than its share."""
    limits: dict[str, str | bool | int | float | list[str]] = {
        "threads": str(config.threads or os.cpu_count() or 1),
        "memory_limit": f"{int(MEMORY_SHARE * memory_bytes())}B",
        "temp_directory": str(spill),
    }
    connection = duckdb.connect(":memory:", config=limits)
    connection.execute("load icu; set timezone = 'UTC'")
    return connection


def stage(connection: duckdb.DuckDBPyConnection, config: Config, as_of: datetime, buckets: int) -> None:
    """Makes `items`, `interactions`, `users`, `shown` and what tells of them, of what `source.read` filled."""
    settings = config.ingest
    variables = {
        "as_of": as_of.replace(tzinfo=None),
        "seed": str(config.seed),
        "buckets": buckets,
        **settings.model_dump(exclude={"rows_per_bucket", "warn_only", "trust_times"}),
    }
    set_variables(connection, variables)
    for name in ("items", "interactions", "users"):
        execute(connection, f"stage/{name}.sql")
    if settings.min_user_interactions > 1 or settings.min_item_interactions > 1:
        _k_core(connection)
    for name in (f"split_{settings.split}", "hold_out_cold", "shown", "summary"):
        execute(connection, f"stage/{name}.sql")


def _k_core(connection: duckdb.DuckDBPyConnection) -> None:
    before = -1
    while before != (now := row_count(connection, "log")):
        before = now
        execute(connection, "stage/k_core.sql")


def row_count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """The number of rows of a table."""
    ((rows,),) = connection.execute(f"select count(*) from {table}").fetchall()
    return int(rows)
