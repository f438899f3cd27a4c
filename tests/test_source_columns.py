"""Columns as queries return them: any capitals, any type."""

from __future__ import annotations

import codecs
import logging
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from pipeline.config import Source
from pipeline.errors import ConfigError, SourceError
from pipeline.source import read

LOG = "select 'u' as user_id, '1' as item_id, timestamp '2024-01-01' as ts"
ITEMS = "select '1' as item_id, 'one' as title"


def loaded(items: str = ITEMS, log: str = LOG) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("load icu; set timezone = 'UTC'")
    read(connection, Source(items=items, interactions=log))
    return connection


@pytest.mark.parametrize("end", ["", ";", " ; ;", " -- all", "\n-- a;\n", ";\n-- end", "; /* b; */", " -- 'é' ;\n;"])
def test_a_query_may_end_in_comments_and_semicolons(end: str) -> None:
    title = "'a -- ; b'"
    items = f"with one as (select '1' as item_id, {title} as title) select * from one{end}"
    assert loaded(items).execute("select title from items_read").fetchall() == [("a -- ; b",)]


def test_two_statements_are_one_sentence() -> None:
    with pytest.raises(SourceError, match=r"source.items: .*syntax error") as caught:
        loaded("select 1; select 2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_query_is_read_in_the_encoding_that_it_names(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "items.sql"
    path.write_text("select '1' as item_id, 'ø' as title", encoding)
    assert loaded(str(path)).execute("select title from items_read").fetchall() == [("ø",)]


def test_a_query_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.sql"
    path.write_bytes("select 'ø'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"items.sql: not UTF-8 at byte 8; save it as UTF-8"):
        loaded(str(path))
    path.write_bytes(codecs.BOM_UTF16_LE + b"s")
    with pytest.raises(ConfigError, match=r"items.sql: not UTF-8"):
        loaded(str(path))


def test_names_have_no_capitals() -> None:
    connection = loaded("select 1 as ITEM_ID, 'one' as Title, 'words' as Text, 2 as Year", LOG.replace("ts", "TS"))
    assert connection.execute("select item_id, title, text, Year from items_read").fetchall() == [
        ("1", "one", "words", 2)
    ]
    assert connection.execute("select ts from interactions_read").fetchall() == [(datetime(2024, 1, 1),)]


@pytest.mark.parametrize(
    "name", ["Cold", "bucket", "DROPPED", "image_hash", "Audio_Problem", "image_bytes", "Dropped_Example"]
)
def test_names_that_staging_adds_are_refused_in_any_capitals(name: str) -> None:
    with pytest.raises(SourceError, match=f"source.items: column {name} is Medley's own; give it another name"):
        loaded(f"{ITEMS}, 1 as {name}")


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("interval 3 day", "3 days"),
        ("{'a': 1}", "{'a': 1}"),
        ("map {1: 2}", "{1=2}"),
        ("[{'a': 1}]", "[{'a': 1}]"),
        ("uuid '00e0f1e9-6e84-4334-9b22-cc1054bcf8fd'", "00e0f1e9-6e84-4334-9b22-cc1054bcf8fd"),
        ("'{\"a\": 1}'::json", '{"a": 1}'),
        ("time '01:00'", "01:00:00"),
        ("'a'::enum('a', 'b')", "a"),
        ("bitstring '01'", "01"),
        ("['jazz', 'soul']", ["jazz", "soul"]),
        ("'\\xAA'::blob", b"\xaa"),
        ("1.5::float", 1.5),
        ("null", None),
    ],
)
def test_a_further_column_may_have_any_type(sql: str, value: object) -> None:
    connection = loaded(f'{ITEMS}, {sql} as "an ""attribute"""')
    rows = connection.sql('select "an ""attribute""" as value from items_read').to_arrow_table()
    assert rows.to_pylist() == [{"value": value}]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("select 1.0 as item_id, '' as title", r"item_id is DECIMAL\(2,1\), a number with a fraction: 1 becomes 1.0"),
        ("select 1e10 as item_id, '' as title", "item_id is DOUBLE, .*1E10 becomes 10000000000.0; write cast"),
        ("select [1] as item_id, '' as title", r"item_id is INTEGER\[\] and must be text or a whole number; write"),
        (
            "select '1' as item_id, ['a'] as title",
            r"title is VARCHAR\[\] and must be text; write it as text .* array_to",
        ),
        ("select '1' as item_id, 'x'::blob as title", "title is BLOB and must be text"),
        (f"{ITEMS}, 1.5 as image", r"image is DECIMAL\(2,1\) and must be a path, bytes, a struct of bytes and path"),
        (f"{ITEMS}, {{'path': 'a'}} as image", r"image is STRUCT\(path VARCHAR\) and must be a path"),
    ],
)
def test_a_type_that_cannot_be_taken_is_one_sentence(items: str, said: str) -> None:
    with pytest.raises(SourceError, match=f"source.items: {said}") as caught:
        loaded(items)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("select 'u' as user_id, '1' as item_id, time '01:00' as ts", "ts is TIME and must be a time; cast"),
        (f"{LOG}, [1] as weight", r"weight is INTEGER\[\] and must be a number; write a number as weight"),
        ("select 1.5 as user_id, '1' as item_id, now() as ts", r"user_id is DECIMAL\(2,1\), a number with a fraction"),
    ],
)
def test_so_it_is_in_the_log(log: str, said: str) -> None:
    with pytest.raises(SourceError, match=f"source.interactions: {said}"):
        loaded(log=log)


DAY = datetime(2025, 1, 1)


@pytest.mark.parametrize(
    ("sql", "moment"),
    [
        ("date '2025-01-01'", DAY),
        ("timestamp '2025-01-01'", DAY),
        ("timestamp_ns '2025-01-01'", DAY),
        ("timestamptz '2025-01-01 02:00+02'", DAY),
        ("'2025-01-01'", DAY),
        ("'2025-01-01T02:00:00+02:00'", DAY),
        ("'2025-01-01 01:00:00 Europe/Berlin'", DAY),
        ("1735689600", DAY),
        ("'1735689600'", DAY),
        ("1735689600.5", datetime(2025, 1, 1, 0, 0, 0, 500_000)),
        ("1735689600000", DAY),
        ("1735689600000000", DAY),
        ("1735689600000000000", DAY),
        ("631152000", datetime(1990, 1, 1)),
        ("631151999", None),
        ("20250101", None),
        ("0", None),
        ("'nan'", None),
        ("'infinity'", None),
        ("timestamp '-infinity'", None),
        ("'inf'::double", None),
        ("'01/02/2025'", None),
        ("null", None),
    ],
)
def test_times_are_read_in_every_form_that_tells_its_own(sql: str, moment: datetime | None) -> None:
    connection = loaded(log=f"select 'u' as user_id, '1' as item_id, {sql} as ts")
    ((ts, unread),) = connection.execute("select ts, unread_ts from interactions_read").fetchall()
    assert ts == moment
    assert (unread is None) == (moment is not None or sql == "null")


def test_a_time_that_is_a_number_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "medley"):
        loaded(log="select 'u' as user_id, '1' as item_id, unnest([1735689600000, 1735689600]) as ts")
    assert [record.getMessage().partition("; ")[0] for record in caplog.records] == [
        "source.interactions: ts holds no readable time but numbers: 1 are taken for seconds since 1970, such as "
        "1735689600 for 2025-01-01 00:00:00",
        "source.interactions: ts holds no readable time but numbers: 1 are taken for milliseconds since 1970, such as "
        "1735689600000 for 2025-01-01 00:00:00",
    ]


@pytest.mark.parametrize(
    ("sql", "path", "data"),
    [
        ("'a.jpg'", "a.jpg", None),
        ("7", "7", None),
        ("'x'::blob", None, b"x"),
        ("{'bytes': 'x'::blob, 'path': 'a.jpg'}", None, b"x"),
        ("{'path': 'a.jpg', 'bytes': null::blob}", "a.jpg", None),
        ("{'bytes': 'x'::blob}", None, b"x"),
        ("['a.jpg', 'b.jpg']", "a.jpg", None),
        ("[]::varchar[]", None, None),
        ("[{'bytes': 'x'::blob, 'path': 'a.jpg'}]", None, b"x"),
    ],
)
def test_a_medium_is_a_path_or_bytes(sql: str, path: str | None, data: bytes | None) -> None:
    connection = loaded(f"{ITEMS}, {sql} as image")
    names = [row[0] for row in connection.execute("describe items_read").fetchall()]
    assert connection.execute("select image from items_read").fetchall() == [(path,)]
    assert ("image_bytes" in names) == ("blob" in sql)
    if "image_bytes" in names:
        assert connection.execute("select image_bytes from items_read").fetchall() == [(data,)]
