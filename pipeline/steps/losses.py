"""Why rows of the source were dropped, with an example of each reason and what would read them."""

from __future__ import annotations

from collections.abc import Callable

import duckdb

# A table that lost a smaller share than this is not why a check failed.
TOLD_SHARE = 0.1
# Formats of times that people write; `%m/%d` comes after `%d/%m`, and both are named where both read everything.
DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y%m%d", "%Y/%m/%d", "%d %b %Y", "%b %d, %Y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", "%H%M%S", " %I:%M %p", " %I:%M:%S %p", ", %I:%M:%S %p")
OTHERS = ("%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z")
FORMATS = (*(day + clock for day in DAYS for clock in CLOCKS), *OTHERS)


def losses(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A sentence for each table that lost many of its rows: how many by which reason, such as which, and the way out.

    It reads what `stage/summary.sql` counted.
    """
    sentences: list[str] = []
    reasons: dict[str, list[tuple[str, int, str | None]]] = {}
    totals: dict[str, int] = {}
    for table, reason, rows, example in connection.execute("from intake order by row_count desc, dropped").fetchall():
        totals[table] = totals.get(table, 0) + rows
        if reason:
            reasons.setdefault(table, []).append((reason, rows, example))
    for table, dropped in reasons.items():
        if sum(rows for _, rows, _ in dropped) >= TOLD_SHARE * totals[table]:
            parts = [
                f"{rows} of {totals[table]} {table}: {reason}"
                + (f", such as {_line(example)}" if example is not None else "")
                + (_WAYS_OUT[reason](connection, table) if reason in _WAYS_OUT else "")
                for reason, rows, example in dropped
            ]
            sentences.append("; ".join(parts))
    return sentences


def _format(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """The formats that read every time of a sample that could not be read."""
    unread = "dropped = 'no readable time' and dropped_example <> 'null'"
    sample = f"(select dropped_example as example from {table}_judged where {unread} limit 1000)"
    ((rows,),) = connection.execute(f"select count(*) from {sample}").fetchall()
    reading = []
    for form in FORMATS:
        counted = f"select count(try_strptime(example, $form)) from {sample}"
        ((read,),) = connection.execute(counted, {"form": form}).fetchall()
        if rows and read == rows:
            reading.append(f"strptime(ts, '{form}') as ts")
    return f" ({' or '.join(reading)} in the query reads it)" if reading else ""


def _likeness(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """An id of the catalogue that an unknown one differs from in the way it is written alone."""
    unknown = (
        f"select distinct dropped_example as example from {table}_judged "
        "where dropped = 'item_id is not in the catalogue' order by example limit 1000"
    )
    alike = {
        "in type alone: cast(item_id as bigint) in both queries": "try_cast({0} as double)",
        "in capitals alone: lower(item_id) in both queries": "lower({0})",
        "in leading zeros alone: ltrim(item_id, '0') in both queries": "ltrim({0}, '0')",
    }
    for how, form in alike.items():
        pairs = connection.execute(
            f"select example, item_id from ({unknown}) "
            f"join items on {form.format('example')} = {form.format('item_id')} order by example, item_id limit 1"
        ).fetchall()
        for example, item_id in pairs:
            return f" ({_line(example)} and the catalogue's {_line(item_id)} differ {how} makes them one)"
    return ""


_WAYS_OUT: dict[str, Callable[[duckdb.DuckDBPyConnection, str], str]] = {
    "no readable time": _format,
    "item_id is not in the catalogue": _likeness,
}


def _line(text: str) -> str:
    """A value of the source as part of one line."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:60])
    return shown + ("…" if len(text) > 60 else "")
