"""Which indexes were tried, and what each gives: a table, and recall against time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.artefacts.published import Published
from pipeline.report.files import RunFiles
from pipeline.storage.documents import Json

ASKS = {"recommend": "a user’s vector, for items that they do not have", "content": "an item’s content, for others"}
RANKED_BY = {"longest": "by their longest vectors", "users": "as users taught"}
FLOOR = 0.5


@dataclass(frozen=True)
class Row:
    """An index that was tried. values: as `card.json` has them, see `indexing.judged.Tried`."""

    name: str
    values: Json
    chosen: bool


@dataclass(frozen=True)
class Line:
    """Recall@10 against time as more cells are looked into: places within the plot, both in [0, 1]."""

    name: str
    points: tuple[tuple[float, float], ...]
    chosen: tuple[float, float]


@dataclass(frozen=True)
class IndexPlan:
    """One of the index's files. asks: who asks it. fastest, slowest: milliseconds at the plot's ends."""

    name: str
    asks: str
    rows: tuple[Row, ...]
    lines: tuple[Line, ...]
    fastest: float
    slowest: float


def plans_of(run: RunFiles) -> tuple[IndexPlan, ...]:
    """Of each FAISS file; of an index of an earlier version nothing."""
    compared = Published(run.index, run.index.name).card.get("compared", {})
    return tuple(_plan(name, rows) for name, rows in compared.items() if all("counted_ms" in row for row in rows))


def _plan(name: str, tried: Sequence[Json]) -> IndexPlan:
    rows = tuple(Row(_name(row), row, bool(row["chosen"])) for row in tried)
    times = [ms for row in tried for ms, recall in row["curve"] if recall >= FLOOR] or [1.0]
    fastest, slowest = min(times), max(times)
    lines = tuple(_line(row, fastest, slowest) for row in tried if row["curve"])
    return IndexPlan(name, ASKS[name], rows, lines, fastest, slowest)


def _line(row: Json, fastest: float, slowest: float) -> Line:
    span = math.log(slowest / fastest) or 1.0

    def place(ms: float, recall: float) -> tuple[float, float]:
        return math.log(max(ms, fastest) / fastest) / span, (recall - FLOOR) / (1 - FLOOR)

    points = tuple(place(ms, recall) for ms, recall in row["curve"] if recall >= FLOOR)
    return Line(_name(row), points, place(row["counted_ms"], row["recall"]["10"]["mean"]))


def _name(row: Json) -> str:
    if row["kind"] == "exact":
        return "exact search"
    if row["kind"] == "graph":
        return f"graph, {row['probes']} candidates"
    bits = "" if row["bits"] == 32 else f", {row['bits']} bits a number"
    return f"{row['probes']} of {row['cells']} cells, {RANKED_BY[row['ranked_by']]}{bits}"
