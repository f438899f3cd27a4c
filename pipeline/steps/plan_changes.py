"""What is new, changed and gone between two snapshots of the source: the catalogue row by row, and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.staged import Staged
from pipeline.config import Config
from pipeline.interactions import Mask
from pipeline.source import execute, set_variables
from pipeline.steps.staging import connect

NOUNS = {"text": "changed text", "title": "changed title", "image": "changed picture", "audio": "changed clip"}


@dataclass(frozen=True)
class Difference:
    """How many rows only the later snapshot has, and how many only the earlier one."""

    new: int = 0
    gone: int = 0

    def said(self, noun: str) -> list[str]:
        """The counts that are not zero, in words."""
        return [f"{counted(rows, noun)} {what}" for rows, what in ((self.new, "new"), (self.gone, "gone")) if rows]


@dataclass(frozen=True)
class Changes:
    """What differs. changed: items that both have, by the column that differs; a file's column by its content."""

    items: Difference = field(default_factory=Difference)
    changed: Mapping[str, int] = field(default_factory=dict)
    users: Difference = field(default_factory=Difference)
    choices: Difference = field(default_factory=Difference)

    def catalogue(self, is_read: Callable[[str], bool] = bool) -> str:
        """What differs in the catalogue, in words; empty if nothing. is_read: of a column, whether it counts."""
        columns = [(name, rows) for name, rows in self.changed.items() if is_read(name)]
        changed = [counted(rows, NOUNS.get(name, f"changed {name}")) for name, rows in columns]
        return _sentence("catalogue", self.items.said("item") + changed)

    @property
    def log(self) -> str:
        """What differs in the log, in words; empty if nothing."""
        more = [f"{counted(rows, 'choice')} {what}" for rows, what in self._choices if rows]
        return _sentence("log", more + self.users.said("user"))

    @property
    def _choices(self) -> list[tuple[int, str]]:
        return [(self.choices.new, "more"), (self.choices.gone, "gone")]


def counted(rows: int, noun: str) -> str:
    """A number of things."""
    return f"{rows} {noun}{'' if rows == 1 else 's'}"


def _sentence(subject: str, parts: list[str]) -> str:
    return f"{subject}: {', '.join(parts)}" if parts else ""


def changes(before: Staged, after: Staged, config: Config, spill: Path) -> Changes:
    """What differs between two snapshots. spill: a folder for what is larger than memory."""
    new = gone = 0
    changed: Counter[str] = Counter()
    for bucket in range(after.summary.buckets):
        old, now = before.bucket(bucket), after.bucket(bucket)
        place = pc.index_in(now["item_id"].combine_chunks(), old["item_id"].combine_chunks())
        both = np.asarray(pc.is_valid(place))
        new, gone = new + int((~both).sum()), gone + len(old) - int(both.sum())
        changed.update(_changed(old.take(pc.drop_null(place)), now.filter(pa.array(both))))
    with connect(config, spill) as connection:
        paths = {"before": before, "after": after}
        set_variables(connection, {name: str(of.folder / "interactions.parquet") for name, of in paths.items()})
        execute(connection, "plan/log_changes.sql")
        ((more, fewer, joined, left),) = connection.execute("from log_changes").fetchall()
    by_column = {name: rows for name, rows in sorted(changed.items()) if rows}
    return Changes(Difference(new, gone), by_column, Difference(joined, left), Difference(more, fewer))


def _changed(old: pa.Table, now: pa.Table) -> dict[str, int]:
    """How many rows differ in each column; both tables hold the same items."""
    names = {*old.column_names, *now.column_names} - {"item_id", "cold"}
    names -= {name.removesuffix("_hash") for name in names if name.endswith("_hash")}
    columns = sorted(name for name in names if not name.endswith("_problem"))
    return {name.removesuffix("_hash"): int(_differs(old, now, name).sum()) for name in columns}


def _differs(old: pa.Table, now: pa.Table, name: str) -> Mask:
    before, after = (table[name] if name in table.column_names else pa.nulls(len(table)) for table in (old, now))
    if before.type == after.type and not pa.types.is_nested(before.type):
        same = pc.equal(before, after).combine_chunks()
        blank = np.asarray(pc.is_null(before)) == np.asarray(pc.is_null(after))
        return ~np.asarray(pc.if_else(pc.is_null(same), pa.array(blank), same))
    return np.array([a != b for a, b in zip(before.to_pylist(), after.to_pylist(), strict=True)], bool)
