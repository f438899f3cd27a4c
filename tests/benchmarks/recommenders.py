"""What each recommender is worth, beside closed forms that take seconds, and what it costs.

    python -m tests.benchmarks.recommenders [--json] [--seeds 3] [--models a,b] [--plot FILE.html] [--keep FOLDER]
                                            [tiktok] [lastfm] [mmrec_sports] [mmrec_clothing] [gowalla] [beauty]
                                            [sports] [shop] [movies] [creatures]

All but the last three are published splits; of the others a night is staged and fused, as in `medley run`, and its test
part ranked, all items and those that training saw nothing of. A model's settings are those that ship; its epoch, and a
closed form's settings, are chosen on validation, and the test part is read once for each fit. Full ranking without what
a user's history has. `-content` is the same model without anything that items say, look or sound like. Each user's
value is the mean over seeds; the gain over the best model without content has a 95 % interval, paired user by user.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.config.sections import Evaluate
from pipeline.evaluation.metrics import Task, rank
from pipeline.evaluation.significance import compare
from pipeline.night import peak_rss_bytes, reset_peak_rss
from pipeline.recommend import build, kind_of
from pipeline.recommend.base import Model
from pipeline.runtime import threads
from tests.benchmarks.harness import DATA, machine
from tests.benchmarks.splits import NIGHTS, PUBLISHED, SEQUENCES, Split, load

OFF = "-content"
CLOSED = ("popularity", "item_knn", "rp3beta", "ease", "als")
IDS = ("bpr", "lightgcn")
ASKED = {
    **dict.fromkeys(SEQUENCES, (*CLOSED, "svd", "elsa", "sequence")),
    "gowalla": ("popularity", "rp3beta", "als", "svd", "elsa", "graph", "blend"),
}
# What fits into this machine's hours; chosen on validation like everything else.
READ_ONCE: dict[str, dict[str, Any]] = {"llm": {"tuning": "frozen", "history_items": 10, "title_tokens": 4}}
GOWALLA_GRAPH = {"evaluate_every": 3, "patience_epochs": 6, "width": 128}
CHANGES: Mapping[str, dict[str, dict[str, Any]]] = {
    "movies": READ_ONCE,
    "creatures": READ_ONCE,
    "gowalla": {
        "elsa": {"batch_rows": 4096},
        "graph": GOWALLA_GRAPH,
        "blend": {"members": ({"model": "svd"}, {"model": "graph", **GOWALLA_GRAPH}, {"model": "als"})},
    },
}
RESAMPLES = 1000


@dataclass(frozen=True)
class Run:
    """One fit: by segment, metric to each test user's value; on validation the mean; seconds and the epoch kept."""

    test: dict[str, dict[str, np.ndarray]]
    validation: dict[str, float]
    seconds: float
    epochs: int
    peak_rss_bytes: int


def made(name: str, split: Split, seed: int) -> Model:
    settings = kind_of(name).Settings(**CHANGES.get(split.name, {}).get(name, {}))
    return build(settings, seed, threads(Config()))


def run(label: str, split: Split, seed: int) -> Run:
    """Fits a model and reads both parts; the test part here and nowhere else."""
    name = label.removesuffix(OFF)
    content = split.bare() if label.endswith(OFF) else split.content(name)
    cutoffs = tuple({int(metric.split("@")[1]) for metric in split.metrics})
    reset_peak_rss()
    model = made(name, split, seed)
    # As a night chooses: on no more users than `evaluate.validation_users`.
    chosen_on = split.validation.sample_users(Evaluate().validation_users, seed)
    fit = model.fit(content, split.train, chosen_on)
    seconds = fit.seconds
    seen = rank(model.scorer(split.train), Task(split.train, split.validation), cutoffs).values
    if split.refit:
        model = made(name, split, seed)
        seconds += model.refit(content, split.history, fit).seconds
    peak = peak_rss_bytes()
    told = {part: rank(model.scorer(split.history), task, cutoffs).values for part, task in split.tasks.items()}
    test = {part: {metric: values[metric] for metric in split.metrics} for part, values in told.items()}
    validation = {metric: float(seen[metric].mean()) for metric in split.metrics}
    return Run(test, validation, seconds, fit.chosen_epochs, peak)


def measure(split: Split, labels: list[str], seeds: int) -> dict[str, Any]:
    """Every model of a set; one that draws nothing is fitted once."""
    models: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, np.ndarray]] = {}
    metric = split.metrics[0]
    for label in labels:
        runs = [run(label, split, seed) for seed in range(1 if label in CLOSED[:-1] else seeds)]
        values[label] = {part: np.mean([one.test[part][metric] for one in runs], axis=0) for part in split.tasks}
        models[label] = {
            part: {name: [float(one.test[part][name].mean()) for one in runs] for name in split.metrics}
            for part in split.tasks
        } | {
            "validation": {name: [one.validation[name] for one in runs] for name in split.metrics},
            "fit_seconds": [one.seconds for one in runs],
            "epochs": [one.epochs for one in runs],
            "peak_rss_bytes": max(one.peak_rss_bytes for one in runs),
        }
        print(line(label, models[label], (*split.tasks, "validation")), flush=True)
    first = next(iter(split.tasks))
    bare = [label for label in labels if label in (*CLOSED, *IDS) or label.endswith(OFF) or not split.features]
    best = max(bare, key=lambda label: values[label][first].mean(), default=None)
    for label in labels:
        if best and label != best:
            models[label]["gain"] = {
                part: compare({label: values[label][part]}, values[best][part], RESAMPLES, 0)[label]
                for part in split.tasks
            }
    return {"set": split.name, "metric": metric, "best_without_content": best, "models": models}


def line(label: str, entry: Mapping[str, Any], parts: tuple[str, ...]) -> str:
    told = [
        f"{part} " + "  ".join(f"{metric} {np.mean(v):.4f} ± {np.std(v):.4f}" for metric, v in entry[part].items())
        for part in parts
    ]
    cost = f"{np.median(entry['fit_seconds']):.1f} s  {entry['peak_rss_bytes'] / 1e9:.1f} GB"
    return f"  {label:<18} {'   '.join(told)}   {cost}  epoch {entry['epochs']}"


def labels_of(split: Split, asked: str) -> list[str]:
    """The models asked for; unless told, all that the set has something for, with their content and without."""
    if asked:
        return asked.split(",")
    if split.name in ASKED:
        return list(ASKED[split.name])
    night = split.name in NIGHTS
    found = ["random", *CLOSED, *IDS] if night else [*CLOSED, *IDS]
    for name in ("svd", "elsa", "vbpr", "graph", *(("content", "two_tower", "sequence", "llm") if night else ())):
        found += [name] if name in ("vbpr", "content") else [name, f"{name}{OFF}"]
    return found


def plot(entries: list[dict[str, Any]], path: Path) -> None:
    """Seconds of training against quality, one panel a set."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    titles = [f"{entry['set']}, {entry['metric']}" for entry in entries]
    figure = make_subplots(rows=1, cols=len(entries), subplot_titles=titles)
    for column, entry in enumerate(entries, 1):
        part = "test" if entry["set"] in PUBLISHED else "all"
        points = sorted(
            (max(float(np.median(one["fit_seconds"])), 0.05), float(np.mean(one[part][entry["metric"]])), name)
            for name, one in entry["models"].items()
        )
        x, y, names = zip(*points, strict=True)
        # Labels of points beside each other stand on either side of them.
        sides = ["middle left" if place % 2 else "middle right" for place in range(len(points))]
        marks = go.Scatter(x=x, y=y, text=names, mode="markers+text", textposition=sides, cliponaxis=False)
        figure.add_trace(marks, row=1, col=column)
        span = [np.log10(x[0]) - 0.2, np.log10(x[-1]) + 0.3]
        label = "seconds of training, settings searched included"
        figure.update_xaxes(type="log", dtick=1, range=span, title_text=label, row=1, col=column)
    figure.update_layout(template="plotly_white", showlegend=False, margin={"l": 50, "r": 20, "t": 40, "b": 50})
    figure.write_html(path, config={"displayModeBar": False})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*PUBLISHED, *NIGHTS, []])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default="")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for fused workspaces, so that a second run finds them")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA}: no such folder; set MEDLEY_TEST_DATA to where the data sets are")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.sets or (*PUBLISHED, *NIGHTS):
            found.append(told(load(name, given.keep or Path(scratch)), given))
    if given.plot:
        plot(found, given.plot)
    if given.json:
        print(json.dumps({"machine": machine(), "cases": found}))


def told(split: Split, given: argparse.Namespace) -> dict[str, Any]:
    """Measures a set and prints it."""
    shape = f"{split.train.n_users} users, {split.train.n_items} items, {len(split.train)} choices"
    print(f"{split.name}: {shape}", flush=True)
    found = measure(split, labels_of(split, given.models), given.seeds)
    for label, entry in found["models"].items():
        for part, gain in entry.get("gain", {}).items():
            told = f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
            print(f"  {label:<18} {part} {told} over {found['best_without_content']}")
    return found


if __name__ == "__main__":
    main()
