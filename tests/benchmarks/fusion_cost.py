"""What fusing costs: seconds and memory per item on synthetic shards, beside the disk's own read rate."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.shards import Shards
from pipeline.config import FUSIONS, Config, Fuse, Modality
from pipeline.fusion.fit import Material, fit
from pipeline.interactions import Interactions
from pipeline.night import peak_rss_bytes, reset_peak_rss
from pipeline.runtime import threads
from pipeline.steps.fuse import write_items
from pipeline.training.context import Context

WIDTHS: dict[Modality, int] = {"text": 384, "image": 512, "audio": 128}
BUCKET = 4096
MISSING = 0.05
CHOICES, USERS = 10, 20_000


def write_shards(items: int, folder: Path) -> Shards:
    """Random unit vectors as float16 shards of three modalities, one in twenty missing."""
    rng = np.random.default_rng(0)
    paths: dict[Modality, list[Path]] = {m: [] for m in WIDTHS}
    for bucket, start in enumerate(range(0, items, BUCKET)):
        count = min(BUCKET, items - start)
        ids = pa.array([f"item-{start + row:08d}" for row in range(count)])
        for modality, width in WIDTHS.items():
            vectors = rng.standard_normal((count, width), np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            column = pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.astype(np.float16).ravel()), width, mask=pa.array(rng.random(count) < MISSING)
            )
            path = folder / modality / f"bucket-{bucket:05d}-{0:020x}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table = pa.table({"item_id": ids, "vector": column})
            pq.write_table(table, path, use_dictionary=False, write_statistics=False, compression="none")
            paths[modality].append(path)
    return Shards(paths)


def forget(shards: Shards) -> None:
    """Drops the shards from the page cache."""
    for path in (path for paths in shards.paths.values() for path in paths):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_rate(shards: Shards) -> float:
    """Bytes a second of reading every shard from the disk, one after the other."""
    forget(shards)
    begin, size = time.perf_counter(), 0
    for path in (path for paths in shards.paths.values() for path in paths):
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 22):
                size += len(block)
    return size / (time.perf_counter() - begin)


def log_of(items: int) -> Interactions:
    """A log of USERS users with CHOICES choices each, at random."""
    rng = np.random.default_rng(1)
    count = USERS * CHOICES
    user = np.repeat(np.arange(USERS, dtype=np.int32), CHOICES)
    item = rng.integers(0, items, count).astype(np.int32)
    return Interactions(
        user, item, np.tile(np.arange(CHOICES)[::-1], USERS) * 1.0, np.ones(count, np.float32), USERS, items
    )


def settings_of(kind: str, **changes: Any) -> Fuse:
    """A kind's settings; `linear-learned` and `concat-whitened` are kinds here too."""
    name, _, variant = kind.partition("-")
    variants: dict[str, dict[str, Any]] = {"learned": {"learn": {}}, "whitened": {"whitening": True}}
    return FUSIONS.find(name).Settings(**{**variants.get(variant, {}), **changes})  # type: ignore[attr-defined, no-any-return]


def costs(sizes: list[int], kinds: list[str], folder: Path) -> dict[str, Any]:
    """Fuses synthetic catalogues of each size by each kind; a learned kind trains for one epoch."""
    found: dict[str, Any] = {"cost": []}
    for items in sizes:
        shards = write_shards(items, folder / str(items))
        size = sum(path.stat().st_size for paths in shards.paths.values() for path in paths)
        rate = read_rate(shards)
        print(
            f"{items} items, {size / 1e9:.2f} GB of shards, disk reads {rate / 1e6:.0f} MB/s",
            file=sys.stderr,
            flush=True,
        )
        for kind in kinds:
            entry = {"items": items, "kind": kind, "disk_bytes_per_s": rate, **cost(kind, shards, folder, size)}
            found["cost"].append(entry)
            print(
                f"  {kind:<16} fit {entry['fit_s']:7.1f} s  fuse {entry['fuse_s']:7.1f} s  "
                f"{1e6 * entry['fuse_s'] / items:7.1f} us an item  {entry['read_share']:.0%} of the disk's rate  "
                f"peak {entry['peak_rss_bytes'] / 1e9:.2f} GB",
                file=sys.stderr,
                flush=True,
            )
    return found


def cost(kind: str, shards: Shards, folder: Path, size: int) -> dict[str, float]:
    """Seconds of fitting and of writing every bucket, with cold shards."""
    learns = kind.partition("-")[0] not in ("linear", "concat") or "learned" in kind
    settings = settings_of(kind, **({"learn": {"max_epochs": 1}} if learns else {}))
    log, context = log_of(shards.items), Context(0, threads(Config()))
    material = Material(shards, {m: "" for m in WIDTHS}, log, np.ones(shards.items, bool), context)
    scratch, target = folder / "scratch", folder / "fused"
    scratch.mkdir(exist_ok=True)
    forget(shards)
    reset_peak_rss()
    begin = time.perf_counter()
    fitted = fit(settings, material, scratch)
    fit_s = time.perf_counter() - begin
    forget(shards)
    begin = time.perf_counter()
    write_items(fitted, material, Fused(target))
    fuse_s = time.perf_counter() - begin
    for path in [*scratch.iterdir(), *target.glob("items/*")]:
        path.unlink()
    return {
        "fit_s": fit_s,
        "fuse_s": fuse_s,
        "read_share": size / fuse_s / read_rate(shards),
        "peak_rss_bytes": peak_rss_bytes(),
    }


if __name__ == "__main__":
    sys.exit("run python -m tests.benchmarks.fusion cost")
