"""How much each modality counts in the fused vectors, overall and by the values of telling columns.

Buckets are read one after the other and only sums are kept, so memory does not grow with the catalogue; a column with
more than MAX_DISTINCT values is dropped as soon as that is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.fused import Fused
from pipeline.errors import WorkspaceError
from pipeline.report.files import Document, RunFiles, count, dataset, number, section
from pipeline.report.items import attribute_columns, decades, shown, telling
from pipeline.report.modality_shares import Blend, Learned, Weighed

MAX_DISTINCT = 400
MAX_COLUMNS = 4
MAX_ROWS = 24

# Of a value: how many items, and each modality's shares added up.
Sums = npt.NDArray[np.float64]


def blend_of(run: RunFiles, documents: Iterable[Document]) -> Blend:
    """Reads the fused items' shares and what the receipt of `fuse` says of the fusion."""
    details = next((section(d, "details") for d in documents if d.get("step") == "fuse"), {})
    modalities = Fused(run.fused).modalities()
    schema = dataset(run.staged / "items").schema
    columns = [name for name in attribute_columns(run) if not pa.types.is_nested(schema.field(name).type)]
    overall = np.zeros(1 + len(modalities))
    sums: dict[str, dict[str, Sums]] = {name: {} for name in columns}
    for bucket in _buckets(run, modalities, columns):
        overall += _total(bucket, modalities)
        sums = {name: _added(held, bucket, name, modalities) for name, held in sums.items()}
        sums = {name: held for name, held in sums.items() if len(held) <= MAX_DISTINCT}
    sums = {name: _by_decade(held) for name, held in sums.items()}
    return Blend(
        kind=str(details.get("kind") or ""),
        learned=_learned(details),
        overall=_weighed("all items", overall, modalities),
        columns=tuple((name, _ordered(sums[name], modalities)) for name in telling(sums, MAX_ROWS)[:MAX_COLUMNS]),
    )


def _buckets(run: RunFiles, modalities: list[str], columns: list[str]) -> Iterator[pa.Table]:
    """Shares and columns of the items that have a vector, bucket by bucket."""
    for path in sorted((run.fused / "items").glob("*.parquet")):
        shares = dataset(path).to_table(columns=["item_id", *modalities])
        staged = dataset(run.staged / "items" / path.name).to_table(columns=["item_id", *columns])
        if shares["item_id"].to_pylist() != staged["item_id"].to_pylist():
            raise WorkspaceError(f"{path}: its items are not those of its snapshot; run the night with --full")
        for name in columns:
            shares = shares.append_column(f"column {name}", staged[name])
        counted = np.any([np.asarray(shares[name]) != 0 for name in modalities], axis=0)
        yield shares.filter(pa.array(np.broadcast_to(counted, (len(shares),))))


def _total(bucket: pa.Table, modalities: list[str]) -> Sums:
    return np.array([len(bucket), *(pc.sum(bucket[name]).as_py() or 0.0 for name in modalities)])


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


def _learned(details: Document) -> Learned | None:
    learned = section(details, "learned")
    score, before = number(learned.get("score")), number(details.get("before"))
    if score is None or before is None:
        return None
    signals = number(learned.get("co_choice")), number(learned.get("agreement"))
    return Learned(count(learned.get("epoch")), score, before, *signals)
