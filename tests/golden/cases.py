"""What has a golden result: each step, and each kind of encoder, fusion and model, on a tiny night.

Of vectors, what is kept does not depend on the signs of axes, which another linear algebra library may turn: inner
products of some rows with others, and of users with items.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import JsonValue

from pipeline import steps
from pipeline.config import FUSIONS as FUSION_KINDS
from pipeline.config import Config, Section
from pipeline.config.train import RECOMMENDERS
from pipeline.night import Night, begin
from pipeline.steps import perform
from tests.golden.compare import PLACES
from tests.golden.source import AS_OF, write_source

STEPS = [step.name for step in steps.STEPS]
# Small enough for seconds, wherever a section has a setting of that name.
QUICK: dict[str, Any] = {
    "max_epochs": 2, "width": 8, "content_width": 8, "widths": [8], "hidden": 16, "heads": 2, "layers": 1,
    "batch_rows": 32, "batch_users": 16, "batch_pairs": 64, "batch_positions": 64, "negatives": 16, "history_items": 6,
    "factors": 8, "iterations": 2, "bootstrap_samples": 20, "candidates": 12, "rounds": 1, "min_shown_choices": 1,
}  # fmt: skip
SHOWN_METRICS = ("ndcg@10", "recall@20", "mrr@10", "novelty@10", "diversity@10", "popularity_lift@10", "coverage@10")
ENGINE = {"engine": "torch", "precision": "fp32"}
ENCODERS: dict[str, dict[str, dict[str, Any]]] = {
    "text": {
        "tfidf": {"encoder": "tfidf", "width": 8},
        "bow": {"encoder": "bow", "width": 8, "ngrams": 2},
        "word2vec": {"encoder": "word2vec", "width": 8},
        "transformer": {"encoder": "transformer", **ENGINE},
    },
    "image": {"timm": {"encoder": "timm", **ENGINE}},
    "audio": {"mfcc": {"encoder": "mfcc"}, "logmel_cnn": {"encoder": "logmel_cnn", **ENGINE}},
}
ENCODER_MODULES = {
    "tfidf": "encoders.text.kinds.bow",
    "bow": "encoders.text.kinds.bow",
    "word2vec": "encoders.text.kinds.glove",
    "transformer": "encoders.text.kinds.transformer",
    "timm": "encoders.image.kinds.timm",
    "mfcc": "encoders.audio.kinds.mfcc",
    "logmel_cnn": "encoders.audio.kinds.logmel_cnn",
}
BASELINES = ("popularity", "random", "item_knn", "rp3beta", "ease", "als")
FUSIONS = FUSION_KINDS.names()
MODELS = [name for name in RECOMMENDERS.names() if RECOMMENDERS.find(name).vectors]  # type: ignore[attr-defined]
# What a kind must be told besides QUICK: a language model of random weights, and a blend of quick models.
TOLD: dict[str, dict[str, Any]] = {
    "llm": {"weights": "", "tuning": "full", "scratch": {"width": 16, "vocabulary": 300}, "title_tokens": 4},
    "blend": {"members": [{"model": "bpr"}, {"model": "als"}]},
    "auto": {"members": [{"model": "svd"}, {"model": "als"}]},
}


@dataclass(frozen=True)
class Case:
    """A step on one of its kinds. modules: below `pipeline`, whose VERSION names what the step makes."""

    step: str
    name: str
    modules: tuple[str, ...]
    run: Callable[[TinyNight], JsonValue]


class TinyNight:
    """A night of the tiny source, whose steps run when they are first asked for; and variants of it from a step on."""

    def __init__(self, folder: Path) -> None:
        self.base: dict[str, Any] = {
            "workspace": str(folder / "workspace"),
            "threads": 1,
            "source": write_source(folder / "source"),
            "ingest": {"split": "leave_last_out"},
            "extract": {name: next(iter(kinds.values())) for name, kinds in ENCODERS.items()},
            "fuse": {"kind": "concat"},
            "train": {"model": "bpr"},
            "evaluate": {"cutoffs": [10, 20], "baselines": [{"model": name} for name in BASELINES]},
        }
        self.night = begin(self.configured({}), AS_OF, "base")
        self.done: list[str] = []

    def configured(self, sections: dict[str, Any]) -> Config:
        """The configuration with some sections in place of the night's, each as quick as its settings let it be."""
        document = {**self.base, **sections}
        config = Config.model_validate(document)
        quicker = {name: quick(getattr(config, name)) for name in ("fuse", "train", "rerank", "evaluate")}
        return Config.model_validate(_merged(quicker, document))

    def folder(self, step: str, name: str = "", **sections: Any) -> Path:
        """The first folder or file that a step leaves. name: of a run with some sections in place of the night's."""
        return self.paths(step, name, **sections)[0]

    def paths(self, step: str, name: str = "", **sections: Any) -> list[Path]:
        """All that a step leaves."""
        self._reach(step)
        night = self.night
        if name:
            night = self._variant(step, name, sections)
            perform(night, step)
        receipts = [receipt for receipt in night.receipts() if receipt.step == step or "bucket" in receipt.step]
        return [night.workspace.path(receipt.path) for receipt in receipts if receipt.step.startswith(step)]

    def _reach(self, step: str) -> None:
        for earlier in STEPS[: STEPS.index(step) + 1]:
            if earlier not in self.done:
                perform(self.night, earlier)
                self.done.append(earlier)

    def _variant(self, step: str, name: str, sections: dict[str, Any]) -> Night:
        """A run that has done what the night did before a step."""
        night = begin(self.configured(sections), AS_OF, f"{step}-{name}")
        before = STEPS[: STEPS.index(step)]
        for receipt in self.night.workspace.path(self.night.folder, "steps").glob("*.json"):
            if receipt.name.partition(".")[0] in before:
                place = night.workspace.path(night.folder, "steps", receipt.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(receipt, place)
        return night


def quick(section: Section) -> dict[str, Any]:
    """The settings of a section, and of those below it, that QUICK has a value for, and what kind it is of."""
    values: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            values[name] = quick(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            values[name] = [quick(below) for below in value]
        elif name in QUICK:
            values[name] = QUICK[name]
        elif name in ("kind", "model"):
            values[name] = value
    return values


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """One document over another; where both have a list, that of the former, which was made of the latter."""
    merged = {**under, **over}
    for name in under.keys() & over.keys():
        if isinstance(under[name], dict):
            merged[name] = _merged(under[name], over[name])
        elif isinstance(under[name], list):
            merged[name] = under[name]
    return merged


def rounded(values: np.ndarray) -> JsonValue:
    """Numbers as JSON, null where they are NaN."""
    plain: JsonValue = np.round(values.astype(np.float64) + 0.0, PLACES).tolist()
    return json.loads(json.dumps(plain).replace("NaN", "null").replace("-0.0,", "0.0,"))


def _vectors(path: Path) -> np.ndarray:
    """(n, d) float64, NaN where null, of a file or of a folder."""
    column = ds.dataset(path, format="parquet").to_table(columns=["vector"])["vector"].to_pylist()
    width = next(len(vector) for vector in column if vector is not None)
    return np.array([[np.nan] * width if vector is None else vector for vector in column], np.float64)


def _products(left: np.ndarray, right: np.ndarray) -> JsonValue:
    """Inner products of every fourth row with every fifth."""
    return rounded(left[::4] @ right[::5].T)


def _ingest(night: TinyNight) -> JsonValue:
    staged = night.folder("ingest")
    items = ds.dataset(staged / "items", format="parquet").to_table(columns=["item_id", "cold"]).to_pylist()
    names = ("interactions", "shown", "users")
    log, shown, users = (pq.read_table(staged / f"{name}.parquet").to_pylist() for name in names)
    split = json.loads((staged / "split.json").read_text())
    return {
        "items": [f"{row['item_id']} {'cold' if row['cold'] else 'warm'}" for row in items],
        "interactions": [f"{row['user_id']} {row['item_id']} {row['ts']:%m-%d} {row['part']}" for row in log],
        "shown": [f"{row['user_id']} {row['item_id']} {row['part']}" for row in shown][::10],
        "users": [f"{row['user_id']} {row['profile']}" for row in users],
        "parts": split["parts"],
        "buckets": split["bucket_rows"],
    }


def _extract(modality: str, kind: str, night: TinyNight) -> JsonValue:
    settings = {**dict.fromkeys(ENCODERS), modality: ENCODERS[modality][kind]}
    paths = night.paths("extract", kind, extract=settings)
    vectors = np.concatenate([_vectors(path) for path in paths if pq.read_metadata(path).num_rows])
    errors = (
        ds.dataset([str(path) for path in paths], format="parquet").to_table(columns=["error"])["error"].to_pylist()
    )
    return {"products": _products(vectors, vectors), "width": vectors.shape[1], "errors": sorted(filter(None, errors))}


def _fuse(kind: str, night: TinyNight) -> JsonValue:
    folder = night.folder("fuse", kind, fuse={"kind": kind})
    items, users = _vectors(folder / "items"), _vectors(folder / "users")
    shares = ds.dataset(folder / "items", format="parquet").to_table(columns=list(ENCODERS)).to_pandas().to_numpy()
    return {"items": _products(items, items), "users": _products(users, items), "shares": rounded(shares[::4])}


def _train(model: str, night: TinyNight) -> JsonValue:
    folder = night.folder("train", model, train={"model": model, **TOLD.get(model, {})})
    parts = ("evaluated", "published")
    users, items = (
        [_vectors(folder / part / f"{side}_vectors.parquet") for part in parts] for side in ("user", "item")
    )
    scores = {part: user @ item.T for part, user, item in zip(parts, users, items, strict=True)}
    return {part: rounded(scores[part][::4, ::4] / np.abs(scores[part]).max()) for part in parts}


def _rerank(night: TinyNight) -> JsonValue:
    receipt = json.loads((night.folder("rerank") / "receipt.json").read_text())
    return _plain(receipt["details"])


def _evaluate(night: TinyNight) -> JsonValue:
    metrics = json.loads((night.folder("evaluate") / "metrics.json").read_text())
    whole = metrics.pop("test")
    test = {
        f"{segment} {model}": [round(values[name]["mean"], PLACES) for name in SHOWN_METRICS if name in values]
        for segment, models in whole.items()
        for model, values in models.items()
    }
    rows = whole["all"][metrics["trained"]]
    intervals = {name: [row["low"], row["high"]] for name, row in rows.items() if "low" in row}
    return {"test": test, "intervals": _plain(intervals), **_plain(metrics)}


def _index(night: TinyNight) -> JsonValue:
    folder = night.folder("index")
    rows = pq.read_table(folder / "recommendations.parquet").to_pylist()
    items = pq.read_table(folder / "items.parquet").to_pylist()
    users = _vectors(folder / "users.parquet")
    return {
        "items": [f"{row['item_id']} {row['has_content']}" for row in items],
        "users": rounded(np.linalg.norm(users, axis=1)),
        "recommendations": _plain(rows[::5]),
    }


def _plain(value: Any) -> JsonValue:
    """A document with its numbers rounded, and without those that a clock measured."""
    if isinstance(value, dict):
        return {name: _plain(below) for name, below in value.items() if "seconds" not in name}
    if isinstance(value, list):
        return [_plain(below) for below in value]
    return round(value + 0.0, PLACES) if isinstance(value, float) else value


def _cases() -> Iterator[Case]:
    yield Case("ingest", "night", (), _ingest)
    for modality, kinds in ENCODERS.items():
        for kind in kinds:
            yield Case("extract", kind, ("steps.encoding", ENCODER_MODULES[kind]), partial(_extract, modality, kind))
    for kind in FUSIONS:
        yield Case("fuse", kind, ("steps.fuse",), partial(_fuse, kind))
    for model in MODELS:
        yield Case("train", model, ("steps.train", f"recommend.models.{model}"), partial(_train, model))
    yield Case("rerank", "night", ("steps.rerank",), _rerank)
    yield Case("evaluate", "night", ("steps.evaluate",), _evaluate)
    yield Case("index", "night", ("steps.index",), _index)


CASES = {f"{case.step}/{case.name}": case for case in _cases() if case.step in STEPS}
