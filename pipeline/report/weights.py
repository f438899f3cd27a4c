"""How much each modality counts in the fused vectors, overall and by the values of telling columns.

Buckets are read one after the other and only sums are kept, so memory does not grow with the catalogue; a column with
more than MAX_DISTINCT values is dropped as soon as that is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.read import read_table, schema_of
from pipeline.errors import WorkspaceError
from pipeline.report.files import RunFiles
from pipeline.report.items import attribute_columns, decades, shown, telling
from pipeline.storage.documents import Json

MAX_DISTINCT = 400
MAX_COLUMNS = 4
MAX_ROWS = 24

# Of a value: how many items, and each modality's shares added up.
Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Weighed:
    """Some items of the catalogue: how many have a vector, and each modality's mean share in it; they sum to 1."""

    value: str
    items: int
    shares: tuple[tuple[str, float], ...]

    @property
    def strip(self) -> tuple[tuple[str, float, str], ...]:
        """Name, size and the style's name of each modality's piece of the bar."""
        return tuple((name, abs(share), name if share >= 0 else f"{name} against") for name, share in self.shares)


@dataclass(frozen=True)
class Blend:
    """What the fused vectors are made of: over all items, and by the values of each telling column.

    learned: a learned fusion's best epoch and its scores on held-out items, and `before`, that before training.
    """

    kind: str
    learned: Json
    overall: Weighed
    columns: tuple[tuple[str, tuple[Weighed, ...]], ...]


def blend_of(run: RunFiles, details: Json) -> Blend:
    """Reads the fused items' shares. details: what the receipt of `fuse` says of the fusion."""
    modalities = Fused(run.fused).modalities()
    schema = schema_of(run.staged / "items")
    columns = [name for name in attribute_columns(run) if not pa.types.is_nested(schema.field(name).type)]
    overall = np.zeros(1 + len(modalities))
    sums: dict[str, dict[str, Sums]] = {name: {} for name in columns}
    for bucket in _buckets(run, modalities, columns):
        overall += [len(bucket), *(pc.sum(bucket[name]).as_py() or 0.0 for name in modalities)]
        sums = {name: _added(held, bucket, name, modalities) for name, held in sums.items()}
        sums = {name: held for name, held in sums.items() if len(held) <= MAX_DISTINCT}
    sums = {name: _by_decade(held) for name, held in sums.items()}
    return Blend(
        kind=details["kind"],
        learned={**details["learned"], "before": details["before"]} if "learned" in details else {},
        overall=_weighed("all items", overall, modalities),
        columns=tuple((name, _ordered(sums[name], modalities)) for name in telling(sums, MAX_ROWS)[:MAX_COLUMNS]),
    )


def _buckets(run: RunFiles, modalities: list[str], columns: list[str]) -> Iterator[pa.Table]:
    """Shares and columns of the items that have a vector, bucket by bucket."""
    for path in sorted((run.fused / "items").glob("*.parquet")):
        shares = read_table(path, ["item_id", *modalities])
        staged = read_table(run.staged / "items" / path.name, ["item_id", *columns])
        if shares["item_id"].to_pylist() != staged["item_id"].to_pylist():
            raise WorkspaceError(f"{path}: its items are not those of its snapshot; run the night with --full")
        for name in columns:
            shares = shares.append_column(f"column {name}", staged[name])
        counted = np.any([np.asarray(shares[name]) != 0 for name in modalities], axis=0)
        yield shares.filter(pa.array(np.broadcast_to(counted, (len(shares),))))


def _added(held: dict[str, Sums], bucket: pa.Table, name: str, modalities: list[str]) -> dict[str, Sums]:
    grouped = bucket.group_by(f"column {name}").aggregate([("item_id", "count"), *((m, "sum") for m in modalities)])
    sums = dict(held)
    for row in grouped.to_pylist():
        value = "" if row[f"column {name}"] is None else shown(row[f"column {name}"])
        more = np.array([row["item_id_count"], *(row[f"{m}_sum"] for m in modalities)])
        sums[value] = sums.get(value, 0) + more
    return sums


def _by_decade(held: dict[str, Sums]) -> dict[str, Sums]:
    merged: dict[str, Sums] = {}
    for value, sums in zip(decades(list(held)), held.values(), strict=True):
        merged[value] = merged.get(value, 0) + sums
    return merged


def _ordered(held: dict[str, Sums], modalities: list[str]) -> tuple[Weighed, ...]:
    """By time or size where values are years or numbers, else the most frequent first; what is not given is last."""
    counted = all(value.rstrip("s").isdecimal() for value in held if value)
    order = {value: (len(value), value) if counted else (-sums[0], value) for value, sums in held.items()}
    ranked = sorted(held, key=lambda value: (value == "", *order[value]))
    return tuple(_weighed(value or "not given", held[value], modalities) for value in ranked)


def _weighed(value: str, sums: Sums, modalities: list[str]) -> Weighed:
    items = int(sums[0])
    shares = sums[1:] / max(items, 1)
    return Weighed(value, items, tuple(zip(modalities, map(float, shares), strict=True)))
