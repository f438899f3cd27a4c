"""What fusing is worth: every kind beside each modality alone, on the sample shop and on real data.

    python -m tests.benchmarks.fusion [--json] [--seeds 5] [--keep FOLDER] [shop] [movies] [creatures] [--kinds a,b]
    python -m tests.benchmarks.fusion cost [--items 10000,100000,1000000]

- co-choice: Recall@10 of held-out co-choices (see `evaluation.item_similarity`), of items that training saw and of
  items held out of it, with 95 % bootstrap intervals over users; the ratio to the best single modality and the loss
  without each modality are paired, user by user. Each user's value is the mean over seeds.
- cross-modal: for items held out of training, recall@10 of the item itself, asked by one modality alone among all items
  by another alone.
- missing: Recall@10 when a share of one modality's vectors is taken away at random after the fit, beside the best
  single modality under the same loss.

--keep: a folder for the extracted workspaces, so that a second run need not extract again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cli
from pipeline.artefacts.log import OpenedLog
from pipeline.artefacts.staged import open_test
from pipeline.config import Modality, load
from pipeline.evaluation.item_similarity import SEGMENTS, Questions, questions, recall
from pipeline.evaluation.ranking import block_rows
from pipeline.fusion.base import Fusion
from pipeline.fusion.fit import Material, fit
from pipeline.fusion.projected import InMemory, Mask, Projected
from pipeline.interactions import Floats
from pipeline.night import resume
from pipeline.runtime import threads
from pipeline.steps.fuse import shards_of
from pipeline.steps.ingest import staged_of
from pipeline.training.context import Context
from tests.benchmarks.fusion_cost import costs, settings_of
from tests.benchmarks.harness import machine
from tests.benchmarks.nights import DATA, SETS, prepare

KINDS = ("linear", "linear-learned", "concat", "concat-whitened", "dnn", "attention", "gnn", "align")
LOSSES = (0.25, 0.5, 0.75, 0.9)
K = 10
RESAMPLES = 1000


@dataclass(frozen=True)
class Set:
    """One extracted set: what is fitted on, its log, the modalities' own vectors, and the questions by segment."""

    name: str
    material: Material
    log: OpenedLog
    alone: dict[Modality, Floats]
    asked: dict[str, Questions]


def opened(name: str, folder: Path) -> Set:
    """Ingests and extracts a set into the folder, or finds it there."""
    marker = folder / "extracted"
    written = name == "shop" and marker.exists()
    config = ("-c", str(folder / "medley.yaml")) if written else prepare(name, folder)
    arguments = [*config, "-s", f"workspace={folder / 'workspace'}"]
    if not marker.exists():
        for verb in ("ingest", "extract"):
            cli.app([verb, "-q", *arguments], standalone_mode=False)
        marker.touch()
    night = resume(load(Path(arguments[1]), tuple(arguments[3::2])), None)
    with tempfile.TemporaryDirectory() as scratch:
        log = open_test(staged_of(night), night.workspace, night.folder, "benchmark", Path(scratch))
    shards, spaces = shards_of(night)
    parts = [
        shards.read(bucket)[1] for bucket in range(len(shards)) if shards.starts[bucket] < shards.starts[bucket + 1]
    ]
    alone = {m: np.concatenate([part[m] for part in parts]) for m in shards.modalities}
    window = night.config.evaluate.window_choices
    asked = {segment: questions(log, segment, window, 0) for segment in SEGMENTS}
    material = Material(shards, spaces, log.of("train"), ~log.cold, Context(0, threads(night.config)))
    return Set(name, material, log, alone, asked)


@dataclass(frozen=True)
class Fused:
    """A fitted kind over a catalogue: its vectors under any mask of modalities."""

    fusion: Fusion
    projected: Projected
    mask: Mask

    def vectors(self, keep: Mask | None = None) -> Floats:
        return self.fusion.vectors(self.projected, np.arange(len(self.mask)), keep)[0]

    def only(self, places: list[int]) -> Mask:
        return np.isin(np.arange(self.mask.shape[1]), places)[None].repeat(len(self.mask), axis=0)


def fused(found: Set, kind: str, seed: int, scratch: Path) -> tuple[Fused, float]:
    """A kind fitted with a seed, and the seconds that took."""
    material = replace(found.material, context=replace(found.material.context, seed=seed))
    begin = time.perf_counter()
    fitted = fit(settings_of(kind), material, scratch)
    seconds = time.perf_counter() - begin
    projected: Projected = fitted.projected or InMemory(*fitted.fusion.frontend.project(found.alone))
    return Fused(fitted.fusion, projected, projected.read(np.arange(len(found.log.items)))[1]), seconds


def per_user(found: Set, vectors: Floats) -> dict[str, Floats]:
    """recall@10 of every user of each segment."""
    return {segment: recall(vectors, asked, K).values[f"recall@{K}"] for segment, asked in found.asked.items()}


def measure(found: Set, kinds: list[str], seeds: int) -> dict[str, Any]:
    """Everything about one set."""
    names = list(found.alone)
    singles = {m: per_user(found, vectors) for m, vectors in found.alone.items()}
    best = {s: max(names, key=lambda m: singles[m][s].mean() if len(singles[m][s]) else 0) for s in SEGMENTS}
    document: dict[str, Any] = {"set": found.name, "items": len(found.log.items), "seeds": seeds, "best_single": best}
    document["questions"] = {s: [len(asked), len(np.unique(asked.user))] for s, asked in found.asked.items()}
    document["alone"] = {m: {s: interval(values) for s, values in singles[m].items()} for m in names}
    document["kinds"] = {}
    for kind in kinds:
        entry = measured(found, kind, seeds, singles, best)
        document["kinds"][kind] = entry
        print(f"{found.name} {kind}: {entry['seconds']:.0f} s a fit", file=sys.stderr, flush=True)
    return document


def measured(
    found: Set, kind: str, seeds: int, singles: dict[Modality, dict[str, Floats]], best: dict[str, Modality]
) -> dict[str, Any]:
    """One kind on one set: its means over seeds, user by user, and what depends on them."""
    runs, crossed, curves, seconds = [], [], [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as scratch:
            made, took = fused(found, kind, seed, Path(scratch))
            seconds.append(took)
            whole = per_user(found, made.vectors())
            places = range(made.mask.shape[1])
            without = [per_user(found, made.vectors(~made.only([place]))) for place in places]
            runs.append((whole, without))
            crossed.append(cross(found, made))
            curves.append(missing_curve(found, made, seed))
    entry: dict[str, Any] = {"seconds": float(np.median(seconds))}
    for segment in SEGMENTS:
        whole = np.mean([run[0][segment] for run in runs], axis=0)
        entry[segment] = {
            "recall": interval(whole),
            "seeds": [round(float(run[0][segment].mean()), 4) for run in runs],
            "ratio": ratio(whole, singles[best[segment]][segment]),
            "without": {
                m: difference(whole, np.mean([run[1][place][segment] for run in runs], axis=0))
                for place, m in enumerate(made.fusion.frontend.modalities)
            },
        }
    entry["cross"] = {way: round(float(np.mean([c[way] for c in crossed])), 4) for way in crossed[0]}
    entry["chance"] = chance(made)
    entry["missing"] = {
        key: [round(float(np.mean([curve[key][i] for curve in curves])), 4) for i in range(2)] for key in curves[0]
    }
    return entry


def cross(found: Set, made: Fused) -> dict[str, float]:
    """recall@10 of held-out items, each direction."""
    names = made.fusion.frontend.modalities
    alone = [made.vectors(made.only([place])) for place in range(len(names))]
    results = {}
    for asked, name in enumerate(names):
        for told, other in enumerate(names):
            if asked != told:
                items = np.flatnonzero(found.log.cold & made.mask[:, asked] & made.mask[:, told])
                among = np.flatnonzero(made.mask[:, told])
                results[f"{name} to {other}"] = _found(alone[asked][items], alone[told][among], among, items)
    return results


def _found(queries: Floats, vectors: Floats, among: np.ndarray, items: np.ndarray) -> float:
    answers, hits = np.searchsorted(among, items), []
    rows = block_rows(len(among))
    for start in range(0, len(items), rows):
        scores = queries[start : start + rows] @ vectors.T
        right = scores[np.arange(len(scores)), answers[start : start + rows]][:, None]
        hits.append((scores > right).sum(axis=1) + ((scores == right).sum(axis=1) - 1) / 2 < K)
    return float(np.concatenate(hits).mean()) if hits else float("nan")


def chance(made: Fused) -> dict[str, float]:
    """recall@10 of a draw at random among the items that have the modality."""
    return {m: round(K / int(made.mask[:, i].sum()), 4) for i, m in enumerate(made.fusion.frontend.modalities)}


def missing_curve(found: Set, made: Fused, seed: int) -> dict[str, list[float]]:
    """Modality and share lost to [this kind, the best single modality], recall@10 of warm co-choices."""
    names = made.fusion.frontend.modalities
    asked, curve = found.asked["co_choice"], {}
    rng = np.random.default_rng([seed, 7])
    for place, name in enumerate(names):
        order = rng.random(len(made.mask))
        for share in LOSSES:
            keep = np.ones_like(made.mask)
            keep[:, place] = order >= share
            kind = recall(made.vectors(keep), asked, K).values[f"recall@{K}"].mean()
            left = []
            for other, vectors in found.alone.items():
                kept = vectors.copy()
                if other == name:
                    kept[order < share] = np.nan
                left.append(recall(kept, asked, K).values[f"recall@{K}"].mean())
            curve[f"{name} -{share:.0%}"] = [float(kind), float(max(left))]
    return curve


def resampled(values: Floats) -> Iterator[np.ndarray]:
    """The same resamples of users for everything that is compared."""
    rng = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield rng.integers(0, len(values), len(values))


def interval(values: Floats) -> list[float]:
    """Mean, low and high of a 95 % bootstrap over users."""
    means = [values[rows].mean() for rows in resampled(values)]
    return [round(float(v), 4) for v in (values.mean(), *np.percentile(means, [2.5, 97.5]))]


def ratio(values: Floats, base: Floats) -> list[float]:
    """Ratio of means, paired."""
    means = [values[rows].mean() / max(base[rows].mean(), 1e-9) for rows in resampled(values)]
    return [round(float(v), 3) for v in (values.mean() / base.mean(), *np.percentile(means, [2.5, 97.5]))]


def difference(values: Floats, other: Floats) -> list[float]:
    """What is lost: mean of values - other, paired."""
    return interval(values - other)


def table(entry: dict[str, Any]) -> str:
    lines = [f"{entry['set']}: {entry['items']} items, {entry['seeds']} seeds; Recall@{K} of held-out co-choices"]
    for segment in SEGMENTS:
        asked, users = entry["questions"][segment]
        lines.append(f"  {segment} ({asked} questions of {users} users; best alone: {entry['best_single'][segment]})")
        lines += [f"    {name:<16} {_told(values[segment])}" for name, values in entry["alone"].items()]
        for kind, found in entry["kinds"].items():
            own = found[segment]
            lost = "  ".join(f"-{m} {_told(v)}" for m, v in own["without"].items())
            spread = f"{min(own['seeds']):.4f}-{max(own['seeds']):.4f}"
            lines.append(
                f"    {kind:<16} {_told(own['recall'])}  x {_told(own['ratio'], 2)}  seeds {spread}  costs {lost}"
            )
    lines.append("  cross-modal, items held out of training, recall@10")
    for kind, found in entry["kinds"].items():
        ways = "  ".join(f"{way} {value:.3f}" for way, value in found["cross"].items())
        lines.append(f"    {kind:<16} {ways}")
    lines.append(f"    chance           {next(iter(entry['kinds'].values()))['chance']}")
    lines.append("  a modality's vectors taken away: this kind / the best single modality left")
    for kind, found in entry["kinds"].items():
        below = [key for key, (own, single) in found["missing"].items() if own < single]
        curve = "  ".join(f"{key} {own:.4f}/{single:.4f}" for key, (own, single) in found["missing"].items())
        lines.append(f"    {kind:<16} {curve}  below in {len(below)} of {len(found['missing'])}")
    return "\n".join(lines)


def _told(values: list[float], digits: int = 4) -> str:
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*SETS, "cost", []])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--items", default="10000,100000,1000000")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    kinds, found = given.kinds.split(","), []
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder)
        for name in given.what or [*SETS, "cost"]:
            if name == "cost":
                found.append(costs([int(n) for n in given.items.split(",")], kinds, Path(folder)))
            elif name == "shop" or DATA.is_dir():
                found.append(measure(opened(name, root / name), kinds, given.seeds))
                if not given.json:
                    print(table(found[-1]), flush=True)
    if given.json:
        print(json.dumps({"machine": machine(), "cases": found}))


if __name__ == "__main__":
    main()
