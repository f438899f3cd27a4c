"""What a profile is worth: the sample shop, some of whose purchases are hidden, with `source.users` and without.

    python -m tests.benchmarks.profiles [--json] [--seeds 3] [--models two_tower,content] [--keep FOLDER]

Of every buyer with a profile and at least 8 purchases, the last 5 are the test part. A third of them keeps no purchase
before these, a third the last 1, 2 or 3, and a third all. Then a night goes its way, from `ingest` to `train`, and the
evaluated vectors rank all items for each buyer, given what is left of their purchases. Each buyer's value is the mean
over training seeds, and the difference is paired, buyer by buyer, with 95 % bootstrap intervals.

--keep: a folder for the shop and its workspace, so that a second run need not extract again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import cli
from pipeline.artefacts.staged import open_test
from pipeline.artefacts.vectors import read_vectors
from pipeline.config import load
from pipeline.evaluation.metrics import Task, inner_product, rank
from pipeline.interactions import Floats
from pipeline.night import Night, resume
from pipeline.sample import write_shop
from pipeline.steps.ingest import staged_of
from tests.benchmarks.fusion import difference, interval
from tests.benchmarks.harness import machine
from tests.benchmarks.nights import AS_OF

GROUPS = ("0", "1-3", "more")
TEST_CHOICES, LEAST_CHOICES, FEW = 5, 8, 3
METRICS = ("ndcg@10", "recall@20")
QUERY = (
    "select user_id, item_id, try_cast(ts as timestamp) as ts, try_cast(weight as double) as weight, part "
    "from read_csv('{file}', header = true, all_varchar = true)"
)


def cut(shop: Path) -> dict[str, str]:
    """Writes `cut.csv`, the log with its parts and without what is hidden; returns each judged buyer's group."""
    log = pd.read_csv(shop / "purchases.csv", dtype=str, keep_default_na=False)
    log.columns = pd.Index(["user_id", "item_id", "ts", "weight"])
    log["at"] = pd.to_datetime(log["ts"], errors="coerce", utc=True, format="mixed")
    log = log.dropna(subset="at").sort_values(["user_id", "at", "item_id"], kind="stable")
    said = pd.read_csv(shop / "buyers.csv", dtype=str, keep_default_na=False)
    telling = set(said.loc[said["profile"].str.strip() != "", "buyer_id"])
    rng, groups, parts = np.random.default_rng(0), {}, []
    for user, own in log.groupby("user_id", sort=True):
        part = np.full(len(own), "train", dtype=object)
        if user in telling and len(own) >= LEAST_CHOICES:
            groups[str(user)] = GROUPS[int(rng.integers(len(GROUPS)))]
            part = parts_of(len(own), groups[str(user)], rng)
        parts.append(own.assign(part=part))
    whole = pd.concat(parts)
    whole[whole["part"] != "hidden"].drop(columns="at").to_csv(shop / "cut.csv", index=False)
    return groups


def parts_of(count: int, group: str, rng: np.random.Generator) -> np.ndarray:
    """The part of each of a buyer's purchases, oldest first."""
    part = np.full(count, "train", dtype=object)
    part[-TEST_CHOICES:] = "test"
    if group == "more":
        part[-TEST_CHOICES - 1] = "validation"
    else:
        left = 0 if group == "0" else int(rng.integers(1, FEW + 1))
        part[: count - TEST_CHOICES - left] = "hidden"
    return part


def trained(shop: Path, model: str, seed: int, users: bool) -> Night:
    """A night up to `train` on what is left of the log."""
    changes = {
        "source.interactions": QUERY.format(file=shop / "cut.csv"),
        "source.shown": "",
        "ingest.split": "given",
        "train.model": model,
        "seed": seed,
        **({} if users else {"source.users": ""}),
    }
    overrides = [f"{key}={json.dumps(value) if value else ''}" for key, value in changes.items() if key != "seed"]
    arguments = [part for change in [*overrides, f"seed={seed}"] for part in ("-s", change)]
    run_id = f"{model}-{seed}-{'with' if users else 'without'}-{np.random.default_rng().integers(1 << 31)}"
    for verb in ("ingest", "extract", "fuse", "train"):
        begun = ["--as-of", AS_OF] if verb == "ingest" else []
        command = [verb, "-q", "-c", str(shop / "medley.yaml"), "--run-id", run_id, *begun, *arguments]
        cli.app(command, standalone_mode=False)
    return resume(load(shop / "medley.yaml", tuple(arguments[1::2])), run_id)


def values_of(night: Night, groups: dict[str, str]) -> dict[str, dict[str, Floats]]:
    """Group to metric to the values of its buyers, in the order of their names."""
    staged = staged_of(night)
    with tempfile.TemporaryDirectory() as scratch:
        log = open_test(staged, night.workspace, night.folder, "benchmark", Path(scratch))
    folder = night.workspace.path(night.receipt("train").path, "evaluated")
    users, items = (read_vectors(folder / f"{side}_vectors.parquet", f"{side}_id") for side in ("user", "item"))
    code = {user: place for place, user in enumerate(log.users)}
    assert users[0] == list(log.users)
    task = Task(log.of("train", "validation"), log.of("test"))
    scores = rank(inner_product(users[1], items[1]), task, (10, 20))
    at = {log.users[user]: place for place, user in enumerate(scores.users)}
    found: dict[str, dict[str, Floats]] = {}
    for group in GROUPS:
        own = [at[user] for user in sorted(groups) if groups[user] == group and user in code and user in at]
        found[group] = {metric: scores.values[metric][own] for metric in METRICS}
    return found


def measure(shop: Path, model: str, seeds: int) -> dict[str, Any]:
    """With and without profiles, by group: the means and the paired difference, with intervals."""
    groups = cut(shop)
    runs = {way: [values_of(trained(shop, model, seed, way), groups) for seed in range(seeds)] for way in (False, True)}
    entry: dict[str, Any] = {"model": model, "seeds": seeds}
    for group in GROUPS:
        mean = {
            way: {metric: np.mean([run[group][metric] for run in runs[way]], axis=0) for metric in METRICS}
            for way in runs
        }
        entry[group] = {"buyers": len(mean[True][METRICS[0]])} | {
            metric: {
                "without": interval(mean[False][metric]),
                "with": interval(mean[True][metric]),
                "gain": difference(mean[True][metric], mean[False][metric]),
            }
            for metric in METRICS
        }
    return entry


def table(entry: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{entry['model']}, {entry['seeds']} seeds: without profiles, with them, and the gain"]
    for group in GROUPS:
        for metric in METRICS:
            values = (entry[group][metric][way] for way in ("without", "with", "gain"))
            shown = "  ".join("{:.4f} [{:.4f}, {:.4f}]".format(*value) for value in values)
            lines.append(f"  {group:>4} purchases left ({entry[group]['buyers']} buyers)  {metric:<9}  {shown}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default="two_tower,content")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shop = given.keep or Path(folder) / "shop"
        if not (shop / "medley.yaml").exists():
            write_shop(shop)
        entries = []
        for model in given.models.split(","):
            entries.append(measure(shop, model, given.seeds))
            if not given.json:
                print(table(entries[-1]), flush=True)
    if given.json:
        print(json.dumps({"machine": machine(), "cases": entries}))


if __name__ == "__main__":
    main()
