"""Fuse: the shards of every modality become one vector per item and one per user.

- plan: the fused folder is named by its shards, the log and the settings;
- fit: means, deviations and axes from a sample of buckets; a kind that learns also writes what it reads into a
  temporary file, and is trained on the training part of the log;
- transform: bucket by bucket; an item without any modality gets no vector and is counted;
- users: see `pipeline.steps.fuse_users`.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artefacts.vectors import vector_column, write_vectors
from pipeline.config import Modality
from pipeline.encoders import modalities
from pipeline.errors import StepFailed
from pipeline.fusion.fit import Fitted, Material, each_bucket, fit
from pipeline.fusion.moments import Vectors
from pipeline.fusion.shards import Shards
from pipeline.night import Night, StepReceipt
from pipeline.runtime import threads
from pipeline.steps import fuse_users as users
from pipeline.steps.extract import summarise
from pipeline.steps.ingest import staged_of
from pipeline.workspace import Json, digest

VERSION = 4


def run(night: Night) -> StepReceipt:
    """Writes `fused/<digest>/items/`, `users/` and `fusion.safetensors`.

    Raises StepFailed if no modality is configured, a bucket is not extracted, or no item has any modality.
    """
    shards, spaces = shards_of(night)
    names = [path.name for paths in shards.paths.values() for path in paths]
    log_digest = staged_of(night).digest("interactions")
    seen = [names, log_digest, users.inputs(night)]
    cold = night.config.ingest.cold_item_share
    key = digest("fuse", VERSION, night.config.fuse, night.config.seed, shards.modalities, seen, cold)
    return night.step("fuse", "fused", key, lambda folder: _build(night, shards, spaces, folder))


def shards_of(night: Night) -> tuple[Shards, dict[Modality, str]]:
    """The shards of this run's extraction, and the joint space that each modality's vectors lie in, "" for none.

    Raises StepFailed if no modality is configured or a bucket is not extracted.
    """
    used = modalities(night.config)
    if not used:
        raise StepFailed("no modality is configured: give at least one of extract.text, image, audio an encoder")
    receipts = {m: summarise(night, m) for m in used}
    spaces = {m: str(found[0].details.get("space", "")) for m, found in receipts.items()}
    return Shards({m: [night.workspace.path(r.path) for r in found] for m, found in receipts.items()}), spaces


def _build(night: Night, shards: Shards, spaces: dict[Modality, str], folder: Path) -> Json:
    log = staged_of(night).read_log()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        material = Material(shards, spaces, log.of("train"), ~log.cold, night.config.seed, threads(night.config))
        fitted = fit(night.config.fuse, material, Path(scratch))
        fitted.fusion.save_catalogue(folder)
        counts = write_items(fitted, material, folder / "items")
    if counts["missing_rows"] == counts["rows"]:
        raise StepFailed("no item has a vector of its own: all items are alike in every modality; look at the source")
    details = {**counts, "kind": night.config.fuse.kind, **_learned(fitted)}
    (folder / "curve.json").write_text(json.dumps(fitted.curve, indent=1, sort_keys=True), "utf-8")
    return {**details, **users.write(night, fitted.fusion, log, folder)}


def write_items(fitted: Fitted, material: Material, folder: Path) -> dict[str, int]:
    """Writes every bucket's vectors and shares; returns how many rows there are and how many have no vector."""
    work = partial(_write_bucket, fitted, material.shards, folder)
    # A network has threads of its own.
    found = list(each_bucket(work, len(material.shards), material.threads if fitted.sides is None else 1))
    return {"rows": material.shards.items, "missing_rows": sum(found)}


def _write_bucket(fitted: Fitted, shards: Shards, folder: Path, bucket: int) -> int:
    fusion, frontend = fitted.fusion, fitted.fusion.frontend
    if fitted.sides is None:
        ids, vectors = shards.read(bucket)
        fused, shares = fusion.combine(*frontend.sides(vectors))
    else:
        ids, codes = shards.ids(bucket), np.arange(*shards.starts[bucket : bucket + 2])
        fused, shares = fusion.catalogue(fitted.sides, codes)
    missing = np.isnan(fused[:, 0])
    counted: dict[Modality, Vectors] = dict(zip(frontend.modalities, shares.T, strict=True))
    nothing = np.zeros(len(ids), np.float32)
    columns: dict[str, pa.Array] = {m: pa.array(counted.get(m, nothing)) for m in shards.modalities}
    table = pa.table({"item_id": ids, "vector": vector_column(fused, missing), **columns})
    write_vectors(folder / f"{shards.name(bucket)}.parquet", table)
    return int(missing.sum())


def _learned(fitted: Fitted) -> Json:
    """How a learned kind went: the epoch that was kept, and its held-out scores beside those before the first."""
    if not fitted.curve:
        return {}
    best = max(fitted.curve, key=lambda epoch: (epoch["score"], -epoch["epoch"]))
    named = ("epoch", "score", "co_choice", "agreement")
    return {"learned": {name: round(best[name], 5) for name in named}, "before": round(fitted.curve[0]["score"], 5)}
