from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from adbc_driver_postgresql import dbapi

from pipeline.config import Source
from pipeline.errors import ConfigError, SourceError
from pipeline.source import URI_VARIABLE, queries, read
from tests.servers import free_port, postgresql_programs, postgresql_server

ITEMS = "select item_id, title, blurb as text, current_setting('medley.shop') as shop from records"
USERS = "select distinct buyer as user_id, 'likes ' || buyer as profile, length(buyer) as letters from purchases"
LOG = "select buyer as user_id, item_id, bought_at as ts, 2.5 as weight from purchases"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server with a shop's two tables, as a URI."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: install the package postgresql")
    schema = (
        "create table records (item_id int, title text, blurb text);"
        "insert into records select i, 'title ' || i, 'blurb ' || i from generate_series(1, 500) i;"
        "create table purchases (buyer text, item_id int, bought_at timestamptz);"
        "insert into purchases select 'b' || i % 20, 1 + i % 500,"
        " timestamptz '2024-01-01 02:00+02' + i * interval '1 hour' from generate_series(0, 1999) i;"
    )
    with postgresql_server(programs) as uri:
        with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in filter(None, schema.split(";")):
                cursor.execute(statement)
        yield uri


def source(items: str = ITEMS, log: str = LOG) -> Source:
    return Source(engine="postgresql", items=items, interactions=log, params={"shop": "Discs"})


def test_queries_run_on_the_postgresql_server_and_arrive_typed(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI_VARIABLE, postgresql)
    with duckdb.connect() as connection:
        connection.execute("load icu; set timezone = 'UTC'")
        read(connection, source())
        assert connection.execute("select count(*), min(item_id), any_value(shop) from items_read").fetchone() == (
            500,
            "1",
            "Discs",
        )
        rows = connection.execute(
            "select count(*), min(ts)::timestamp::varchar, min(weight) from interactions_read"
        ).fetchone()
        assert rows is not None
        assert (rows[0], rows[1], float(rows[2])) == (2000, "2024-01-01 00:00:00", 2.5)


def test_the_query_for_users_runs_there_too_and_without_one_nobody_is_read(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI_VARIABLE, postgresql)
    with duckdb.connect() as connection:
        read(connection, source().model_copy(update={"users": USERS}))
        found = connection.execute("from users_read order by user_id limit 1").fetchall()
        assert found == [("b0", "likes b0", 2)]
        read(connection, source())
        assert connection.execute("select count(*) from users_read").fetchone() == (0,)


def test_all_queries_see_the_state_in_which_the_first_one_ran(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URI_VARIABLE, postgresql)
    fill = queries._fill

    def bought_meanwhile(connection: duckdb.DuckDBPyConnection, table: str, *rest: object) -> None:
        fill(connection, table, *rest)  # type: ignore[arg-type]
        if table == "items":
            with dbapi.connect(postgresql, autocommit=True) as other, other.cursor() as cursor:
                cursor.execute("insert into purchases values ('late', 1, now())")

    with duckdb.connect() as connection:
        with monkeypatch.context() as patch:
            patch.setattr(queries, "_fill", bought_meanwhile)
            read(connection, source())
        late = "select count(*) from interactions_read where user_id = 'late'"
        assert connection.execute(late).fetchall() == [(0,)]
        read(connection, source())
        assert connection.execute(late).fetchall() == [(1,)]
    with dbapi.connect(postgresql, autocommit=True) as other, other.cursor() as cursor:
        cursor.execute("delete from purchases where buyer = 'late'")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("select nothing from records", "source.items: PostgreSQL says: .*nothing"),
        ("select item_id from records", "source.items: the query returns no column title"),
        (
            "with gone as (delete from records returning *) select item_id, title from gone",
            "source.items: PostgreSQL says: .*read-only transaction",
        ),
    ],
)
def test_a_wrong_query_is_one_sentence(postgresql: str, monkeypatch: pytest.MonkeyPatch, items: str, said: str) -> None:
    monkeypatch.setenv(URI_VARIABLE, postgresql)
    with duckdb.connect() as connection, pytest.raises(SourceError, match=said) as caught:
        read(connection, source(items=items))
    assert "\n" not in str(caught.value)


def test_a_dead_database_is_one_sentence_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URI_VARIABLE, f"postgresql://medley:secret@127.0.0.1:{free_port()}/shop")
    with duckdb.connect() as connection, pytest.raises(SourceError, match=r"PostgreSQL says: .*refused") as caught:
        read(connection, source())
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql+psycopg2://medley:s3cret@127.0.0.1:1/shop",
        "mysql://medley:s3cret@127.0.0.1:1/shop",
        "postgresql://medley:s3cret%zz@127.0.0.1:1/shop",
        "postgresql://medley:and@s3cret@127.0.0.1:1/shop",
        "postgresql://medley:and/s3cret@127.0.0.1:1/shop",
        "postgresql://127.0.0.1:1/shop?password=s3cret%zz",
        "host=127.0.0.1 port=1 password='a s3cret",
        "host=127.0.0.1 port=1 password = s3cret secure",
    ],
)
def test_a_password_reaches_no_message_whatever_the_scheme(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv(URI_VARIABLE, uri)
    with duckdb.connect() as connection, pytest.raises(SourceError, match=f"says: .*; see {URI_VARIABLE}") as caught:
        read(connection, source())
    assert "s3cret" not in str(caught.value)


def test_a_parameter_is_a_value_and_never_sql() -> None:
    with duckdb.connect() as connection:
        quoted = Source(items="select getvariable('v') as item_id, '' as title", params={"v": "'; drop table x; --"})
        quoted = quoted.model_copy(update={"interactions": "select 'u' as user_id, '1' as item_id, now() as ts"})
        read(connection, quoted)
        assert connection.execute("select item_id from items_read").fetchone() == ("'; drop table x; --",)
        with pytest.raises(ConfigError, match="a parameter's name is letters"):
            read(connection, quoted.model_copy(update={"params": {"a = 1; drop": "x"}}))
