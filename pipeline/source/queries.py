"""Two to four SQL queries, run by DuckDB over files or by PostgreSQL on its server, into DuckDB tables."""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from pipeline.config import Source
from pipeline.errors import ConfigError, SourceError
from pipeline.source.columns import EPOCH_UNITS, select_list

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

log = logging.getLogger("medley")
# What makes the columns of a table, of the types of what its query returns.
Shape = Callable[..., str]
URI_VARIABLE = "MEDLEY_SOURCE_URI"
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "items": (("item_id", "title"), ("text", "image", "audio")),
    "interactions": (("user_id", "item_id", "ts"), ("weight", "part")),
    "users": (("user_id", "profile"), ()),
    "shown": (("user_id", "item_id", "ts"), ()),
}
OPTIONAL = ("users", "shown")


def sql_folder() -> Path:
    """The folder of Medley's queries: `sql/` of a checkout, or what an installed wheel carries."""
    here = Path(__file__).parents[1]
    packaged = here / "_sql"
    return packaged if packaged.is_dir() else here.parent / "sql"


def read(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    parts: bool = False,
    columns: tuple[str, ...] = (),
    averaged: tuple[str, ...] = (),
    most_rows: int | None = None,
) -> bool:
    """Fills `items_read`, `interactions_read`, `users_read` and `shown_read` with all that the queries return.

    Without a query for users or for what was shown, that table has no row. parts: the log must say which part each row
    belongs to. columns: that the items must have beside their own. averaged: media of
    whose lists all are read. most_rows: about so many of a longer log are kept,
    those of a sample of users, where DuckDB reads it. Returns whether one was cut so.

    Raises ConfigError if a query's file is not found, or nothing tells the part of what was shown; SourceError if a
    query fails or lacks a column.
    """
    if parts and source.shown:
        raise ConfigError(
            "source.shown: a given split has no cut times, so nothing tells what was shown in its test part; "
            "leave source.shown empty, or set ingest.split to time"
        )
    further = {"items": columns, "interactions": ("part",) if parts else ()}
    is_sample = False
    with _PostgreSql(source.params) as server:
        for table, (own, optional) in TABLES.items():
            required = own + further.get(table, ())
            query = _query(getattr(source, table)) or _nothing(table, required)
            shape = partial(select_list, table, required=required, optional=optional, kept=columns, averaged=averaged)
            try:
                if source.engine == "postgresql" and getattr(source, table):
                    server.fill(connection, table, query, shape)
                else:
                    set_variables(connection, dict(source.params))
                    rows = f"(\n{_bare(query)}\n)"
                    condition = _sample(connection, rows, most_rows) if most_rows and "ts" in own else ""
                    is_sample |= bool(condition)
                    _fill(connection, table, rows, shape, condition)
            except duckdb.Error as error:
                raise SourceError(f"source.{table}: {_sentence(error)}") from None
            if "ts" in own:
                _tell_of_epochs(connection, table)
    return is_sample


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
            return _decoded(candidate)
    raise ConfigError(f"source: no such query {setting}; give a path relative to the YAML file, or the SQL itself")


def _decoded(path: Path) -> str:
    """A query's text: UTF-8, or what a byte order mark says."""
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def _bare(query: str) -> str:
    """A query without the semicolons and comments that it ends in."""
    text = query.encode()
    for start, kind in reversed(duckdb.tokenize(query)):
        if kind != duckdb.token_type.comment and text[start : start + 1] != b";":
            break
        text = text[:start] if text[start : start + 1] == b";" else text
    return text.decode()


def _nothing(table: str, columns: tuple[str, ...]) -> str:
    """A query that returns no row, for a table that may be absent. Raises ConfigError if it may not."""
    if table not in OPTIONAL:
        raise ConfigError(f"source.{table} is empty; give the path of a query, or the SQL itself")
    return f"select {', '.join(f'null::varchar as {name}' for name in columns)} limit 0"


def _sample(connection: duckdb.DuckDBPyConnection, rows: str, most_rows: int) -> str:
    """The condition that keeps about so many rows: all those of some users, chosen by a hash of their ids."""
    ((count,),) = connection.execute(f"select count(*) from {rows}").fetchall()
    every = -(-int(count) // most_rows)
    return f" where hash(cast(user_id as varchar)) % {every} = 0" if every > 1 else ""


def _fill(connection: duckdb.DuckDBPyConnection, table: str, rows: str, shape: Shape, condition: str = "") -> None:
    """Makes `<table>_read` of rows, a query in parentheses or a name."""
    kinds = {str(name): str(kind) for name, kind, *_ in connection.execute(f"describe from {rows}").fetchall()}
    connection.execute(f"create or replace table {table}_read as select {shape(kinds=kinds)} from {rows}{condition}")


def _tell_of_epochs(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Warns of times that are numbers: which unit they are taken for is a guess."""
    counted = connection.execute(
        f"select epoch_unit, count(*), min(ts) from {table}_read where epoch_unit is not null group by all order by all"
    ).fetchall()
    for place, rows, oldest in counted:
        name, (_, a_second) = list(EPOCH_UNITS.items())[place]
        number = round(oldest.replace(tzinfo=UTC).timestamp() * a_second)
        log.warning(
            "source.%s: ts holds no readable time but numbers: %s are taken for %s since 1970, such as %s for %s; "
            "make_timestamp or epoch_ms in the query says what they are",
            *(table, rows, name, number, oldest),
        )


class _PostgreSql:
    """A server that is asked in one read-only transaction, begun by the first query: all see one state of the shop."""

    def __init__(self, params: Mapping[str, str]) -> None:
        """params: what queries read as `current_setting('medley.name')`."""
        self._params = params
        self._open = ExitStack()
        self._cursor: Cursor | None = None
        # What the server's driver raises, once it is imported.
        self._faults: tuple[type[Exception], ...] = ()

    def __enter__(self) -> _PostgreSql:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(*self._faults):  # nothing was written, so that nothing is lost
            self._open.close()

    def fill(self, connection: duckdb.DuckDBPyConnection, table: str, query: str, shape: Shape) -> None:
        """Makes `<table>_read` of what a query returns.

        Raises ConfigError if no server is named, SourceError if it cannot be reached or refuses the query.
        """
        from adbc_driver_manager import Error

        from pipeline.source.passwords import without_password

        uri = os.environ.get(URI_VARIABLE)
        if not uri:
            raise ConfigError(
                f"source.engine is postgresql: set {URI_VARIABLE} to postgresql://USER:PASSWORD@HOST/DATABASE"
            )
        self._faults = (Error,)
        try:
            self._cursor = cursor = self._cursor or self._begun(uri)
            cursor.execute(query)
            connection.register("server_rows", cursor.fetch_record_batch())
            _fill(connection, table, "server_rows", shape)
            connection.unregister("server_rows")
        except Error as error:
            said = _sentence(SourceError(without_password(str(error), uri)))
            raise SourceError(f"source.{table}: PostgreSQL says: {said}; see {URI_VARIABLE}") from None

    def _begun(self, uri: str) -> Cursor:
        from adbc_driver_postgresql import dbapi

        cursor = self._open.enter_context(self._open.enter_context(dbapi.connect(uri)).cursor())
        cursor.execute("set transaction isolation level repeatable read, read only")
        for name, value in self._params.items():
            cursor.execute("select set_config($1, $2, true)", (f"medley.{name}", value))
            cursor.fetchall()
        return cursor


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
