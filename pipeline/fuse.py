"""Fuse: the shards of every modality become one vector per item and one per user.

- plan: the fused folder is named by its shards, the log and the settings;
- fit: one pass over the shards for each modality's moments, bounded by one row group at a time;
- transform: a second pass, bucket by bucket; an item without any modality gets no vector and is counted;
- users: the time-decayed mean of what they chose.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Modality
from pipeline.encoders import modalities
from pipeline.errors import ShardCorrupt, StepFailed
from pipeline.extract import summarise
from pipeline.fusion import LinearFusion
from pipeline.ingest import inputs_digest
from pipeline.interactions import decayed_mean
from pipeline.night import Night, StepReceipt
from pipeline.tables import matrix, read_log, read_vectors, vector_column, write_vectors
from pipeline.workspace import Json, digest

VERSION = 2


def run(night: Night) -> StepReceipt:
    """Writes `fused/<digest>/items/`, `users/` and `fusion.safetensors`.

    Raises StepFailed if no modality is configured, a bucket is not extracted, or no item has any modality.
    """
    used = modalities(night.config)
    if not used:
        raise StepFailed("no modality is configured: give at least one of extract.text, image, audio an encoder")
    receipts = {m: summarise(night, m) for m in used}
    shards = {m: [night.workspace.path(receipt.path) for receipt in found] for m, found in receipts.items()}
    spaces = {m: str(found[0].details.get("space", "")) for m, found in receipts.items()}
    names = [path.name for paths in shards.values() for path in paths]
    log_digest = inputs_digest(night.receipt("ingest"), "interactions.parquet")
    key = digest("fuse", VERSION, night.config.fuse, night.config.seed, list(used), names, log_digest)
    return night.step("fuse", "fused", key, lambda folder: _build(night, shards, spaces, folder))


def _build(night: Night, shards: dict[Modality, list[Path]], spaces: dict[Modality, str], folder: Path) -> Json:
    present = {m: _present(paths) for m, paths in shards.items()}
    fusion = LinearFusion.fit(present, night.config.fuse, night.config.seed, spaces)
    if not fusion.projections:
        raise StepFailed("no item has any modality: look at the reasons in the shards' `error` column")
    fusion.save(folder / "fusion.safetensors")
    rows = missing = 0
    for paths in zip(*shards.values(), strict=True):
        counts = _fuse_bucket(fusion, dict(zip(shards, paths, strict=True)), folder / "items")
        rows, missing = rows + counts[0], missing + counts[1]
    return {"rows": rows, "missing_rows": missing, "users": _write_users(night, folder)}


def _present(paths: list[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        for batch in _open(path).iter_batches(columns=["vector"]):
            vectors = matrix(batch["vector"])
            vectors = vectors[~np.isnan(vectors[:, 0])]
            if len(vectors):
                yield vectors


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ShardCorrupt(f"{path}: cannot be read ({error}); remove it and run the night again") from None


def _fuse_bucket(fusion: LinearFusion, paths: dict[Modality, Path], folder: Path) -> tuple[int, int]:
    tables = {m: _open(path).read(columns=["item_id", "vector"]) for m, path in paths.items()}
    first = next(iter(tables.values()))
    if any(not table["item_id"].equals(first["item_id"]) for table in tables.values()):
        raise ShardCorrupt(
            f"{next(iter(paths.values()))}: the modalities' shards hold different items; run with --full"
        )
    fused, shares = fusion.transform({m: matrix(table["vector"]) for m, table in tables.items()})
    missing = np.isnan(fused[:, 0])
    columns: dict[str, pa.Array | pa.ChunkedArray] = {m: pa.array(shares[:, i]) for i, m in enumerate(tables)}
    columns |= {"item_id": first["item_id"], "vector": vector_column(fused, missing)}
    table = pa.table(columns).select(["item_id", "vector", *tables])
    bucket = next(iter(paths.values())).name.rsplit("-", 1)[0]
    write_vectors(folder / f"{bucket}.parquet", table)
    return len(missing), int(missing.sum())


def _write_users(night: Night, folder: Path) -> int:
    log = read_log(night)
    _, items = read_vectors(folder / "items", "item_id")
    users = decayed_mean(np.nan_to_num(items), log.interactions, night.config.fuse.half_life_days)
    known = np.flatnonzero(np.any(users != 0, axis=1))
    table = pa.table({"user_id": pa.array(log.users).take(known), "vector": vector_column(users[known])})
    write_vectors(folder / "users" / "part-0.parquet", table)
    return len(known)
