"""A catalogue whose modalities tell different halves of what users choose by, written as real shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.log import OpenedLog
from pipeline.artefacts.shards import Shards
from pipeline.config import Modality
from pipeline.fusion.fit import Material
from pipeline.interactions import Interactions
from pipeline.training.context import Context
from tests.logs import parted

ITEMS, USERS, CHOICES, KINDS = 400, 400, 12, 6
BUCKETS = 4
SOME = 0.1


@dataclass(frozen=True)
class Planted:
    """material: what a fusion is fitted on. log: the whole log. vectors: modality to (n, d), NaN where missing."""

    material: Material
    log: OpenedLog
    vectors: dict[Modality, np.ndarray]


def planted(folder: Path, seed: int = 0) -> Planted:
    """Text and image show one trait each and share a third; audio is noise for half of its width."""
    rng = np.random.default_rng(seed)
    told, seen, shared = (rng.integers(0, KINDS, ITEMS) for _ in range(3))
    vectors: dict[Modality, np.ndarray] = {
        "text": _shown(rng, 48, told, shared),
        "image": _shown(rng, 32, seen, shared),
        "audio": _shown(rng, 24, shared),
    }
    for matrix in vectors.values():
        matrix[rng.random(ITEMS) < SOME] = np.nan
    vectors["text"][7] = vectors["image"][7] = vectors["audio"][7] = np.nan
    cold = rng.random(ITEMS) < SOME
    log = _log(rng, told, seen, shared, cold)
    material = Material(write(folder, vectors), {m: "" for m in vectors}, log.of("train"), ~cold, Context(seed))
    return Planted(material, log, vectors)


def _shown(rng: np.random.Generator, width: int, *traits: np.ndarray, noise: float = 1.5) -> np.ndarray:
    shown = sum(rng.standard_normal((KINDS, width))[trait] for trait in traits)
    return (shown + noise * rng.standard_normal((ITEMS, width))).astype(np.float32)


def _log(
    rng: np.random.Generator, told: np.ndarray, seen: np.ndarray, shared: np.ndarray, cold: np.ndarray
) -> OpenedLog:
    users, items, ages, parts = [], [], [], []
    for user in range(USERS):
        liked = [rng.standard_normal(KINDS) * 2 for _ in range(3)]
        utility = liked[0][told] + liked[1][seen] + liked[2][shared] + rng.gumbel(size=ITEMS)
        chosen = rng.permutation(np.argsort(-utility)[:CHOICES])
        users += [user] * CHOICES
        items += chosen.tolist()
        ages += list(range(CHOICES, 0, -1))
        parts += [0] * (CHOICES - 3) + [1, 2, 2]
    part = np.where(cold[items], 3, parts).astype(np.int8)
    log = Interactions(
        np.array(users, np.int32), np.array(items, np.int32), np.array(ages, float), np.ones(len(users), np.float32),
        USERS, ITEMS,
    )  # fmt: skip
    return OpenedLog([f"u{u}" for u in range(USERS)], [f"i{i:03d}" for i in range(ITEMS)], cold, parted(log, part))


def write(folder: Path, vectors: dict[Modality, np.ndarray], empty_bucket: bool = False) -> Shards:
    """Vectors as a night's shards, BUCKETS of them, and one without items, which `extract` writes one number wide."""
    paths: dict[Modality, list[Path]] = {}
    for modality, matrix in vectors.items():
        paths[modality] = []
        buckets = np.array_split(np.arange(len(matrix)), BUCKETS)
        for bucket, rows in enumerate([*buckets, np.zeros(0, int)] if empty_bucket else buckets):
            path = folder / modality / f"bucket-{bucket:05d}-{0:020x}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            missing = np.isnan(matrix[rows, 0])
            flat = pa.array(np.nan_to_num(matrix[rows]).astype(np.float16).ravel())
            width = matrix.shape[1] if len(rows) else 1
            column = pa.FixedSizeListArray.from_arrays(flat, width, mask=pa.array(missing))
            ids = pa.array([f"i{row:03d}" for row in rows], pa.string())
            error = pa.array(["no file" if lacks else None for lacks in missing], pa.string())
            pq.write_table(pa.table({"item_id": ids, "vector": column, "error": error}), path)
            paths[modality].append(path)
    return Shards(paths)
