"""How time and memory of training grow with the log: read as a night reads it, mapped from files.

    python -m tests.benchmarks.recommenders_scale [--json] [--steps 50] [--folder DIR] [--sizes 1e5,1e6,1e7,1e8]
                                                  [--models lightgcn,graph,elsa,svd] [--graphs 1e5,1e6,1e7]
                                                  [--threads 1]

Logs are synthetic: 20 choices a user, items by a Zipf law, a catalogue of 20 000, so that only the log grows, and the
users with it. Every size has a process of its own, for its peak memory. `pass` is what an epoch does besides its steps:
of two_tower it reads and shuffles the whole log, of the others it makes ready for the first step. `step` is the median
of a number of training steps, each with the making of its batch, fewer where they are long; validation is left out; an
epoch is a pass and its steps. svd has no steps: its epoch is the decomposition. Seconds are the processor's, on one
thread, which neighbours change less than the wall's. Slopes are of log seconds, and of log peak bytes, by log
interactions, over sizes of at least a row group.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artefacts.log import MICROSECONDS_PER_DAY, RowsWriter, map_rows
from pipeline.config import Config
from pipeline.config.train import TrainSettings
from pipeline.interactions import Interactions
from pipeline.night import peak_rss_bytes, reset_peak_rss
from pipeline.recommend import kind_of, recommender
from pipeline.recommend.base import Content, Recommender
from pipeline.recommend.models.bpr import PairwiseSettings
from pipeline.recommend.models.elsa import ElsaSettings
from pipeline.recommend.models.graph import GraphSettings
from pipeline.recommend.models.two_tower import TwoTower, TwoTowerSettings
from pipeline.recommend.trained import Trained
from pipeline.recommend.two_tower_batches import Batches
from pipeline.runtime import threads
from pipeline.training.context import Context
from pipeline.training.loop import Loop
from pipeline.training.torch_runtime import reproducible
from tests.benchmarks.harness import ROOT, machine

ITEMS, LENGTH, WIDTH, GROUP_ROWS = 20_000, 20, 64, 1_000_000
FEWEST, LONGEST_SECONDS = 5, 60.0


def synthetic(interactions: int) -> Iterator[Interactions]:
    """The log in blocks of whole users."""
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, ITEMS + 1)
    cumulated = np.cumsum(share / share.sum())
    users = interactions // LENGTH
    for first in range(0, users, GROUP_ROWS // LENGTH):
        some = np.arange(first, min(first + GROUP_ROWS // LENGTH, users), dtype=np.int32)
        count = len(some) * LENGTH
        item = np.minimum(np.searchsorted(cumulated, generator.random(count)), ITEMS - 1).astype(np.int32)
        age_days = np.tile(np.arange(LENGTH, dtype=np.float64)[::-1], len(some))
        yield Interactions(np.repeat(some, LENGTH), item, age_days, np.ones(count, np.float32), users, ITEMS)


def write(folder: Path, interactions: int) -> None:
    """Writes the log as `ingest` does."""
    writer = RowsWriter(folder, {"train": interactions}, (0, 0))
    for log in synthetic(interactions):
        ts = (-log.age_days * MICROSECONDS_PER_DAY).astype(np.int64)
        columns = [log.user, log.item, ts, log.weight, np.zeros(len(log), np.int8)]
        writer.append(pa.record_batch(columns, names=["user", "item", "ts", "weight", "part"]))


def one(name: str, interactions: int, given: argparse.Namespace, path: str) -> dict[str, Any]:
    """A pass and some steps of one model."""
    config = Config(threads=given.threads)
    vectors = np.random.default_rng(1).standard_normal((ITEMS, WIDTH), np.float32)
    content = Content(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.ones(ITEMS, bool))
    settings = kind_of(name).Settings()
    model = recommender(settings, config.seed, threads(config))
    log = map_rows(Path(path) / "train", interactions // LENGTH, ITEMS)
    reset_peak_rss()
    found = trained(model, content, log, given.steps) if isinstance(model, Trained) else decomposed(model, content, log)
    steps = steps_of(settings, interactions)
    epoch = found["pass_seconds"] + (found["step_seconds"] * steps if steps else 0)
    peak = peak_rss_bytes()
    return {"model": name, "interactions": interactions, **found, "epoch_seconds": epoch, "peak_rss_bytes": peak}


def trained(model: Trained[Any], content: Content, log: Interactions, steps: int) -> dict[str, float]:
    with reproducible(model.threads):
        begin = time.process_time()
        model._prepare(content, log)
        prepared = time.process_time()
        streamed = isinstance(model, TwoTower)
        if streamed:
            batcher = model._batcher
            assert sum(passed(batcher, batcher.read(block)) for block in range(len(batcher.blocks))) == len(log)
        ready = time.process_time()
        batches, loop, taken = model._batches(), Loop(model, model.settings, None, Context()), []
        batch = next(batches)
        first = 0.0 if streamed else time.process_time() - ready
        while len(taken) < steps and (len(taken) < FEWEST or sum(taken) < LONGEST_SECONDS):
            begun = time.process_time()
            loop.step(batch)
            batch = next(batches, batch)
            taken.append(time.process_time() - begun)
    step = statistics.median(taken)
    return {"prepare_seconds": prepared - begin, "pass_seconds": ready - prepared + first, "step_seconds": step}


def passed(batches: Batches, block: Interactions) -> int:
    """The rows of a block, made ready as in an epoch."""
    log = batches._shuffled_ties(block)
    log.matrix()
    return len(log)


def decomposed(model: Recommender, content: Content, log: Interactions) -> dict[str, float]:
    begin = time.process_time()
    model.prepare(content, log, model.grid)  # type: ignore[attr-defined]
    return {"prepare_seconds": 0.0, "pass_seconds": time.process_time() - begin, "step_seconds": 0.0}


def steps_of(settings: TrainSettings, interactions: int) -> float:
    """Steps in an epoch."""
    users = interactions / LENGTH
    match settings:
        case TwoTowerSettings():
            return users * min(settings.moments_per_user, LENGTH - 1) / settings.batch_rows
        case GraphSettings():
            return users / settings.batch_users
        case ElsaSettings():
            return (users + ITEMS) / settings.batch_rows
        case PairwiseSettings():
            return interactions / settings.batch_rows
    return 0


def measured(name: str, interactions: int, given: argparse.Namespace, path: Path) -> dict[str, Any]:
    """The same in a process of its own, whose threads sleep while they wait, as a night's do."""
    command = [sys.executable, "-m", "tests.benchmarks.recommenders_scale", "--steps", str(given.steps)]
    command += ["--threads", str(given.threads), "--one", name, str(interactions), str(path)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    print(
        f"  {name:<10} {interactions:>11,} choices  prepare {found['prepare_seconds']:7.1f} s  pass "
        f"{found['pass_seconds']:7.2f} s  step {1e3 * found['step_seconds']:7.1f} ms  epoch "
        f"{found['epoch_seconds']:9.1f} s  peak {found['peak_rss_bytes'] / 1e9:.2f} GB",
        file=sys.stderr,
        flush=True,
    )
    return found


def slope(entries: list[dict[str, Any]], what: str) -> float | None:
    """By least squares, of the logarithms."""
    kept = [entry for entry in entries if entry["interactions"] >= GROUP_ROWS or entry["model"] != "two_tower"]
    if len(kept) < 2:
        return None
    x, y = (np.log([entry[name] for entry in kept]) for name in ("interactions", what))
    return float(np.polyfit(x, y, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--sizes", default="1e5,1e6,1e7,1e8")
    parser.add_argument("--models", default="lightgcn,graph,elsa,svd")
    parser.add_argument("--graphs", default="1e5,1e6,1e7")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], int(given.one[1]), given, given.one[2])))
        return
    entries: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        asked = {name: given.graphs for name in given.models.split(",") if name} | {"two_tower": given.sizes}
        for name, sizes in asked.items():
            for size in (int(float(size)) for size in sizes.split(",") if size):
                path = Path(folder) / str(size)
                if not path.exists():
                    write(path, size)
                entries.append(measured(name, size, given, path))
    slopes = {}
    for name in dict.fromkeys(entry["model"] for entry in entries):
        own = [entry for entry in entries if entry["model"] == name]
        slopes[name] = {what: slope(own, what) for what in ("epoch_seconds", "peak_rss_bytes")}
        print(f"  {name:<10} slopes {slopes[name]}", file=sys.stderr)
    if given.json:
        print(json.dumps({"machine": machine(), "cases": entries, "slopes": slopes}))


if __name__ == "__main__":
    main()
