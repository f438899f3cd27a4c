"""Errors: the rows of a run that have no vector, by modality and reason, and how the next night tries them again.

- missing: the item has no such modality, so that there is nothing to be tried;
- what could not be read when it was staged, or failed for a reason of the machine, is tried again every night;
- a reason that lies in the row's content is kept, and is asked about again by `retry` alone: see `artefacts.retries`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from pipeline.artefacts.encoded import HASH, NONE
from pipeline.artefacts.retries import ask
from pipeline.artefacts.runs import StepReceipt, receipts_of, runs
from pipeline.artefacts.shards import kind_of, read_failures
from pipeline.config import MODALITIES, Modality
from pipeline.errors import ConfigError, StepFailed
from pipeline.storage.documents import Json
from pipeline.workspace import Workspace

EXAMPLES = 5
NEXT_NIGHT = "the next night tries them again"
NO_ROW = "no row without a vector"
NOTHING_ASKED = (
    "nothing to drop: what is missing cannot be tried, and what could not be read, or failed for a reason of the "
    "machine, is tried again every night"
)


@dataclass(frozen=True)
class Row:
    """A row without a vector. content_hash: empty where the next night tries again whatever is asked."""

    modality: Modality
    item_id: str
    reason: str
    content_hash: bytes

    @property
    def kind(self) -> str:
        """The reason, without what differs from row to row."""
        return kind_of(self.reason)

    @property
    def missing(self) -> bool:
        """Whether the item has no such modality, rather than an unusable one."""
        return self.reason == f"no {self.modality}"


@dataclass(frozen=True)
class Failures:
    """What a run could not encode. modalities: their rows in all. rows: those without a vector, of what was chosen."""

    workspace: Workspace
    run_id: str
    modalities: dict[Modality, int]
    rows: Sequence[Row]

    def kinds(self) -> list[Json]:
        """The reasons, by modality, the most frequent first: each with its rows, their share, and some of them."""
        ordered = sorted(self.rows, key=lambda row: (row.modality, row.kind))
        groups = [
            (modality, kind, list(rows))
            for (modality, kind), rows in groupby(ordered, key=lambda row: (row.modality, row.kind))
        ]
        place = list(self.modalities).index
        return [
            {
                "modality": modality,
                "reason": kind,
                "missing": rows[0].missing,
                "rows": len(rows),
                "share": round(len(rows) / self.modalities[modality], 6),
                "examples": [{"item_id": row.item_id, "reason": row.reason} for row in rows[:EXAMPLES]],
            }
            for modality, kind, rows in sorted(groups, key=lambda group: (place(group[0]), -len(group[2]), group[1]))
        ]

    def retry(self) -> dict[str, int]:
        """Asks for those rows to be tried again, and returns of how many the reason no longer counts, by modality."""
        asked = {}
        for modality in self.modalities:
            hashes = [row.content_hash for row in self.rows if row.modality == modality and row.content_hash != NONE]
            if hashes:
                ask(self.workspace, modality, np.array(hashes, HASH))
                asked[modality] = len(hashes)
        return asked


def failures(folder: Path, run_id: str | None, modality: str | None, reason: str | None) -> Failures:
    """The rows of a run, by default that begun last, without a vector. reason: a part of theirs.

    Raises StepFailed if the workspace has no such run, or it has extracted nothing yet; ConfigError if it has no such
    modality; ShardCorrupt if a shard cannot be read.
    """
    known = [str(run["run_id"]) for run in runs(Workspace(folder))] if (folder / "runs").is_dir() else []
    if not known or run_id not in (None, *known):
        raise StepFailed(f"workspace {folder} has no run {run_id or ''}: begin one with `medley run`")
    name, workspace = run_id or known[-1], Workspace(folder)
    shards = [receipt for receipt in receipts_of(workspace.path("runs", name)) if ".bucket-" in receipt.step]
    names = dict.fromkeys((*MODALITIES, *map(_modality_of, shards)))
    rows_of = {m: sum(receipt.rows for receipt in shards if _modality_of(receipt) == m) for m in names}
    modalities = {m: count for m, count in rows_of.items() if count}
    if not modalities:
        raise StepFailed(f"run {name} has extracted nothing yet; choose an earlier one with --run-id")
    if modality not in (None, *modalities):
        raise ConfigError(f"--modality {modality}: run {name} has {', '.join(modalities)}")
    chosen = [receipt for receipt in shards if modality in (None, _modality_of(receipt)) and receipt.missing_rows]
    rows = [row for receipt in chosen for row in _rows_of(workspace, receipt) if (reason or "") in row.reason]
    return Failures(workspace, name, {m: n for m, n in modalities.items() if modality in (None, m)}, rows)


def _modality_of(receipt: StepReceipt) -> Modality:
    return receipt.step.split(".")[1]


def _rows_of(workspace: Workspace, receipt: StepReceipt) -> Iterator[Row]:
    ids, hashes, reasons = read_failures(workspace.path(receipt.path))
    for item_id, content_hash, reason in zip(ids, hashes.tolist(), reasons, strict=True):
        yield Row(_modality_of(receipt), item_id, reason, content_hash)


def document(found: Failures, listed: bool, asked: dict[str, int] | None) -> Json:
    """The verb's JSON. listed: whether with every row. asked: what `retry` returned, None where it was not called."""
    rows = [{"modality": row.modality, "item_id": row.item_id, "reason": row.reason} for row in found.rows]
    return {
        "run_id": found.run_id,
        "modalities": found.modalities,
        "reasons": found.kinds(),
        **({"rows": rows} if listed else {}),
        **({} if asked is None else {"retried": asked}),
    }


def show(said: Json, console: Console) -> None:
    """Prints the verb's JSON for people; what is too long for the console's width goes on in the next line."""
    where = f"run {said['run_id']}, rows: {', '.join(f'{name} {rows}' for name, rows in said['modalities'].items())}"
    console.print(Text(where), no_wrap=True, overflow="ellipsis")
    reasons = [
        (kind["modality"], str(kind["rows"]), f"{kind['share']:.1%}", _said(kind), _ids(kind))
        for kind in said["reasons"]
    ]
    console.print(_table(("modality", "rows", "share", "reason", "such as"), reasons) if reasons else NO_ROW)
    if "rows" in said:
        rows = [(row["modality"], row["item_id"], row["reason"]) for row in said["rows"]]
        console.print(_table(("modality", "item_id", "reason"), rows))
    if "retried" in said:
        asked = ", ".join(f"{name} {rows}" for name, rows in said["retried"].items())
        console.print(Text(f"{asked}: {NEXT_NIGHT}" if asked else NOTHING_ASKED))


def _said(kind: Json) -> str:
    return f"missing: {kind['reason']}" if kind["missing"] else str(kind["reason"])


def _ids(kind: Json) -> str:
    return ", ".join(example["item_id"] for example in kind["examples"])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        justify: JustifyMethod = "right" if name in ("rows", "share") else "left"
        table.add_column(name, justify=justify, no_wrap=name != columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
