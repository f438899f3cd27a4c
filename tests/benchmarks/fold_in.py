"""What a user's history of today is worth beside last night's vector, on the sample shop and on real films.

    python -m tests.benchmarks.fold_in [shop] [movies] [--models als,svd,two_tower] [--keep FOLDER] [--json]

A night is run and published on what was chosen before some moment. Of who chose something before and at least two items
after it, the first half of these is today's history, and the rest is to be found among all that they do not have then:

- last night: the best for the vector that is published for the user, without what they have by now;
- today: `recommend(user, history)`, the history being all that they chose, today's choices included.

Values are NDCG@10, user by user; the gain is the paired difference, with its 95 % bootstrap interval. In the shop the
moment is one for all, that of four fifths of the log; films were rated by most in one sitting, and there it is each
user's own, after four fifths of their choices. Films are told by their words alone.

--keep: a folder for the sets and their workspaces, so that a second run need not extract again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pipeline.artefacts.staged import INTERACTIONS
from pipeline.evaluation.significance import compare
from pipeline.interactions import Floats, Int64s
from pipeline.serving import Choice, Index
from tests.benchmarks.harness import machine
from tests.benchmarks.nights import AS_OF, ROOT, prepare

MODELS = "als,svd,two_tower,sequence,auto"
# Of the log, or of a user's own choices, what is before the moment; and of what is after it, what is today's history.
BEFORE = {"shop": 0.8, "movies": 0.8}
OWN_MOMENT = ("movies",)
WORDS_ALONE = {"movies": ("-s", "extract.image=null", "-s", "extract.text={encoder: tfidf}")}
TODAY, DEPTH, SAMPLES, SEED = 0.5, 10, 2000, 0
QUERY = (
    "select user_id, item_id, try_cast(ts as timestamp) as ts, try_cast(weight as double) as weight "
    "from read_csv('{file}', header = true, all_varchar = true)"
)
# The first stage alone is asked, whatever it is worth.
LEAN = (
    "rerank.enabled=false",
    "evaluate.baselines=[{model: popularity}]",
    "evaluate.bootstrap_samples=50",
    "publish.gate.min_ratio=0",
    "publish.gate.min_published_ratio=0",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*BEFORE, []])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.sets or BEFORE:
            folder = (given.keep or Path(scratch)) / name
            log = whole_log(name, folder)
            later = cut(name, log, folder)
            for model in given.models.split(","):
                cases.append({"set": name, "model": model} | measured(run(name, folder, model), log, later))
                if not given.json:
                    print(shown(cases[-1]), flush=True)
    if given.json:
        print(json.dumps({"machine": machine(), "cases": cases}))


def whole_log(name: str, folder: Path) -> pd.DataFrame:
    """All choices of a set as `ingest` cleans them: user_id, item_id, ts, weight, by user and oldest first."""
    if not (folder / "whole").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps([*prepare(name, folder / "set"), *WORDS_ALONE.get(name, ())]))
        medley("ingest", folder, "whole", "-s", f"workspace={folder / 'whole'}")
    (staged,) = (folder / "whole").glob(f"staged/*/{INTERACTIONS}")
    log = pq.read_table(staged, columns=["user_id", "item_id", "ts", "weight"]).to_pandas()
    return log.sort_values(["user_id", "ts", "item_id"], kind="stable", ignore_index=True)


def cut(name: str, log: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Writes `cut.csv`, what was chosen before the moment, and returns the rest."""
    if name in OWN_MOMENT:
        of_user = log.groupby("user_id")["ts"]
        before = of_user.cumcount() < np.ceil(BEFORE[name] * of_user.transform("size"))
        # What shares the moment is on one side of it.
        before = log["ts"] < log["ts"].where(~before).groupby(log["user_id"]).transform("min").fillna(log["ts"].max())
    else:
        before = log["ts"] < log["ts"].quantile(BEFORE[name])
    log[before].to_csv(folder / "cut.csv", index=False)
    return log[~before]


def run(name: str, folder: Path, model: str) -> Index:
    """The published night of a model, made of what was chosen before the moment."""
    query = f"source.interactions={json.dumps(QUERY.format(file=folder / 'cut.csv'))}"
    settings = (f"workspace={folder / 'workspace'}", query, "source.shown=", f"train.model={model}", *LEAN)
    options = [part for setting in settings for part in ("-s", setting)]
    medley("run", folder, f"{model}-{time.time_ns()}", *options)
    return Index.open(folder / "workspace")


def medley(verb: str, folder: Path, run_id: str, *more: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    command = [sys.executable, "-m", "pipeline.cli", verb, "-q", *config, "--as-of", AS_OF, "--run-id", run_id, *more]
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True, env=dict(os.environ))


def measured(index: Index, log: pd.DataFrame, later: pd.DataFrame) -> dict[str, Any]:
    """NDCG@10 both ways, and the gain, over users."""
    known = {item: row for row, item in enumerate(index.published.items(["item_id"])["item_id"].to_pylist())}
    vectors = set(index.published.users(["user_id"])["user_id"].to_pylist())
    histories = {user: own for user, own in log.groupby("user_id") if user in vectors}
    night, today = [], []
    for user, own in later.groupby("user_id"):
        if user not in histories or len(own) < 2:
            continue
        new = own.iloc[: int(np.ceil(TODAY * len(own)))]
        history = histories[user][~histories[user].index.isin(own.index[len(new) :])]
        history = history[history["item_id"].isin(known.keys())]
        has = set(history["item_id"])
        wanted = (set(own["item_id"][len(new) :]) & known.keys()) - has
        if not wanted or not set(new["item_id"]) & known.keys():
            continue
        night.append(ndcg(last_night(index, user, np.array([known[item] for item in has])), wanted))
        today.append(ndcg([hit.item_id for hit in index.recommend(user, choices(history), k=DEPTH).hits], wanted))
    base = np.array(night)
    gain = compare({"gain": np.array(today)}, base, SAMPLES, SEED)["gain"]
    return {
        "users": len(base),
        "last night": round(float(base.mean()), 4),
        "today": round(float(np.mean(today)), 4),
        "gain": [round(gain[name], 4) for name in ("mean", "low", "high")],
        "p": round(gain["p"], 4),
        "chosen": index.published.card["model"],
    }


def last_night(index: Index, user: str, has: Int64s) -> list[str]:
    """The best for the published vector, without what the user has by now."""
    vectors, (seen,) = index.users([user])
    (ids,) = index.nearest(vectors, DEPTH, exclude=[np.union1d(seen, has)]).item_ids()
    return ids


def choices(history: pd.DataFrame) -> list[Choice]:
    """Oldest first, with their ages."""
    ages = (history["ts"].max() - history["ts"]).dt.total_seconds() / 86_400
    return [Choice(*row) for row in zip(history["item_id"], history["weight"], ages, strict=True)]


def ndcg(found: list[str], wanted: set[str]) -> float:
    gains = 1 / np.log2(np.arange(2, DEPTH + 2))
    hits: Floats = np.array([item in wanted for item in found], np.float32)
    return float((hits * gains[: len(hits)]).sum() / gains[: min(len(wanted), DEPTH)].sum())


def shown(case: dict[str, Any]) -> str:
    """For people."""
    gain = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*case["gain"])
    ways = f"last night {case['last night']:.4f}  today {case['today']:.4f}"
    return f"{case['set']:<7} {case['model']:<10} {case['users']:>5} users  {ways}  gain {gain}  p {case['p']}"


if __name__ == "__main__":
    main()
