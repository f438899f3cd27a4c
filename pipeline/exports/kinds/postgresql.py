"""PostgreSQL with pgvector: tables of items, users and lists, behind views that are replaced at the end.

Views `items` (item_id, title, embedding, attributes), `users` (user_id, seen, embedding) and `lists` (user_id, rank,
item_id, score) of a schema; their tables bear the index's digest. A user's items, without what they have seen:

```sql
select i.item_id from medley.items i, medley.users u
where u.user_id = '4711' and not i.item_id = any(u.seen) order by i.embedding <#> u.embedding limit 10
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from pipeline.errors import ConfigError, ExportFailed
from pipeline.exports.base import DEPTH, URI_VARIABLE, Export, ExportSettings, first_items, said, server_uri
from pipeline.exports.contents import Block, apart
from pipeline.interactions import Floats
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

EXAMPLE = "postgresql://USER:PASSWORD@HOST/DATABASE"
TABLES = ("items", "users", "lists")
KEYS = {"items": "item_id", "users": "user_id", "lists": "user_id, rank"}
# Characters of a digest in a table's name, which may have 63.
DIGITS = 16


class PostgresqlSettings(ExportSettings):
    """Where in the database the tables go; the database is that of MEDLEY_EXPORT_URI."""

    database_schema: str = Field("medley", pattern=r"^[a-z_][a-z0-9_]{0,40}$", description="made where it is not there")
    hnsw: bool = Field(False, description="index items' embeddings by pgvector's graph, for millions of them")


class PostgresqlExport(Export):
    """See above. Each table is made in one transaction; one that is there is not made again."""

    Settings = PostgresqlSettings
    settings: PostgresqlSettings

    def stage(self) -> Json:
        """See Export."""
        tables = {"items": self.contents.items(), "users": self.contents.users(), "lists": self.contents.lists()}
        with self._connected() as connection, connection.cursor() as cursor:
            self._prepare(cursor)
            connection.commit()
            for name, blocks in tables.items():
                if not self._rows(cursor, "select to_regclass($1) is not null", self._table(name))[0][0]:
                    self._make(cursor, name, blocks)
                connection.commit()
            counts = {name: self._rows(cursor, f"select count(*) from {self._table(name)}")[0][0] for name in tables}
        return {"schema": self.settings.database_schema, "rows": counts}

    def lists(self, users: Sequence[str]) -> dict[str, list[str]]:
        """See Export."""
        query = f"select * from {self._table('lists')} join asked using (user_id) order by user_id, rank"
        with self._connected() as connection, connection.cursor() as cursor:
            asked = pa.table({"user_id": pa.array(users, pa.string())})
            cursor.adbc_ingest("asked", asked, mode="create", temporary=True)
            cursor.execute(query)
            return first_items(cursor.fetch_arrow_table())

    def nearest(self, users: pa.Table, vectors: Floats) -> list[list[str]]:
        """See Export: by the users' embeddings in the database."""
        items, known = self._table("items"), self._table("users")
        query = (
            f"select item_id from {items} i, (select * from {known} where user_id = $1) u "
            f"where not i.item_id = any(u.seen) order by i.embedding <#> u.embedding limit {DEPTH}"
        )
        with self._connected() as connection, connection.cursor() as cursor:
            return [[item for (item,) in self._rows(cursor, query, user)] for user in users["user_id"].to_pylist()]

    def switch(self) -> None:
        """See Export. Tables of digests that are neither served now nor were before go."""
        schema = self.settings.database_schema
        served = "select distinct view_definition from information_schema.views where table_schema = $1"
        with self._connected() as connection, connection.cursor() as cursor:
            before = " ".join(str(row[0]) for row in self._rows(cursor, served, schema))
            if before.count(self._digits) >= len(TABLES):
                return
            for name in TABLES:
                cursor.execute(f"drop view if exists {schema}.{name}")
                cursor.execute(f"create view {schema}.{name} as select * from {self._table(name)}")
            names = self._rows(cursor, "select tablename from pg_tables where schemaname = $1", schema)
            for (table,) in names:
                own = re.fullmatch(rf"({'|'.join(TABLES)})_([0-9a-f]{{{DIGITS}}})", table)
                if own and own[2] != self._digits and table not in before:
                    cursor.execute(f"drop table {schema}.{table}")
            connection.commit()

    @property
    def _digits(self) -> str:
        return self.contents.digest[:DIGITS]

    def _table(self, name: str) -> str:
        return f"{self.settings.database_schema}.{name}_{self._digits}"

    def _prepare(self, cursor: Cursor) -> None:
        (there,) = self._rows(cursor, "select count(*) from pg_available_extensions where name = 'vector'")[0]
        if not there:
            raise ExportFailed("export postgresql: the server has no pgvector; install it there, or use another export")
        cursor.execute("create extension if not exists vector")
        cursor.execute(f"create schema if not exists {self.settings.database_schema}")

    def _make(self, cursor: Cursor, name: str, blocks: Iterator[Block]) -> None:
        """Makes a table from a temporary one, in which vectors are arrays."""
        unfinished, width = f"staged_{name}", self.contents.width
        mode = "create"
        for block in blocks:
            table = apart(block.table, ("embedding",))
            if block.vectors.shape[1]:
                values = pa.FixedSizeListArray.from_arrays(pa.array(block.vectors.ravel()), block.vectors.shape[1])
                table = table.append_column("embedding", values.cast(pa.list_(pa.float32())))
            cursor.adbc_ingest(unfinished, table, mode=mode, temporary=True)  # type: ignore[arg-type]
            mode = "append"
        if mode == "create":  # no row
            raise ExportFailed(f"export postgresql: the index has no row of {name}")
        embedding = "" if name == "lists" else f", embedding::vector({width}) as embedding"
        others = [column for column in self._columns(cursor, unfinished) if column != "embedding"]
        quoted = ", ".join('"' + column.replace('"', '""') + '"' for column in others)
        cursor.execute(f"create table {self._table(name)} as select {quoted}{embedding} from {unfinished}")
        cursor.execute(f"alter table {self._table(name)} add primary key ({KEYS[name]})")
        if name == "items" and self.settings.hnsw:
            cursor.execute(f"create index on {self._table(name)} using hnsw (embedding vector_ip_ops)")
        cursor.execute(f"drop table {unfinished}")

    def _columns(self, cursor: Cursor, table: str) -> list[str]:
        query = "select attname from pg_attribute where attrelid = to_regclass($1) and attnum > 0 order by attnum"
        return [str(row[0]) for row in self._rows(cursor, query, table)]

    def _rows(self, cursor: Cursor, query: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A transaction, which is rolled back unless it is committed; what the server says becomes ExportFailed."""
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi

        uri = server_uri(EXAMPLE)
        if not uri.startswith(("postgresql://", "postgres://")):
            raise ConfigError(f"{URI_VARIABLE} must be {EXAMPLE}")
        try:
            with dbapi.connect(uri) as connection:
                yield connection
        except Error as error:
            raise ExportFailed(f"export postgresql: the server says: {said(error, uri)}; see {URI_VARIABLE}") from None
