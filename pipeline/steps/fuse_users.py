"""Users: a vector for each from the items of their history and, where they have one, their profile.

- profiles: what `extract` encoded, passed through the fusion as texts alone;
- pooling: the decayed mean, or attention learned on the training part (`pipeline.fusion.user_attention_fit`);
- write: vectors, and who has none and why. A user without a history has none, however well they describe themselves.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artefacts.staged import USERS, Log
from pipeline.artefacts.vectors import matrix, read_vectors, vector_column, write_vectors
from pipeline.encoders import modalities
from pipeline.fusion import Fusion
from pipeline.fusion.user_pooling import Pooling
from pipeline.interactions import Floats
from pipeline.night import Night
from pipeline.steps.extract import PROFILES_STEP
from pipeline.steps.ingest import staged_of
from pipeline.workspace import Json, digest

log = logging.getLogger("medley")
VERSION = 1
PROFILES = "profiles.parquet"
ATTENTION = "users.safetensors"
WITHOUT = "users_without_vector.parquet"
NO_INTERACTION = "no interaction"
NO_ITEM_VECTOR = "no item of the history has a vector"


def inputs(night: Night) -> str:
    """The digest of what user vectors rest on beside items, log and settings: who there is, and their profiles."""
    staged = night.receipt("ingest")
    listed = staged.outputs.get(f"{staged.path}/{USERS}")
    shard = night.receipt(PROFILES_STEP).path if listed and "text" in modalities(night.config) else ""
    return digest("users", VERSION, listed, Path(shard).name)


def write(night: Night, fusion: Fusion, staged: Log, folder: Path) -> Json:
    """Writes the users' part of `fused/<digest>/` and returns its counts.

    folder: holds `items/` already. Gets `users/`, `users_without_vector.parquet` (user_id, reason),
    `profiles.parquet` where there are profiles, and `users.safetensors` where attention was learned.
    """
    _, items = read_vectors(folder / "items", "item_id")
    items = np.nan_to_num(items, copy=False)
    profiles = _write_profiles(night, fusion, folder)
    learned = _write_attention(night, items, staged, folder)
    users = read_pooling(night, folder, staged).users(items, staged_of(night).read_everything())
    known = np.flatnonzero(users.any(axis=1))
    table = pa.table({"user_id": pa.array(staged.users).take(known), "vector": vector_column(users[known])})
    write_vectors(folder / "users" / "part-0.parquet", table)
    unknown = np.setdiff1d(np.arange(len(staged.users)), known)
    missing = {staged.users[code]: NO_ITEM_VECTOR for code in unknown}
    without = write_without(night, staged, missing, folder / WITHOUT)
    counts = {"users": len(known), "users_without_vector": without, "profiles": profiles} | learned
    reasons = ", ".join(f"{reason}: {rows}" for reason, rows in without.items()) or "none"
    log.info("fuse users rows=%d profiles=%d without a vector: %s", len(known), profiles, reasons)
    return counts


def read_pooling(night: Night, folder: Path, staged: Log) -> Pooling:
    """The pooling that a fused folder was written with, its profiles in the log's order of users."""
    settings = night.config.fuse
    attention = profiles = None
    if (folder / ATTENTION).exists():
        from pipeline.fusion.user_attention import HistoryAttention

        attention = HistoryAttention.load(folder / ATTENTION)
    if (folder / PROFILES).exists():
        names, vectors = read_vectors(folder / PROFILES, "user_id")
        rows = pc.index_in(pa.array(staged.users, pa.string()), pa.array(names, pa.string())).to_numpy(False)
        has = ~np.isnan(rows)
        profiles = np.zeros((len(staged.users), vectors.shape[1]), np.float32)
        profiles[has] = vectors[rows[has].astype(np.int64)]
    return Pooling(settings.half_life_days, attention, profiles, settings.users.profile_weight)


def _write_profiles(night: Night, fusion: Fusion, folder: Path) -> int:
    """Writes the fused vectors of profiles, (user_id, vector), and returns how many have one."""
    if staged_of(night).profiles(["user_id"]) is None:
        return 0
    if "text" not in modalities(night.config):
        log.warning("source.users gives profiles, but extract.text has no encoder: profiles are left out")
        return 0
    shard = pq.read_table(night.workspace.path(night.receipt(PROFILES_STEP).path), columns=["user_id", "vector"])
    shard = shard.filter(shard["vector"].is_valid())
    if not shard.num_rows:
        return 0
    fused, _ = fusion.transform({"text": matrix(shard["vector"])})
    kept = np.flatnonzero(~np.isnan(fused[:, 0]))
    if len(kept):
        write_vectors(
            folder / PROFILES, pa.table({"user_id": shard["user_id"].take(kept), "vector": vector_column(fused[kept])})
        )
    return len(kept)


def _write_attention(night: Night, items: Floats, staged: Log, folder: Path) -> Json:
    """Learns and writes attention where the settings ask for it, and returns how it went."""
    if night.config.fuse.users.pooling == "mean":
        return {}
    from pipeline.fusion.user_attention_fit import fit

    fitted = fit(items, staged.of("train"), night.config.fuse.half_life_days, night.config.seed)
    fitted.attention.save(folder / ATTENTION)
    log.info("fuse users attention epoch=%d next choice %.4f, mean %.4f", fitted.epoch, fitted.best, fitted.mean)
    return {"user_attention": {"epoch": fitted.epoch, "held_out": fitted.best, "held_out_mean": fitted.mean}}


def write_without(night: Night, staged: Log, missing: dict[str, str], file: Path) -> dict[str, int]:
    """Writes (user_id, reason) by user_id, and returns each reason's count.

    missing: users of the log, and why they are; those that the source lists and the log has not are added.
    """
    rows = dict(missing)
    listed = staged_of(night).profiles(["user_id"])
    if listed is not None:
        rows |= dict.fromkeys(set(listed["user_id"].to_pylist()) - set(staged.users), NO_INTERACTION)
    ordered = sorted(rows.items())
    columns = {"user_id": [user for user, _ in ordered], "reason": [reason for _, reason in ordered]}
    pq.write_table(pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()}), file)
    reasons = [reason for _, reason in ordered]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}
