"""Full-ranking evaluation beside cornac's `ranking_eval`: the same vectors, the same test, recall@20 and NDCG@20.

    python -m tests.benchmarks.evaluator [--json] [--rounds 3] [--cornac PYTHON] [tiktok] [gowalla]

The vectors are ALS's. cornac is given them as a recommender whose scores are one product, and lives in an environment
of its own: PYTHON is an interpreter that has it; without, one is made in a temporary folder. Both ways run in processes
of their own, turn by turn, and a ratio is the median of the rounds'. Where cornac would take more than MOST_SECONDS, it
is timed on a random sample of the test's users, and values are compared on those.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.evaluation import metrics
from pipeline.evaluation import ranking as lists
from pipeline.evaluation.metrics import Rankings, Task
from pipeline.interactions import Interactions
from pipeline.night import peak_rss_bytes, reset_peak_rss
from pipeline.recommend import recommender
from pipeline.recommend.models.als import AlsSettings
from pipeline.runtime import threads
from tests.benchmarks.harness import ROOT, Case, Quality, child_environment, document
from tests.benchmarks.splits import Split, load

SETS = ("tiktok", "gowalla")
CORNAC = "cornac==3.0.1"
CUTOFF = 20
TARGET = 20.0
MOST_SECONDS = 300
PROBED_USERS = 200
METRICS = (f"recall@{CUTOFF}", f"ndcg@{CUTOFF}")


def written(split: Split, folder: Path) -> int:
    """Writes what both ways read, and returns how many test users there are."""
    config = Config()
    task, model = split.tasks["test"], recommender(AlsSettings(), 0, threads(config))
    model.fit(split.content("als"), split.train)
    arrays = {
        "users": model.user_vectors(task.history),
        "items": model.item_vectors,
        "train": np.stack([task.history.user, task.history.item]),
        "test": np.unique(np.stack([task.targets.user, task.targets.item]), axis=1),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return len(np.unique(task.targets.user))


def coded(pairs: np.ndarray, n_users: int, n_items: int) -> Interactions:
    """Pairs (2, n), sorted by user, as a log without times."""
    n = pairs.shape[1]
    return Interactions(pairs[0], pairs[1], np.zeros(n), np.ones(n, np.float32), n_users, n_items)


def ours(folder: Path) -> dict[str, Any]:
    """Our way, once, and where its time goes."""
    users, items, train, test = (np.load(folder / f"{name}.npy") for name in ("users", "items", "train", "test"))
    shape = len(users), len(items)
    task = Task(coded(train, *shape), coded(test, *shape))
    took = {"lists": 0.0, "ranking": 0.0}

    def timed(name: str, work: Any) -> Any:
        def run(*arguments: Any) -> Any:
            begin = time.perf_counter()
            found = work(*arguments)
            took[name] += time.perf_counter() - begin
            return found

        return run

    lists.listed = timed("ranking", lists.listed)
    for kind in (lists.Best, lists.BestOfProducts):
        kind.of = timed("lists", kind.of)  # type: ignore[method-assign]
    scorer = metrics.inner_product(users, items)
    scorer(np.zeros(1, np.int32))
    reset_peak_rss()
    begin = time.perf_counter()
    ready = Rankings({"": task})
    took["making ready"] = time.perf_counter() - begin
    scores = ready.of(scorer, (CUTOFF,))[""]
    seconds = time.perf_counter() - begin
    took["products"] = took.pop("lists") - took["ranking"]
    np.save(folder / "ours.npy", np.stack([scores.users, *(scores.values[name] for name in METRICS)]))
    shares = {name: round(part / seconds, 3) for name, part in took.items()}
    return {"seconds": seconds, "users": len(scores.users), "peak_rss_bytes": peak_rss_bytes(), "shares": shares}


def measure(name: str, cornac: str, rounds: int) -> Case:
    """One set."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        users = written(load(name, folder), folder)
        probe = child([cornac, str(Path(__file__).with_name("evaluator_peer.py")), scratch, str(PROBED_USERS)])
        asked = min(users, int(MOST_SECONDS * probe["users"] / probe["seconds"]))
        runs = []
        for number in range(rounds):
            pair = {}
            for way in ("ours", "cornac")[:: 1 if number % 2 else -1]:
                peer = [cornac, str(Path(__file__).with_name("evaluator_peer.py")), scratch, str(asked)]
                own = [sys.executable, "-m", "tests.benchmarks.evaluator", "--child", scratch]
                pair[way] = child(own if way == "ours" else peer)
                print(f"  {name} {way}: {pair[way]['seconds']:.2f} s, {pair[way]['users']} users", file=sys.stderr)
            runs.append(pair)
        mine, other = np.load(folder / "ours.npy"), np.load(folder / "cornac.npy")
    rate = {way: statistics.median(r[way]["users"] / r[way]["seconds"] for r in runs) for way in ("ours", "cornac")}
    ratios = [r["ours"]["users"] / r["ours"]["seconds"] / (r["cornac"]["users"] / r["cornac"]["seconds"]) for r in runs]
    both = mine[:, np.isin(mine[0], other[0])]
    gap = float(np.abs(both[1:].mean(axis=1) - other[1:].mean(axis=1)).max())
    means = ", ".join(f"{metric} {value:.6f}" for metric, value in zip(METRICS, mine[1:].mean(axis=1), strict=True))
    notes = [
        f"{means} of {mine.shape[1]} users",
        f"the largest difference of a mean is {gap:.1e}; {int((both[1:] != other[1:]).any(axis=0).sum())} users differ",
        f"ours spends its time on {runs[-1]['ours']['shares']}",
        f"ratio of rounds {min(ratios):.1f} to {max(ratios):.1f}",
    ]
    if asked < users:
        notes.append(f"cornac ranked a random sample of {other.shape[1]} of {users} users")
    peaks = {way: max(r[way]["peak_rss_bytes"] for r in runs) for way in ("ours", "cornac")}
    quality = Quality("1 - largest difference of a mean", 1 - gap, 1 - 1e-5)
    return Case(
        f"{name}, users a second", rate["ours"], ("cornac", rate["cornac"]), statistics.median(ratios),
        quality=quality, peak_rss_bytes=peaks, target=TARGET, notes=notes,
    )  # fmt: skip


def told(case: Case) -> list[str]:
    """A case for people."""
    met = "met" if case.met else "NOT met"
    rates = f"ours {case.ours:,.0f}, cornac {case.other[1]:,.0f}"
    peaks = ", ".join(f"{way} {peak / 1e6:,.0f} MB" for way, peak in case.peak_rss_bytes.items())
    head = f"{case.name}: {rates}: {case.ratio:.1f} × (at least {TARGET:.0f}, {met})"
    return [head, *(f"  {note}" for note in case.notes), f"  peak memory {peaks}"]


def child(command: list[str]) -> dict[str, Any]:
    """Runs a way in a process of its own and returns what it says."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=child_environment(), check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def cornac_in(folder: Path) -> str:
    """An interpreter that has cornac."""
    print(f"installing {CORNAC} in {folder}", file=sys.stderr)
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", CORNAC], check=True)
    return str(python)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cornac", default="")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.child:
        print(json.dumps(ours(given.child)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        cornac = given.cornac or cornac_in(Path(scratch) / "cornac")
        cases = [measure(name, cornac, given.rounds) for name in given.sets or SETS]
    print("\n".join(line for case in cases for line in told(case)))
    if given.json:
        print(json.dumps(document(cases)))


if __name__ == "__main__":
    main()
