"""Writes a finished run's files, small but in the formats of a workspace, for the report to read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.artefacts.runs import StepReceipt
from pipeline.artefacts.shards import Summary
from pipeline.config import Config
from pipeline.evaluation.gate import Verdict
from pipeline.interactions import Interactions
from pipeline.report import RunFiles
from tests.report import vectors

EVIL = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"
NEWEST = datetime(2025, 11, 24, 1, tzinfo=UTC)
GENRES = ("ambient", "dub & bass", "folk")


@dataclass(frozen=True)
class Night:
    """What the run holds: sizes, and what may be wrong with it."""

    items: int = 48
    users: int = 14
    published: bool = True
    trained: str = "two_tower"
    lead: float = 0.05
    titles: dict[int, str] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    fused: dict[str, object] = field(default_factory=lambda: {"kind": "linear"})


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., RunFiles]:
    """Writes a run's workspace; keywords are those of `Night`."""
    return lambda **changes: write_night(tmp_path / "workspace", Night(**changes))


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A run for tests that only read it, with a title and an attribute that try to be markup."""
    night = Night(titles={0: EVIL}, columns={"label": [EVIL] * 48})
    return write_night(tmp_path_factory.mktemp("night") / "workspace", night)


def write_earlier(run: RunFiles, run_id: str = "night-0", published: bool = True, day: int = 27) -> Path:
    """A run of the same workspace that began on a day of November, at first all as in `run`; returns its folder."""
    folder, index = run.folder.with_name(run_id), run.index.with_name(f"of-{run_id}")
    shutil.copytree(run.folder, folder)
    shutil.copytree(run.index, index)
    began = {"run_id": run_id, "started_at": f"2025-11-{day}T03:00:00+00:00", "as_of": f"2025-11-{day}T02:00:00+00:00"}
    change(folder / "run.json", lambda document: document.update(began))
    at = {"index": str(index.relative_to(run.workspace)), "publish": "index"}
    for step, path in at.items():
        receipt = replace(_receipt(step, (0, 0, 0), 1.0, {"published": published}), path=path)
        dump(folder / "steps" / f"{step}.json", asdict(receipt))
    return folder


def change(path: Path, changed: Callable[[dict[str, Any]], object]) -> None:
    """Changes a JSON file in place."""
    document = json.loads(path.read_text("utf-8"))
    changed(document)
    path.write_text(json.dumps(document), "utf-8")


def user_id(number: int) -> str:
    return f"u{number:02d}"


def item_id(number: int) -> str:
    return f"r{number:04d}"


def write_night(folder: Path, night: Night) -> RunFiles:
    """Writes the workspace, with pictures for all items but every sixth, and returns where everything is."""
    run = RunFiles(
        workspace=folder,
        run_id="night-1",
        as_of="2025-11-24T03:00:00+00:00",
        media_root=folder / "media",
        staged=folder / "staged" / "s1",
        fused=folder / "fused" / "f1",
        model=folder / "models" / "m1",
        index=folder / "index" / "0123456789abcdef",
        gate=(Verdict("quality", night.published, 0.2, 0.1, "ndcg@10 0.2000 against 0.1000 of popularity"),),
        published=night.published,
        config=Config(name="Test shop", note="Synthetic data.", seed=7),
        steps=("ingest", "extract", "fuse", "train", "publish"),
    )
    rng = np.random.default_rng(1)
    _items(run, night)
    _vectors(run, night, rng)
    _documents(run, night)
    _pictures(run, night)
    return run


def _has_picture(number: int) -> bool:
    return number % 6 != 5


def _items(run: RunFiles, night: Night) -> None:
    numbers = range(night.items)
    columns = {
        "item_id": [item_id(n) for n in numbers],
        "title": [night.titles.get(n, f"Record {n}") for n in numbers],
        "text": ["a record"] * night.items,
        "image": [f"{n}.jpg" if _has_picture(n) else None for n in numbers],
        "audio": [None] * night.items,
        "genre": [GENRES[n % 3] for n in numbers],
        "label": [f"label {n}" for n in numbers],
        "cold": [n % 10 == 0 for n in numbers],
        "image_problem": [None] * night.items,
        **night.columns,
    }
    table = pa.table(columns)
    half = night.items // 2
    write(run.staged / "items" / "bucket-00000.parquet", table.slice(0, half))
    write(run.staged / "items" / "bucket-00001.parquet", table.slice(half))


def _interactions(run: RunFiles, night: Night, rng: np.random.Generator) -> list[tuple[int, list[int]]]:
    """Writes who chose what; returns every user's items, oldest first."""
    chosen = [(user, rng.choice(night.items - 4, 5, replace=False).tolist()) for user in range(night.users)]
    seen = [[item_id(item) for item in items] for _, items in chosen]
    schema = pa.schema({"user_id": pa.string(), "seen": pa.list_(pa.string())})
    write(run.index / "users.parquet", pa.table([[user_id(user) for user, _ in chosen], seen], schema=schema))
    return chosen


def _vectors(run: RunFiles, night: Night, rng: np.random.Generator) -> None:
    """Item 1 has neither text nor picture, the rest a text, and most a picture."""
    numbers = range(night.items)
    pairs = [
        (user, item, 5.0 - place) for user, items in _interactions(run, night, rng) for place, item in enumerate(items)
    ]
    user, item, age = (np.array([pair[place] for pair in pairs]) for place in range(3))
    log = Interactions(
        user.astype(np.int32), item.astype(np.int32), age, np.ones(len(pairs), np.float32), night.users, night.items
    )
    error = {
        "text": ["no text" if n == 1 else None for n in numbers],
        "image": [None if _has_picture(n) and n != 1 else "no image" for n in numbers],
    }
    # A log of nobody teaches nothing.
    model = night.trained if night.users else "content"
    users = [user_id(user) for user in range(night.users)]
    times = [NEWEST - timedelta(days=float(days)) for days in age - (age.min() if len(age) else 0)]
    write(run.staged / "interactions.parquet", pa.table({"ts": pa.array(times, pa.timestamp("us", "UTC"))}))
    everything = run.staged / "log" / "everything"
    everything.mkdir(parents=True)
    for name in ("user", "item", "age_days", "weight"):
        np.save(everything / f"{name}.npy", getattr(log, name))
    write(run.staged / "log" / "users.parquet", pa.table({"user_id": pa.array(users, pa.string())}))
    vectors.write(run, vectors.Catalogue([item_id(n) for n in numbers], error, log, users, model), rng)


def _documents(run: RunFiles, night: Night) -> None:
    intake = [
        {"table": "items", "read": night.items + 2, "kept": night.items, "dropped": {"duplicate item_id": 2}},
        {"table": "interactions", "read": 80, "kept": 70, "dropped": {"after as_of": 4, "unknown item": 6}},
    ]
    checks = [{"name": "assert_times_sane", "why": "A clock was wrong.", "rows": 2, "level": "warn"}]
    split = {
        "kind": "time",
        "seed": 0,
        "buckets": 2,
        "bucket_rows": [night.items // 2, night.items - night.items // 2],
        "validation_cut": "2025-01-03T00:00:00+00:00",
        "test_cut": None,
        "cold_items": 5,
        "parts": {"train": 60, "validation": 5, "test": 5, "held_out": 0},
        "users": night.users,
        "items": night.items,
        "intake": intake,
        "checks": checks,
    }
    dump(run.staged / "split.json", split)
    test = {segment: _models(night.trained) for segment in ("all", "cold", "head", "tail", "no_image")}
    compared = {"paired": _paired(night), "ablation": _ablation(night), "ranker": _ranker()}
    dump(run.folder / "metrics.json", {"test": test, "trained": night.trained, **compared})
    evaluated = [{"epoch": e, "loss": 5.0 / e, "ndcg@10": 0.1 + 0.01 * min(e, 6)} for e in range(1, 10)]
    published = [{"epoch": e, "loss": 4.8 / e} for e in range(1, 7)]
    learned = {"evaluated": evaluated, "published": published, "chosen_epochs": 6}
    trained = learned if night.trained == "two_tower" else {"evaluated": [], "published": [], "chosen_epochs": 0}
    dump(run.model / "curves.json", {"model": night.trained, "metric": "ndcg@10", **trained})
    opened = {"run_id": run.run_id, "as_of": run.as_of, "started_at": "2025-11-28T03:00:00+00:00"}
    dump(run.folder / "run.json", {**opened, "config": run.config.model_dump(mode="json")})
    for receipt in _receipts(night, split):
        dump(run.folder / "steps" / f"{receipt.step}.json", asdict(receipt))


def _models(trained: str) -> dict[str, object]:
    means = {"random": 0.01, "popularity": 0.1, "als": 0.15, "content": 0.12, trained: 0.2}
    return {
        model: {
            **{
                f"{metric}@{k}": {"mean": mean * k / 10, "low": mean * k / 12, "high": mean * k / 8, "users": 14}
                for metric in ("ndcg", "recall")
                for k in (5, 10)
            },
            "coverage@10": {"mean": 0.5, "users": 14},
        }
        for model, mean in means.items()
    }


def _difference(mean: float, p: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "p": p, "users": 14}


def _paired(night: Night) -> dict[str, object]:
    models = {
        "content": _difference(-0.03, 0.011),
        "popularity": _difference(-0.05, 0.0001),
        night.trained: _difference(night.lead, 0.002),
    }
    about = {"metric": "ndcg@10", "segment": "all", "baseline": "als"}
    return {**about, "validation": {"als": 0.16, "popularity": 0.1}, "models": models}


def _ablation(night: Night) -> dict[str, object]:
    """Leaving out images costs something, leaving out text nothing that can be told."""
    if night.trained != "two_tower":
        return {}
    without = {
        modality: {"ndcg@10": {"mean": 0.2 + change, "users": 14, "change": _difference(change, p)}}
        for modality, change, p in (("text", 0.001, 0.8), ("image", -0.05, 0.002))
    }
    return {"model": "two_tower", "way": "inference", "segments": {"all": without}}


def _ranker() -> dict[str, object]:
    orders = {name: {"ndcg@10": {"mean": mean}} for name, mean in (("first_stage", 0.2), ("reordered", 0.23))}
    chances = {"auc": 0.71, "log_loss": 0.089, "constant_log_loss": 0.096, "ece": 0.004}
    return {
        "used": True,
        "learned_from": "sampled",
        "test": {**orders, "gain": {"ndcg@10": _difference(0.03, 0.001)}},
        "candidates": chances,
    }


def _receipts(night: Night, split: dict[str, object]) -> list[StepReceipt]:
    half = night.items // 2
    encoder = {"encoder": "e", "model": "lite0", "d": 1280}
    summaries = [
        Summary(half, 3, 0, 0, {"no image": 3}, []),
        Summary(half, 5, 1, 0, {"no image": 4, "file not found": 1}, [[item_id(30), "file not found: 30.jpg"]]),
    ]
    extract = [
        _receipt(
            f"extract.image.bucket-{bucket:05d}",
            (half, half - summary.missing_rows, summary.missing_rows),
            1.25,
            encoder | asdict(summary),
        )
        for bucket, summary in enumerate(summaries)
    ]
    details = {"ingest": {"rows": night.items, **split}, "fuse": night.fused}
    steps = [
        _receipt(step, (night.items, 0, 0), seconds, details.get(step, {}))
        for step, seconds in (("train", 75.0), ("ingest", 0.4), ("fuse", 0.0))
    ]
    return extract + steps


def _receipt(step: str, rows: tuple[int, int, int], seconds: float, details: dict[str, object]) -> StepReceipt:
    return StepReceipt(step, "path", "d", *rows, False, seconds, 500_000_000, {}, details)


def _pictures(run: RunFiles, night: Night) -> None:
    (run.workspace / "media").mkdir(parents=True)
    for number in filter(_has_picture, range(night.items)):
        colour = (number * 5 % 256, number * 11 % 256, 160)
        Image.new("RGB", (120, 120), colour).save(run.workspace / "media" / f"{number}.jpg")
    (run.workspace / "media" / "2.jpg").write_bytes(b"not a picture")


def write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def dump(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")
