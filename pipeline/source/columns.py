"""What Medley makes of the columns that a query returns, whatever their capitals and types.

| column | taken | becomes |
|---|---|---|
| item_id, user_id | text, whole numbers, uuid | text; a number with a fraction is refused: it would turn 1 into 1.0 |
| title, text, profile, part | text, numbers, dates | text |
| image, audio | text; bytes, or a struct of `bytes` and `path`; a list of these, its first or all | text, bytes |
| ts | timestamps, dates, texts of them; numbers since 1970, in the unit that gives a year after 1990 | timestamp, UTC |
| weight | numbers, and texts of them | double |
| a modality of the user's own | anything | as it is |
| any other | anything | plain types, lists of them and bytes as they are, all others as text |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config.base import MEDIA, SEPARATOR
from pipeline.errors import SourceError

IDS = {"item_id", "user_id"}
TEXTS = {"title", "text", "profile", "part"}
# Bytes of a medium, beside the text of its column.
BYTES = "_bytes"
# Names of columns that staging adds.
RESERVED = {"bucket", "cold", "dropped", "position", "occurrence", "given_part", "dropped_example", "epoch_unit"} | {
    "unread_ts",
    "unread_weight",
    *(f"{modality}{suffix}" for modality in MEDIA for suffix in ("_hash", "_problem", BYTES)),
}
# Units since 1970 by the largest number that is read in them, and how many of them a second has.
EPOCH_UNITS = {
    "seconds": (1e11, 1),
    "milliseconds": (1e14, 1e3),
    "microseconds": (1e17, 1e6),
    "nanoseconds": (4e18, 1e9),
}
OLDEST = 631_152_000  # 1990, in seconds
SHOWN = 60

_WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DECIMAL\(\d+,0\)")
_NUMBER = re.compile(rf"{_WHOLE.pattern}|DECIMAL\(.*\)|FLOAT|DOUBLE")
_TEXT = re.compile(r"VARCHAR|ENUM\(.*\)|UUID|\"NULL\"")
_TIME = re.compile(r"DATE|TIMESTAMP(_S|_MS|_NS| WITH TIME ZONE)?")
_LIST = re.compile(r"\[\d*\]$")
_PLAIN = re.compile(rf"({_NUMBER.pattern}|{_TIME.pattern}|VARCHAR|BOOLEAN)(\[\])?|BLOB")


@dataclass(frozen=True)
class Column:
    """A column of what a query returns. kind: DuckDB's name of its type."""

    table: str
    name: str
    kind: str

    @property
    def own(self) -> str:
        """Its name where Medley has a meaning for it: SQL's names have no capitals."""
        return self.name.lower()

    @property
    def quoted(self) -> str:
        """Its name in SQL."""
        return '"' + self.name.replace('"', '""') + '"'

    def text(self, kinds: re.Pattern[str], taken: str, way_out: str) -> str:
        """SQL of its text. Raises SourceError if its type is none of `kinds`, which `taken` names for people."""
        if not kinds.fullmatch(self.kind):
            raise self.refused(taken, way_out)
        return f"cast({self.quoted} as varchar)"

    def refused(self, taken: str, way_out: str) -> SourceError:
        """Why its type cannot be taken."""
        kind = self.kind if len(self.kind) <= SHOWN else f"{self.kind[:SHOWN]}…"
        return SourceError(f"source.{self.table}: {self.name} is {kind} and must be {taken}; {way_out}")


def select_list(
    table: str,
    kinds: Mapping[str, str],
    required: tuple[str, ...],
    optional: tuple[str, ...],
    kept: tuple[str, ...],
    averaged: tuple[str, ...] = (),
) -> str:
    """The columns of `select … from` the query, with Medley's own names and types.

    kinds: DuckDB's types of what the query returns. optional: null where the query lacks them. kept: of `required`,
    those that an encoder reads as they are. averaged: media of whose lists all are taken. Raises SourceError if one is
    missing, has a name that is Medley's own, or a type that cannot be taken.
    """
    columns = [Column(table, name, kind) for name, kind in kinds.items()]
    _check_names(table, columns, required)
    own = {*required, *optional}
    parts: list[str] = []
    for column in columns:
        if column.own in own and column.own not in kept:
            parts += _own(column, column.own in averaged)
        elif column.own in kept or _PLAIN.fullmatch(column.kind):
            parts.append(f"{column.quoted} as {column.own}" if column.own in kept else column.quoted)
        else:
            parts.append(f"cast({column.quoted} as varchar) as {column.quoted}")
    present = {column.own for column in columns}
    for name in (name for name in optional if name not in present):
        parts += (
            ["1.0::double as weight", "null::varchar as unread_weight"]
            if name == "weight"
            else [f"null::varchar as {name}"]
        )
    return ", ".join(parts)


def _check_names(table: str, columns: list[Column], required: tuple[str, ...]) -> None:
    present = {column.own for column in columns}
    missing = [name for name in required if name not in present]
    if missing:
        raise SourceError(
            f"source.{table}: the query returns no column {', '.join(missing)}; it returns "
            f"{', '.join(column.name for column in columns)}; name the column with `as {missing[0]}`"
        )
    taken = [column.name for column in columns if column.own in RESERVED]
    if taken:
        raise SourceError(f"source.{table}: column {', '.join(sorted(taken))} is Medley's own; give it another name")


def _own(column: Column, whole_list: bool) -> list[str]:
    """SQL of a column that has a meaning, and of what staging needs beside it. whole_list: of media, not the first."""
    name = column.own
    if name in IDS:
        return [f"{_id(column)} as {name}"]
    if name in TEXTS:
        kinds = re.compile(rf"{_TEXT.pattern}|{_NUMBER.pattern}|{_TIME.pattern}|BOOLEAN|JSON")
        way_out = f"write it as text in the query, such as array_to_string({name}, ' ') as {name} for a list"
        return [f"{column.text(kinds, 'text', way_out)} as {name}"]
    if name in MEDIA:
        return _media(column, whole_list)
    return _time(column) if name == "ts" else _weight(column)


def _id(column: Column) -> str:
    if _NUMBER.fullmatch(column.kind) and not _WHOLE.fullmatch(column.kind):
        raise SourceError(
            f"source.{column.table}: {column.name} is {column.kind}, a number with a fraction: 1 becomes 1.0, which is "
            f"not in the catalogue, and 1E10 becomes 10000000000.0; write cast({column.own} as bigint) in the query, "
            "or read a CSV with all_varchar = true"
        )
    way_out = f"write cast({column.own} as varchar) as {column.own} in the query"
    return column.text(re.compile(rf"{_TEXT.pattern}|{_WHOLE.pattern}"), "text or a whole number", way_out)


def _media(column: Column, whole_list: bool) -> list[str]:
    name, value = column.own, column.quoted
    kind = _LIST.sub("", column.kind)
    if kind == column.kind:
        path, data = _medium(column, kind, value)
    elif whole_list:
        path, data = _medium(column, kind, "medium")
        path = f"array_to_string(list_transform({value}, lambda medium: {path}), chr({ord(SEPARATOR)}))"
        data = data and f"list_filter(list_transform({value}, lambda medium: {data}), lambda data: data is not null)"
    else:
        path, data = _medium(column, kind, f"{value}[1]")
    return [f"{path} as {name}", *([f"{data} as {name}{BYTES}"] if data else [])]


def _medium(column: Column, kind: str, value: str) -> tuple[str, str]:
    """SQL of one medium's path and of its bytes, empty where it has none. kind: the type of `value`."""
    fields = dict(re.findall(r"(\w+) (BLOB|VARCHAR)", kind)) if kind.startswith("STRUCT(") else {}
    if kind == "BLOB":
        return "null::varchar", value
    if fields.get("bytes") == "BLOB":
        path = f"case when {value}.bytes is null then {value}.path end" if "path" in fields else "null::varchar"
        return path, f"{value}.bytes"
    if not re.fullmatch(rf"{_TEXT.pattern}|{_WHOLE.pattern}", kind):
        taken = "a path, bytes, a struct of bytes and path, or a list of these"
        raise column.refused(taken, f"write what is to be read as {column.own} in the query")
    return f"cast({value} as varchar)", ""


def _time(column: Column) -> list[str]:
    if _TIME.fullmatch(column.kind):
        moment = f"cast({column.quoted} as timestamp)"
        return [
            f"case when isfinite({moment}) then {moment} end as ts",
            "null::utinyint as epoch_unit",
            _unread(column, moment),
        ]
    way_out = f"cast({column.own} as timestamp) as ts in the query says what it is"
    column.text(re.compile(rf"{_TEXT.pattern}|{_NUMBER.pattern}"), "a time", way_out)
    number = f"try_cast({column.quoted} as double)"
    units = " ".join(
        f"when abs({number}) < {largest:.0f} then {place}" for place, (largest, _) in enumerate(EPOCH_UNITS.values())
    )
    unit = f"case {units} end"
    rates = ", ".join(str(1e6 / a_second) for _, a_second in EPOCH_UNITS.values())
    since_1970 = f"cast({number} * ([{rates}])[1 + {unit}] as bigint)"
    epoch = f"case when {since_1970} >= {OLDEST}000000 then make_timestamp({since_1970}) end"
    text = f"cast(try_cast(cast({column.quoted} as varchar) as timestamptz) as timestamp)"
    finite = f"case when isfinite({text}) then {text} end"
    moment = f"coalesce({finite}, {epoch})" if _TEXT.fullmatch(column.kind) else epoch
    is_text = f"{text} is null and " if _TEXT.fullmatch(column.kind) else ""
    unit = f"case when {is_text}{epoch} is not null then {unit} end"
    return [f"{moment} as ts", f"cast({unit} as utinyint) as epoch_unit", _unread(column, moment)]


def _unread(column: Column, moment: str) -> str:
    shown = f"left(cast({column.quoted} as varchar), {SHOWN})"
    return f"case when not coalesce(isfinite({moment}), false) then {shown} end as unread_ts"


def _weight(column: Column) -> list[str]:
    number = column.text(
        re.compile(rf"{_TEXT.pattern}|{_NUMBER.pattern}|BOOLEAN"), "a number", "write a number as weight in the query"
    )
    unread = f"case when try_cast({number} as double) is null then left({number}, {SHOWN}) end"
    return [f"try_cast({column.quoted} as double) as weight", f"{unread} as unread_weight"]
