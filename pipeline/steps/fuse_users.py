"""Users: a vector for each from the items of their history and, where they have one, their profile.

- profiles: what `extract` encoded, passed through the fusion as texts alone;
- pooling: the decayed mean, or attention learned on the training part (`pipeline.fusion.user_attention`);
- write: vectors, some users at a time, and who has none and why.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artefacts.fused import Fused, PoolingSettings, write_reasons
from pipeline.artefacts.log import Log
from pipeline.artefacts.staged import USERS
from pipeline.artefacts.vectors import read_vectors
from pipeline.fusion.base import Fusion
from pipeline.fusion.user_pooling import read_pooling
from pipeline.interactions import Floats
from pipeline.night import Night
from pipeline.steps.extract import PROFILES_STEP
from pipeline.steps.fits import fitting
from pipeline.steps.ingest import staged_of
from pipeline.storage.documents import Json
from pipeline.workspace import digest

log = logging.getLogger("medley")
VERSION = 3
NO_INTERACTION = "no interaction, and no profile to go by"
NO_ITEM_VECTOR = "no item of the history has a vector"


def inputs(night: Night) -> str:
    """The digest of what user vectors rest on beside items and log: how they are made, and profiles."""
    staged, settings = night.receipt("ingest"), night.config.fuse
    listed = staged.outputs.get(f"{staged.path}/{USERS}")
    profiles: list[object] = []
    if listed and "text" in night.config.extract.modalities():
        profiles = [Path(night.receipt(PROFILES_STEP).path).name, settings.users.profile_weight]
    return digest("users", VERSION, settings.half_life_days, settings.users.pooling, listed, profiles)


def write(night: Night, fusion: Fusion, staged: Log, fused: Fused, key: str) -> Json:
    """Writes the users' part of a fused folder that holds `items/` already, and returns its counts. key: its name."""
    _, items = fused.items()
    items = np.nan_to_num(items, copy=False)
    profiles = _write_profiles(night, fusion, fused)
    learned = _write_attention(night, items, staged, fused, key)
    settings = night.config.fuse
    # A weight that nothing is weighed by changes no byte.
    weight = settings.users.profile_weight if profiles else 0.0
    fused.write_pooling(PoolingSettings(settings.half_life_days, weight))
    everything = staged_of(night).read_everything()
    blocks = read_pooling(fused, staged.users).blocks(items, everything)
    known = fused.write_users(pa.array(staged.users, pa.string()), blocks)
    chosen = np.bincount(everything.user, minlength=len(staged.users)) > 0
    reasons = {
        staged.users[code]: NO_ITEM_VECTOR if chosen[code] else NO_INTERACTION for code in np.flatnonzero(~known)
    }
    without = write_without(night, staged, reasons, fused.without_vector)
    counts = {"users": int(known.sum()), "users_without_vector": without, "profiles": profiles} | learned
    said = ", ".join(f"{reason}: {rows}" for reason, rows in without.items()) or "none"
    log.info("fuse users rows=%d profiles=%d without a vector: %s", counts["users"], profiles, said)
    return counts


def _write_profiles(night: Night, fusion: Fusion, fused: Fused) -> int:
    """Writes the fused vectors of profiles, and returns how many have one."""
    if staged_of(night).profiles(["user_id"]) is None:
        return 0
    if "text" not in night.config.extract.modalities():
        log.warning("source.users gives profiles, but extract.text has no encoder: profiles are left out")
        return 0
    ids, own = read_vectors(night.folder_of(PROFILES_STEP), "user_id")
    if np.isnan(own).all():
        return 0
    vectors, _ = fusion.transform({"text": own})
    present = np.flatnonzero(~np.isnan(vectors[:, 0]))
    fused.write_profiles(pa.array(ids, pa.string()).take(pa.array(present)), vectors[present])
    return len(present)


def _write_attention(night: Night, items: Floats, staged: Log, fused: Fused, key: str) -> Json:
    """Learns and writes attention where the settings ask for it, and returns how it went."""
    if night.config.fuse.users.pooling == "mean":
        return {}
    from pipeline.fusion.user_attention import SCHEDULE, fit

    with fitting(night, key, "users", SCHEDULE.max_epochs) as context:
        fitted = fit(items, staged.of("train"), night.config.fuse.half_life_days, context)
    fitted.attention.save(fused.attention)
    log.info("fuse users attention epoch=%d next choice %.4f, mean %.4f", fitted.epoch, fitted.best, fitted.mean)
    return {"user_attention": {"epoch": fitted.epoch, "held_out": fitted.best, "held_out_mean": fitted.mean}}


def write_without(night: Night, staged: Log, missing: dict[str, str], file: Path) -> dict[str, int]:
    """Writes (user_id, reason) by user_id, and returns each reason's count.

    missing: users of the log, and why they are; those whom the source lists, and of whom nothing is known, are added.
    """
    reasons = dict(missing)
    listed = staged_of(night).profiles(["user_id"])
    if listed is not None:
        reasons |= dict.fromkeys(set(listed["user_id"].to_pylist()) - set(staged.users), NO_INTERACTION)
    return write_reasons(file, reasons)
