"""Fuse: the shards of every modality become one vector per item and one per user.

- plan: the fused folder is named by its shards, the log and the settings;
- fit: means, deviations and axes from a sample of buckets; a kind that learns also writes what it reads into a
  temporary file, and is trained on the training part of the log;
- transform: bucket by bucket; an item without any modality gets no vector and is counted;
- users: see `pipeline.steps.fuse_users`.

Memory of the closed forms, as measured at 10⁴ and 10⁵ items: 0.3 GB, 8 bytes × `fuse.width` an item, 100 bytes a user
and 60 a choice.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.log import Log
from pipeline.artefacts.shards import Shards, thin_modalities
from pipeline.artefacts.vectors import check_vectors
from pipeline.config import FUSIONS, MODALITIES, Modality
from pipeline.errors import ConfigError, StepFailed, border
from pipeline.fusion.base import Frontend, Fusion
from pipeline.fusion.fit import Fitted, Material, each_bucket, fit
from pipeline.fusion.moments import Vectors
from pipeline.fusion.saved import save_catalogue
from pipeline.night import Night, StepReceipt
from pipeline.steps import fuse_users as users
from pipeline.steps.extract import summarise
from pipeline.steps.fits import drop_scratch, fitting
from pipeline.steps.ingest import staged_of
from pipeline.storage.documents import Json
from pipeline.workspace import digest

log = logging.getLogger("medley")
VERSION = 5
NO_MODALITY = "extract: no modality is configured, so that the night goes by what users chose alone"
# Of the vectors that no item has, where there is no modality.
BARE_WIDTH = 2


def run(night: Night) -> StepReceipt:
    """Writes `fused/<digest>/`, see `pipeline.artefacts.fused`.

    Without any modality no item has a vector, and the night goes on with what users chose alone. Raises StepFailed if a
    bucket is not extracted, or no item has any modality; ConfigError if a weight is given to what is no modality.
    """
    shards, spaces = shards_of(night)
    warnings = thin_modalities(night.receipts()) if shards.modalities else [NO_MODALITY]
    for sentence in warnings:
        log.warning("%s", sentence)
    names = [path.name for paths in shards.paths.values() for path in paths]
    log_digest = staged_of(night).digest("interactions")
    seen = [names, log_digest, users.inputs(night)]
    cold = night.config.ingest.cold_item_share
    key = digest("fuse", VERSION, _settings(night, shards), night.config.seed, shards.modalities, seen, cold)
    receipt = night.step(
        "fuse",
        "fused",
        key,
        lambda folder: {
            **_build(night, shards, spaces, folder, key),
            "warnings": warnings,
        },
    )
    drop_scratch(night, key)
    return receipt


def _settings(night: Night, shards: Shards) -> list[object]:
    """What the kind in use reads of `fuse`; what users are made by is in `fuse_users.inputs`."""
    settings = night.config.fuse
    for name in sorted(settings.weights.keys() - {*MODALITIES, *shards.modalities}):
        raise ConfigError(f"fuse.weights.{name}: no modality is called so; there are {', '.join(shards.modalities)}")
    weights = {modality: settings.weight(modality) for modality in shards.modalities}
    own = settings.model_dump(mode="json", exclude={"weights", "users", "half_life_days"})
    return [own, weights, FUSIONS.identity(settings.kind)]


def shards_of(night: Night) -> tuple[Shards, dict[Modality, str]]:
    """The shards of this run's extraction, and the joint space that each modality's vectors lie in, "" for none.

    Raises StepFailed if a bucket is not extracted.
    """
    used = night.config.extract.modalities()
    receipts = {m: summarise(night, m) for m in used}
    spaces = {m: str(of_buckets[0].details.get("space", "")) for m, of_buckets in receipts.items()}
    paths = {m: [night.workspace.path(receipt.path) for receipt in receipts[m]] for m in used}
    return Shards(paths), spaces


def _build(night: Night, shards: Shards, spaces: dict[Modality, str], folder: Path, key: str) -> Json:
    staged, fused = staged_of(night).read_log(), Fused(folder)
    if not shards.modalities:
        return _build_bare(night, staged, fused, key)
    longest = getattr(getattr(night.config.fuse, "learn", None), "max_epochs", 0)
    with tempfile.TemporaryDirectory(dir=folder) as scratch, fitting(night, key, "fuse", longest) as context:
        material = Material(shards, spaces, staged.of("train"), ~staged.cold, context)
        fitted = fit(night.config.fuse, material, Path(scratch))
        save_catalogue(fitted.fusion, fused)
        counts = write_items(fitted, material, fused)
    if counts["missing_rows"] == counts["rows"]:
        raise StepFailed("no item has a vector of its own: all items are alike in every modality; look at the source")
    fused.write_curve(fitted.curve)
    details = {**counts, "kind": night.config.fuse.kind, **_learned(fitted)}
    return {**details, **users.write(night, fitted.fusion, staged, fused, key)}


def _build_bare(night: Night, staged: Log, fused: Fused, key: str) -> Json:
    """Of a catalogue without modalities: every item, and no vector."""
    for bucket in range(staged_of(night).summary.buckets):
        ids = staged_of(night).bucket(bucket)["item_id"]
        fused.write_bucket(f"bucket-{bucket:05d}", ids, np.full((len(ids), BARE_WIDTH), np.nan, np.float32), {})
    # Of all kinds, the one that needs no item to be fitted on.
    mean: type[Fusion] = FUSIONS.find("linear")
    fusion = mean(Frontend({}, BARE_WIDTH), mean.Settings(kind="linear", width=BARE_WIDTH))
    save_catalogue(fusion, fused)
    counts = {"rows": len(staged.items), "missing_rows": len(staged.items), "kind": fusion.settings.kind}
    return {**counts, **users.write(night, fusion, staged, fused, key)}


def write_items(fitted: Fitted, material: Material, fused: Fused) -> dict[str, int]:
    """Writes every bucket's vectors and shares; returns how many rows there are and how many have no vector."""
    work = partial(_write_bucket, fitted, material.shards, fused)
    # A network has threads of its own.
    missing = list(each_bucket(work, len(material.shards), material.context.threads if fitted.projected is None else 1))
    return {"rows": material.shards.items, "missing_rows": sum(missing)}


def _write_bucket(fitted: Fitted, shards: Shards, fused: Fused, bucket: int) -> int:
    fusion, frontend = fitted.fusion, fitted.fusion.frontend
    what = f"fusion {fusion.settings.kind}"
    with border(what):
        if fitted.projected is None:
            ids, own = shards.read(bucket)
            vectors, shares = fusion.combine(*frontend.project(own))
        else:
            ids, codes = shards.ids(bucket), np.arange(*shards.starts[bucket : bucket + 2])
            vectors, shares = fusion.catalogue(fitted.projected, codes)
    check_vectors(what, vectors, len(ids), frontend.width, unit=True)
    check_vectors(f"{what}, for its shares,", shares, len(ids), len(frontend.modalities))
    counted: Mapping[Modality, Vectors] = dict(zip(frontend.modalities, shares.T, strict=True))
    nothing = np.zeros(len(ids), np.float32)
    return fused.write_bucket(
        shards.name(bucket), ids, vectors, {m: counted.get(m, nothing) for m in shards.modalities}
    )


def _learned(fitted: Fitted) -> Json:
    """The fit of a learned kind: its best epoch, and held-out scores there and before training."""
    if not fitted.curve:
        return {}
    best = max(fitted.curve, key=lambda epoch: (epoch["score"], -epoch["epoch"]))
    named = ("epoch", "score", "co_choice", "agreement")
    return {"learned": {name: round(best[name], 5) for name in named}, "before": round(fitted.curve[0]["score"], 5)}
