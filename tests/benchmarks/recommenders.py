"""What each recommender is worth on published splits, beside closed forms that take seconds, and what it costs.

    python -m tests.benchmarks.recommenders [--json] [--seeds 3] [--models a,b] [--plot FILE.html]
                                            [tiktok] [lastfm] [gowalla] [beauty]

Every model is fitted on the training part; its settings are those that ship, its epoch and a closed form's settings
are chosen on validation, and the test part is read once for each fit. Full ranking without what a user's history has.
`-features` is the same model without the items' features. Each user's value is the mean over seeds; the gain over the
best model that reads no feature has a 95 % interval, paired user by user.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.metrics import Task, rank
from pipeline.night import peak_rss_bytes, reset_peak_rss
from pipeline.recommend import BASELINES, READS_MODALITIES, Model, baseline, build
from pipeline.runtime import threads
from tests.benchmarks.harness import DATA, machine
from tests.benchmarks.splits import NAMES, Split, load

OFF = "-features"
CLOSED = ("popularity", "item_knn", "rp3beta", "ease", "als")
LEARNED = ("elsa", "bpr", "vbpr", "lightgcn", "graph")
ASKED = {"beauty": (*CLOSED, "elsa", "sequence")}
# What a larger set needs, by what fits; chosen on validation like everything else.
CHANGES: Mapping[str, dict[str, dict[str, Any]]] = {
    "gowalla": {"elsa": {"batch_rows": 4096}, "graph": {"evaluate_every": 2}},
}
RESAMPLES = 1000


@dataclass(frozen=True)
class Run:
    """One fit: metric to each test user's value, on validation the mean, seconds and the epoch kept."""

    test: dict[str, np.ndarray]
    validation: dict[str, float]
    seconds: float
    epochs: int
    peak_rss_bytes: int


def made(name: str, split: Split, seed: int) -> Model:
    config = Config(seed=seed)
    if name in BASELINES:
        return baseline(name, config, threads(config))
    changes = CHANGES.get(split.name, {}).get(name, {})
    section = {"bpr": "pairwise", "vbpr": "pairwise", "lightgcn": "pairwise"}.get(name, name)
    own = getattr(config.train, section).model_copy(update=changes)
    train = config.train.model_copy(update={section: own})
    return build(name, config.model_copy(update={"train": train}), threads(config))


def run(label: str, split: Split, seed: int) -> Run:
    """Fits a model and reads both parts; the test part here and nowhere else."""
    name = label.removesuffix(OFF)
    model = made(name, split, seed)
    reset_peak_rss()
    fit = model.fit(split.content(name in READS_MODALITIES and not label.endswith(OFF)), split.train, split.validation)
    peak, cutoffs = peak_rss_bytes(), (split.cutoff,)
    seen = rank(model.scorer(split.train), Task(split.train, split.validation), cutoffs).values
    told = rank(model.scorer(split.history), Task(split.history, split.test), cutoffs).values
    names = (f"recall@{split.cutoff}", f"ndcg@{split.cutoff}")
    validation = {metric: float(seen[metric].mean()) for metric in names}
    return Run({metric: told[metric] for metric in names}, validation, fit.seconds, fit.chosen_epochs, peak)


def measure(split: Split, labels: list[str], seeds: int) -> dict[str, Any]:
    """Every model of a set; one that draws nothing is fitted once."""
    models, values = {}, {}
    for label in labels:
        runs = [run(label, split, seed) for seed in range(1 if label in CLOSED[:-1] else seeds)]
        values[label] = {metric: np.mean([one.test[metric] for one in runs], axis=0) for metric in runs[0].test}
        models[label] = {
            "test": {metric: [float(one.test[metric].mean()) for one in runs] for metric in runs[0].test},
            "validation": {metric: [one.validation[metric] for one in runs] for metric in runs[0].validation},
            "fit_seconds": [one.seconds for one in runs],
            "epochs": [one.epochs for one in runs],
            "peak_rss_bytes": max(one.peak_rss_bytes for one in runs),
        }
        print(line(label, models[label]), flush=True)
    metric = f"recall@{split.cutoff}"
    plain = [label for label in labels if label.removesuffix(OFF) not in READS_MODALITIES or label.endswith(OFF)]
    best_plain = max(plain, key=lambda label: values[label][metric].mean(), default=None)
    for label in labels:
        if best_plain and label != best_plain:
            models[label]["gain"] = gain(values[label][metric], values[best_plain][metric])
    return {"set": split.name, "metric": metric, "best_without_features": best_plain, "models": models}


def gain(values: np.ndarray, other: np.ndarray) -> list[float]:
    """Mean, low and high of the difference, paired, by a bootstrap over users."""
    difference, rng = values - other, np.random.default_rng(0)
    means = [difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(RESAMPLES)]
    return [float(difference.mean()), *(float(v) for v in np.percentile(means, [2.5, 97.5]))]


def line(label: str, entry: Mapping[str, Any]) -> str:
    parts = [
        f"{part} " + "  ".join(f"{metric} {np.mean(v):.4f} ± {np.std(v):.4f}" for metric, v in entry[part].items())
        for part in ("test", "validation")
    ]
    cost = f"{np.median(entry['fit_seconds']):.1f} s  {entry['peak_rss_bytes'] / 1e9:.1f} GB"
    return f"  {label:<16} {'   '.join(parts)}   {cost}  epoch {entry['epochs']}"


def labels_of(split: Split, asked: str) -> list[str]:
    if asked:
        return asked.split(",")
    if split.name in ASKED:
        return list(ASKED[split.name])
    kept = [name for name in LEARNED if split.features or name != "vbpr"]
    off = [f"{name}{OFF}" for name in kept if split.features and name in READS_MODALITIES and name != "vbpr"]
    return [*CLOSED, *kept, *off]


def plot(entries: list[dict[str, Any]], path: Path) -> None:
    """Seconds of training against quality, one panel a set."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=len(entries), subplot_titles=[f"{e['set']}: {e['metric']}" for e in entries])
    for column, entry in enumerate(entries, 1):
        found = entry["models"]
        x = [max(float(np.median(one["fit_seconds"])), 0.05) for one in found.values()]
        y = [float(np.mean(one["test"][entry["metric"]])) for one in found.values()]
        marks = go.Scatter(x=x, y=y, text=list(found), mode="markers+text", textposition="top center", showlegend=False)
        figure.add_trace(marks, row=1, col=column)
        figure.update_xaxes(type="log", title_text="seconds of training, settings searched included", row=1, col=column)
    figure.write_html(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*NAMES, []])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default="")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA}: no such folder; set MEDLEY_TEST_DATA to where the published splits are")
    found = []
    for name in given.sets or NAMES:
        split = load(name)
        print(
            f"{name}: {split.train.n_users} users, {split.train.n_items} items, {len(split.train)} choices", flush=True
        )
        found.append(measure(split, labels_of(split, given.models), given.seeds))
        for label, entry in found[-1]["models"].items():
            if "gain" in entry:
                mean, low, high = entry["gain"]
                print(f"  {label:<16} {mean:+.4f} [{low:+.4f}, {high:+.4f}] over {found[-1]['best_without_features']}")
    if given.plot:
        plot(found, given.plot)
    if given.json:
        print(json.dumps({"machine": machine(), "cases": found}))


if __name__ == "__main__":
    main()
