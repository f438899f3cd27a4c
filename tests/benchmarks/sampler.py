"""What a triple and an epoch of the pairwise models cost, beside a sampler's Python loop and beside cornac's BPR.

    python -m tests.benchmarks.sampler [--json] [--rounds 3] [--cornac PYTHON]

- negatives: `Triples.negatives` on tiktok beside the loop that MMRec's `TrainDataLoader` and its kin draw by: one
  `random.randint` and a look into the user's set for each triple, again while it was chosen;
- lightgcn: an epoch on tiktok, with the shipped settings, against 0.25 s;
- bpr: an epoch beside cornac's, both of 64 dimensions on one thread, and the Recall@20 on validation that each reaches
  in as many epochs, mean over a seed each round. cornac needs numpy below 2, so it has an environment of its own, whose
  Python is named by `--cornac`; without it, that case says so.

Ways take turns, round by round. On a machine with neighbours, seconds of the processor say more than those of the wall.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.metrics import Task, inner_product, rank
from pipeline.night import peak_rss_bytes, reset_peak_rss
from pipeline.recommend.models.bpr import BPR, BprSettings
from pipeline.recommend.models.lightgcn import LightGCN, LightGcnSettings
from pipeline.recommend.trained import Trained
from pipeline.training.context import Context
from pipeline.training.loop import Loop
from pipeline.training.negatives import Triples
from pipeline.training.torch_runtime import reproducible
from tests.benchmarks.harness import DATA, Case, Quality, document
from tests.benchmarks.splits import Split, published

TRIPLES_PER_S, LIGHTGCN_SECONDS, EPOCHS = 10e6, 0.25, 20
CORNAC = """
import json, sys, time
import cornac, numpy as np
log = np.load(sys.argv[1])
pairs = [(int(u), int(i), 1.0) for u, i in zip(log["user"], log["item"])]
data = cornac.data.Dataset.build(pairs)
def fit(epochs):
    settings = {"k": 64, "learning_rate": 0.05, "lambda_reg": 0.01, "num_threads": 1, "seed": int(sys.argv[6])}
    model = cornac.models.BPR(max_iter=epochs, **settings)
    begin = time.perf_counter(), time.process_time()
    model.fit(data)
    return model, time.perf_counter() - begin[0], time.process_time() - begin[1]
epochs = int(sys.argv[2])
_, wall, cpu = fit(1)
model, walls, cpus = fit(1 + epochs)
users, items = np.zeros((int(sys.argv[3]), 65), np.float32), np.zeros((int(sys.argv[4]), 65), np.float32)
for code, row in data.uid_map.items():
    users[code, :64], users[code, 64] = model.u_factors[row], 1
for code, row in data.iid_map.items():
    items[code, :64], items[code, 64] = model.i_factors[row], model.i_biases[row]
np.savez(sys.argv[5], users=users, items=items)
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
print(json.dumps({"wall": (walls - wall) / epochs, "cpu": (cpus - cpu) / epochs, "peak": peak}))
"""


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Rows per wall second and per processor second."""
    begin = time.perf_counter(), time.process_time()
    rows = work()
    return rows / (time.perf_counter() - begin[0]), rows / (time.process_time() - begin[1])


def sampling(split: Split, rounds: int) -> Case:
    log, settings = split.train, LightGcnSettings()
    drawn = Triples(log, settings.batch_rows, settings.popularity_power, 0)
    users = np.random.default_rng(0).permutation(np.repeat(log.user, 8))
    chosen = [set(items.tolist()) for items in np.split(log.item, log.offsets()[1:-1])]
    every = list(range(log.n_items))

    def ours() -> int:
        for start in range(0, len(users), settings.batch_rows):
            drawn.negatives(users[start : start + settings.batch_rows])
        return len(users)

    def loop() -> int:
        for user in users[: len(log)].tolist():
            item = every[random.randint(0, len(every) - 1)]
            while item in chosen[user]:
                item = every[random.randint(0, len(every) - 1)]
        return len(log)

    runs = [(timed(ours), timed(loop)) for _ in range(rounds)]
    wall, cpu = (statistics.median(one[at] / two[at] for one, two in runs) for at in (0, 1))
    rate = statistics.median(one[1] for one, _ in runs)
    wrong = drawn.chosen(users, drawn.negatives(users)).mean()
    return Case(
        "negatives on tiktok, triples a second of the processor",
        rate,
        ("a Python loop, as MMRec draws", statistics.median(two[1] for _, two in runs)),
        wall,
        cpu,
        Quality("millions of triples a second", rate / 1e6, TRIPLES_PER_S / 1e6),
        notes=[f"share of negatives that the user chose: {wrong:.1%}"],
    )


def epochs(model: Trained[Any], split: Split, count: int) -> tuple[list[float], list[float]]:
    """Wall and processor seconds of each epoch, after one to warm up."""
    with reproducible(1):
        model._prepare(split.bare(), split.train)
        loop, walls, cpus = Loop(model, model.settings, None, Context()), [], []
        for number in range(1, count + 2):
            begin = time.perf_counter(), time.process_time()
            loop.pass_over(number)
            walls.append(time.perf_counter() - begin[0])
            cpus.append(time.process_time() - begin[1])
    return walls[1:], cpus[1:]


def lightgcn(split: Split, rounds: int) -> Case:
    reset_peak_rss()
    walls, cpus = epochs(LightGCN(LightGcnSettings(), 0, 1), split, rounds)
    cpu = statistics.median(cpus)
    return Case(
        "lightgcn, seconds of the processor an epoch on tiktok, one thread",
        cpu,
        quality=Quality("epochs a second of the processor", 1 / cpu, 1 / LIGHTGCN_SECONDS),
        peak_rss_bytes={"lightgcn": peak_rss_bytes()},
        notes=[f"{statistics.median(walls):.3f} s by the wall"],
    )


def bpr(split: Split, rounds: int, python: str) -> Case:
    name = f"bpr, epochs a second of the processor on tiktok, {EPOCHS} epochs, one thread"
    if not python:
        return Case(name, notes=["no cornac: name the Python of an environment that has it by --cornac"], failed=True)
    reset_peak_rss()
    found, peak, own = [], 0, []
    for seed in range(rounds):
        found.append((cornac(split, python, seed), epochs(BPR(BprSettings(), 0, 1), split, 5)))
        model = BPR(BprSettings(), seed, 1)
        model.fit(split.bare(), split.train, epochs=EPOCHS + 1)
        own.append(recall(model.learned_users(), model.item_vectors, split))
        peak = max(peak, peak_rss_bytes())
    theirs = [one["recall"] for one, _ in found]
    cpu = statistics.median(one["cpu"] / statistics.median(mine[1]) for one, mine in found)
    wall = statistics.median(one["wall"] / statistics.median(mine[0]) for one, mine in found)
    return Case(
        name,
        1 / statistics.median(statistics.median(mine[1]) for _, mine in found),
        ("cornac's", 1 / statistics.median(one["cpu"] for one, _ in found)),
        wall,
        cpu,
        Quality("Recall@20 on validation, learned users", statistics.mean(own), statistics.mean(theirs)),
        {"ours": peak, "cornac": int(max(one["peak"] for one, _ in found))},
        target=1.0,
        notes=[f"± {statistics.pstdev(own):.4f}; cornac's ± {statistics.pstdev(theirs):.4f}"],
    )


def cornac(split: Split, python: str, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        log, vectors = Path(folder) / "log.npz", Path(folder) / "vectors.npz"
        np.savez(log, user=split.train.user, item=split.train.item)
        sizes = (str(split.train.n_users), str(split.train.n_items))
        command = [python, "-c", CORNAC, str(log), str(EPOCHS), *sizes, str(vectors), str(seed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        made = np.load(vectors)
        return told | {"recall": recall(made["users"], made["items"], split)}


def recall(users: np.ndarray, items: np.ndarray, split: Split) -> float:
    values = rank(inner_product(users, items), Task(split.train, split.validation), (20,)).values
    return float(values["recall@20"].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cornac", default="")
    given = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA}: no such folder; set MEDLEY_TEST_DATA to where the published splits are")
    split = published("tiktok")
    cases = []
    for measure in (sampling, lightgcn, partial(bpr, python=given.cornac)):
        cases.append(measure(split, given.rounds))
        one = cases[-1]
        other = f"  {one.other[0]} {one.other[1]:,.3f}  ratio {one.cpu_ratio:.2f}" if one.other[1] else ""
        quality = f"  {one.quality.what} {one.quality.value:.4f}, bar {one.quality.bar}" if one.quality else ""
        print(
            f"{one.name}: {one.ours or 0:,.3f}{other}{quality}  met: {one.met}  {'; '.join(one.notes)}", file=sys.stderr
        )
    if given.json:
        print(json.dumps(document(cases)))


if __name__ == "__main__":
    main()
