"""The source: two to four SQL queries, run by DuckDB over files or by PostgreSQL on its server, into DuckDB tables."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from pipeline.config import Source
from pipeline.errors import ConfigError, SourceError

URI_VARIABLE = "MEDLEY_SOURCE_URI"
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "items": (("item_id", "title"), ("text", "image", "audio")),
    "interactions": (("user_id", "item_id", "ts"), ("weight", "part")),
    "users": (("user_id", "profile"), ()),
    "shown": (("user_id", "item_id", "ts"), ()),
}
OPTIONAL = ("users", "shown")
TEXTS = {"item_id", "user_id", "title", "text", "image", "audio", "profile", "part"}
RESERVED = {"bucket", "cold", "dropped", "position", "occurrence", "given_part"}


def sql_folder() -> Path:
    """The folder of Medley's queries: `sql/` of a checkout, or what an installed wheel carries."""
    here = Path(__file__).parent
    packaged = here / "_sql"
    return packaged if packaged.is_dir() else here.parent / "sql"


def read(
    connection: duckdb.DuckDBPyConnection, source: Source, parts: bool = False, columns: tuple[str, ...] = ()
) -> None:
    """Fills `items_read`, `interactions_read`, `users_read` and `shown_read` with all that the queries return.

    Without a query for users or for what was shown, that table has no row. parts: the log must say which part each row
    belongs to. columns: that the items must have beside their own.

    Raises ConfigError if a query's file is not found, or nothing tells the part of what was shown; SourceError if a
    query fails or lacks a column.
    """
    if parts and source.shown:
        raise ConfigError(
            "source.shown: a given split has no cut times, so nothing tells what was shown in its test part; "
            "leave source.shown empty, or set ingest.split to time"
        )
    further = {"items": columns, "interactions": ("part",) if parts else ()}
    for table, (own, optional) in TABLES.items():
        required = own + further.get(table, ())
        query = _query(getattr(source, table))
        if query or table not in OPTIONAL:
            _run(connection, source, table, query)
        else:
            empty = ", ".join(f"{name} varchar" for name in required)
            connection.execute(f"create or replace table {table}_read ({empty})")
        _shape(connection, table, required, optional)


def execute(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Runs every statement of one file of Medley's own `sql/`."""
    connection.execute((sql_folder() / name).read_text("utf-8"))


def set_variables(connection: duckdb.DuckDBPyConnection, values: dict[str, object]) -> None:
    """Makes values readable to SQL as `getvariable('name')`.

    Raises ConfigError if a name is not a plain word.
    """
    for name, value in values.items():
        if not name.isidentifier():
            raise ConfigError(f"source.params.{name}: a parameter's name is letters, digits and underscores")
        connection.execute(f"set variable {name} = $value", {"value": value})


def _query(setting: str) -> str:
    if not setting.endswith(".sql"):
        return setting
    for candidate in (Path(setting), sql_folder() / setting):
        if candidate.is_file():
            return candidate.read_text("utf-8")
    raise ConfigError(f"source: no such query {setting}; give a path relative to the YAML file, or the SQL itself")


def _run(connection: duckdb.DuckDBPyConnection, source: Source, table: str, query: str) -> None:
    query = query.strip().rstrip(";")
    try:
        if source.engine == "postgresql":
            _run_on_postgresql(connection, source, table, query)
        else:
            set_variables(connection, dict(source.params))
            connection.execute(f"create or replace table {table}_read as from ({query})")
    except duckdb.Error as error:
        raise SourceError(f"source.{table}: {_sentence(error)}") from None


def _run_on_postgresql(connection: duckdb.DuckDBPyConnection, source: Source, table: str, query: str) -> None:
    from adbc_driver_manager import Error
    from adbc_driver_postgresql import dbapi

    from pipeline.passwords import without_password

    uri = os.environ.get(URI_VARIABLE)
    if not uri:
        raise ConfigError(
            f"source.engine is postgresql: set {URI_VARIABLE} to postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    try:
        with dbapi.connect(uri) as server, server.cursor() as cursor:
            for name, value in source.params.items():
                cursor.execute("select set_config($1, $2, false)", (f"medley.{name}", value))
                cursor.fetchall()
            cursor.execute(query)
            rows = cursor.fetch_record_batch()  # noqa: F841 - DuckDB finds it by its name
            connection.execute(f"create or replace table {table}_read as from rows")
    except Error as error:
        said = _sentence(SourceError(without_password(str(error), uri)))
        raise SourceError(f"source.{table}: PostgreSQL says: {said}; see {URI_VARIABLE}") from None


def _shape(
    connection: duckdb.DuckDBPyConnection, table: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    columns = [str(row[0]) for row in connection.execute(f"describe {table}_read").fetchall()]
    missing = [name for name in required if name not in columns]
    if missing:
        raise SourceError(
            f"source.{table}: the query returns no column {', '.join(missing)}; it returns {', '.join(columns)}; "
            f"name the column with `as {missing[0]}`"
        )
    taken = RESERVED.intersection(columns)
    if taken:
        raise SourceError(f"source.{table}: column {', '.join(sorted(taken))} is Medley's own; give it another name")
    for name in (name for name in optional if name not in columns):
        default = "1.0" if name == "weight" else "null"
        connection.execute(f"alter table {table}_read add column {name} varchar default {default}")
    types = {str(row[0]): str(row[1]) for row in connection.execute(f"describe {table}_read").fetchall()}
    names = [name for name in (*required, *optional) if name in TEXTS and types[name] != "VARCHAR"]
    if names:
        texts = ", ".join(f"cast({name} as varchar) as {name}" for name in names)
        connection.execute(f"create or replace table {table}_read as select * replace ({texts}) from {table}_read")


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
