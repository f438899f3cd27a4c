"""The files of one run that the report reads, and how it reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import JsonValue

from pipeline.errors import WorkspaceError
from pipeline.evaluation.gate import Verdict

Document = dict[str, JsonValue]


@dataclass(frozen=True)
class RunFiles:
    """Where one finished run lies, and what its configuration and its gate say.

    `staged`, `fused`, `model` and `index` are the run's artefact folders (`index/<digest>` and so on);
    `steps` are the night's, in order; `media_root` is the folder that image paths are relative to, None for a page
    without pictures; `gate_baseline` is the model that the gate compares with.
    """

    workspace: Path
    run_id: str
    name: str
    note: str
    as_of: str
    media_root: Path | None
    staged: Path
    fused: Path
    model: Path
    index: Path
    gate: tuple[Verdict, ...]
    published: bool
    seed: int
    headline_metric: str = "ndcg@10"
    headline_segment: str = "all"
    gate_baseline: str = "popularity"
    steps: tuple[str, ...] = ()
    max_image_bytes: int = 50_000_000
    max_image_pixels: int = 50_000_000

    @property
    def folder(self) -> Path:
        """The run's own folder, with its receipts and metrics."""
        return self.workspace / "runs" / self.run_id


def read_json(path: Path) -> Document:
    """Reads one JSON object.

    Raises WorkspaceError if the file is missing or is not a JSON object.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise WorkspaceError(f"{path}: {error.strerror}; the report needs it, run the night again") from None
    except ValueError as error:
        raise WorkspaceError(f"{path}: not JSON ({error}); remove it and run the night again") from None
    if not isinstance(document, dict):
        raise WorkspaceError(f"{path}: expected a JSON object; remove it and run the night again")
    return document


def dataset(path: Path) -> ds.Dataset:
    """Opens a Parquet file or a folder of them.

    Raises WorkspaceError if there is nothing to read.
    """
    try:
        return ds.dataset(path, format="parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise WorkspaceError(f"{path}: cannot be read ({' '.join(str(error).split())}); run the night again") from None


def rows_of(path: Path, key: str, values: Iterable[str], columns: list[str] | None = None) -> pa.Table:
    """Returns the rows of `path` whose `key` is among `values`."""
    rows = dataset(path)
    wanted = pa.array(list(values), pa.string()).cast(rows.schema.field(key).type)
    return rows.to_table(columns=columns, filter=ds.field(key).isin(wanted))


def number(value: object) -> float | None:
    """Returns a finite float, or None for anything else: the page never shows NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def count(value: object) -> int:
    """Returns a number of rows, 0 where there is none."""
    return int(number(value) or 0)


def section(document: Document, key: str) -> Document:
    """Returns the object below `key`, empty if there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def listing(document: Document, key: str) -> list[Document]:
    """Returns the objects of the list below `key`, empty if there is none."""
    value = document.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
