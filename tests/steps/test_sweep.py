"""The sweep removes what no kept run names, an hour after it was last changed, and nothing else."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.artefacts.published import published_now, replace_published
from pipeline.artefacts.runs import StepReceipt
from pipeline.config import load
from pipeline.night import Night, begin
from pipeline.steps.sweep import Swept, kept_runs, kept_searches, may_go_on, sweep, unnamed

HOUR = 3600
MOMENT = "2026-01-01T00:00:00+00:00"
CURRENT = {"run_id": "first", "index": "index/1", "digest": "1", "as_of": MOMENT, "published_at": MOMENT}


@pytest.mark.parametrize(
    ("published", "counts", "always", "kept"),
    [
        ("abcd", (1, 0), "", "d"),
        ("abcd", (2, 0), "", "cd"),
        ("abcd", (5, 0), "", "abcd"),
        ("abcd", (9, 9), "", "abcd"),
        ("abcd", (1, 3), "a", "ad"),
        ("abcd", (2, 0), ("c", "never"), "cd"),
        ("", (9, 2), "", "cd"),
        ("ab", (1, 1), "", "bd"),
        ("ad", (1, 0), "", "d"),
        ("a", (1, 0), "", "a"),
        ("ac", (2, 1), "", "acd"),
    ],
)
def test_the_newest_published_runs_stay_others_by_a_number_of_their_own_and_those_that_always_do(
    published: str, counts: tuple[int, int], always: Collection[str], kept: str
) -> None:
    assert kept_runs(["a", "b", "c", "d"], set(published), counts, set(always)) == set(kept)


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({}, set()),
        ({"tunes/a/journal.log": 9}, set()),
        ({"tunes/a/journal.log": 10}, {"tunes/a"}),
        ({"tunes/a/tune.json": 8, "tunes/b/tune.json": 7}, {"tunes/a"}),
        ({"tunes/a/tune.json": 7, "tunes/b/tune.json": 8, "tunes/c/lock": 9}, {"tunes/b"}),
        ({"tunes/a/tune.json": 7, "tunes/b/lock": 11, "tunes/b/journal.log": 2}, {"tunes/a", "tunes/b"}),
    ],
)
def test_searches_since_a_moment_stay_and_the_newest_finished_one(changed: dict[str, float], kept: set[str]) -> None:
    assert kept_searches(changed, since=10) == kept


@pytest.mark.parametrize(
    ("path", "moment", "goes"),
    [
        ("models/1", 9.9, True),
        ("models/1", 10, False),
        ("models/2", 1, False),
        ("staged/layout.json", 1, False),
    ],
)
def test_what_nobody_names_goes_once_it_is_old(path: str, moment: float, goes: bool) -> None:
    changed = {path: moment, "models/old": 0}
    assert unnamed(changed, {"models/2"}, before=10) == [*[path] * goes, "models/old"]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """The last of three runs, which began 8, 3 and 1 hours ago; two are kept, and no step takes an hour."""
    (tmp_path / "medley.yaml").write_text(
        "publish: {keep_runs: 2, keep_failed_runs: 2}\nnightly: {timeout_seconds: 1800}"
    )
    config, now = load(tmp_path / "medley.yaml", ()), time.time()
    for hours, name in ((8, "first"), (3, "second"), (1, "third")):
        night = begin(config, None, name)
        opened = f"{night.folder}/run.json"
        began = datetime.fromtimestamp(now - hours * HOUR, UTC).isoformat()
        night.workspace.write_json(opened, (night.workspace.read_json(opened) or {}) | {"started_at": began})
        os.utime(night.workspace.path(opened), (now - hours * HOUR,) * 2)
    return night


def swept(night: Night) -> Swept:
    return sweep(night.workspace, night.config, night.run_id)


def write(night: Night, files: dict[str, float]) -> None:
    """Writes files, each with its folder, as if last changed so many hours ago."""
    for name, hours in files.items():
        path = night.workspace.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        for changed in (path, path.parent):
            os.utime(changed, (time.time() - hours * HOUR,) * 2)


def files_of(night: Night, folder: str) -> set[str]:
    root = night.workspace.path(folder)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ({"before/tune.json": 5, "during/tune.json": 2, "begun/journal.log": 2}, {"during", "begun"}),
        ({"long/journal.log": 2, "long/lock": 9, "before/tune.json": 5}, {"long", "before"}),
        ({"before/tune.json": 6, "newest/tune.json": 5, "begun/journal.log": 4}, {"newest"}),
    ],
)
def test_searches_older_than_every_kept_run_are_swept_but_the_newest(
    night: Night, files: dict[str, float], kept: set[str]
) -> None:
    write(night, {f"tunes/{name}": hours for name, hours in files.items()})
    for folder in night.workspace.path("tunes").iterdir():
        os.utime(folder, (time.time() - 9 * HOUR,) * 2)
    swept(night)
    assert {path.name for path in night.workspace.path("tunes").iterdir()} == kept
    assert {path.name for path in night.workspace.path("runs").iterdir()} == {"second", "third"}


def test_a_published_run_stays_with_its_index_however_old(night: Night, caplog: pytest.LogCaptureFixture) -> None:
    night.workspace.write_json("CURRENT.json", CURRENT)
    night.workspace.write_json("runs/first/steps/train.json", {"path": "models/1"})
    write(night, dict.fromkeys(("index/1/card.json", "index/2/card.json"), 25))
    write(night, dict.fromkeys(("models/1/curve.json", "models/2/curve.json"), 9))
    age(night, "first", 9)
    with caplog.at_level("INFO", "medley"):
        swept(night)
    assert [record.getMessage() for record in caplog.records] == [
        f"swept {folder}/2: no kept run names it" for folder in ("models", "index")
    ]
    assert {path.name for path in night.workspace.path("runs").iterdir()} == {"first", "second", "third"}
    assert files_of(night, "index") == {"1/card.json"}
    assert files_of(night, "models") == {"1/curve.json"}


def test_a_shard_goes_with_its_receipt_and_what_is_being_written_stays(night: Night) -> None:
    night.workspace.write_json("runs/second/steps/extract.json", {"path": "embeddings/text/key/bucket-1.parquet"})
    shards = {f"{parent}/text/key/{name}": 2 for parent in ("embeddings", "shared", "profiles") for name in SHARD}
    others = {
        "staged/1/split.json": 2,
        "encoders/text/1/encoder.json": 2,
        "fused/1/curve.json": 2,
        "evaluations/1/m": 2,
    }
    write(night, {**shards, **others, "models/new/curve.json": 0.9, "staged/layout.json": 2})
    write(night, {".tmp/old/file": 2, ".tmp/new/file": 0.9, ".tmp/file": 2})
    age(night, "second", 3)
    swept(night)
    assert files_of(night, "embeddings") == {"text/key/bucket-1.parquet", "text/key/bucket-1.json"}
    assert files_of(night, "models") == {"new/curve.json"}
    assert files_of(night, "staged") == {"layout.json"}
    assert files_of(night, ".tmp") == {"new/file"}
    for folder in ("shared", "profiles", "encoders", "fused", "evaluations"):
        assert not files_of(night, folder)


@pytest.mark.parametrize(
    ("hours", "over", "timeout", "goes_on"),
    [
        (0.9, False, 0, True),
        (1.1, False, 0, False),
        (0.9, True, 9, True),
        (1.1, True, 9, False),
        (5.9, False, 5, True),
        (6.1, False, 5, False),
    ],
)
def test_a_run_may_go_on_for_as_long_as_a_step_may_take(
    hours: float, over: bool, timeout: float, goes_on: bool
) -> None:
    assert may_go_on(100 * HOUR - hours * HOUR, over, 100 * HOUR, timeout * HOUR) == goes_on


@pytest.mark.parametrize(("last_step", "stays"), [("train", True), ("publish", False)])
def test_nothing_of_a_run_in_progress_goes(night: Night, last_step: str, stays: bool) -> None:
    night.workspace.write_json("runs/first/steps/fuse.json", {"path": "fused/1"})
    night.workspace.write_json(f"runs/first/steps/{last_step}.json", {"path": "models/1"})
    age(night, "first", 1.4)
    write(night, {"fused/1/curve.json": 5, "models/1/curve.json": 5, "models/2/curve.json": 5, ".tmp/fit-1/epoch": 5})
    swept(night)
    assert night.workspace.path("runs/first").exists() == stays
    assert files_of(night, "fused") | files_of(night, "models") == ({"1/curve.json"} if stays else set())
    assert files_of(night, ".tmp") == ({"fit-1/epoch"} if stays else set())


def test_a_run_that_ended_only_now_stays(night: Night) -> None:
    night.workspace.write_json("runs/first/steps/publish.json", {"path": "index/1"})
    swept(night)
    assert {path.name for path in night.workspace.path("runs").iterdir()} == {"first", "second", "third"}


def test_what_is_broken_of_earlier_runs_is_skipped_with_one_warning_each(
    night: Night, caplog: pytest.LogCaptureFixture
) -> None:
    night.workspace.write_text("runs/first/run.json", "{")
    night.workspace.write_text("runs/second/steps/fuse.json", "[]")
    night.workspace.write_text("CURRENT.json", "")
    write(night, {"fused/1/curve.json": 5})
    with caplog.at_level("WARNING", "medley"):
        swept(night)
        swept(night)
    said = sorted(record.getMessage().partition(": no JSON")[0] for record in caplog.records)
    names = ("CURRENT.json", "runs/first/run.json", "runs/second/steps/fuse.json")
    assert said == [f"skipped as if it were not there: {night.workspace.path(name)}" for name in names]
    assert not files_of(night, "fused")


def age(night: Night, run_id: str, hours: float) -> None:
    """Makes a run's files as if last changed so many hours ago."""
    for path in night.workspace.path("runs", run_id).rglob("*.json"):
        os.utime(path, (time.time() - hours * HOUR,) * 2)


SHARD = ("bucket-1.parquet", "bucket-1.json")


def published(night: Night, run_id: str, index: str) -> None:
    """Leaves the receipt of a run that was published, of hours ago, and publishes its index."""
    receipt = StepReceipt("publish", index, index[-1], 1, 0, 0, False, 0.1, 1, details={"published": True, "gates": []})
    night.workspace.write_json(f"runs/{run_id}/steps/publish.json", asdict(receipt))
    before = published_now(night.workspace.root)
    replace_published(night.workspace, before, {"run_id": run_id, "as_of": MOMENT}, receipt)
    age(night, run_id, 9)


@pytest.mark.parametrize(("replaced_hours", "stays"), [(0, True), (23, True), (25, False)])
def test_an_index_stays_for_its_readers_until_a_while_after_another_was_published(
    night: Night, replaced_hours: float, stays: bool
) -> None:
    write(night, dict.fromkeys(("index/1/card.json", "index/2/card.json", "models/1/curve.json"), 99))
    published(night, "second", "index/1")
    published(night, "third", "index/2")
    folder = night.workspace.path("index/1")
    assert folder.stat().st_mtime > time.time() - HOUR, "counted from when it was replaced"
    os.utime(folder, (time.time() - replaced_hours * HOUR,) * 2)
    shutil.rmtree(night.workspace.path("runs/second"))
    went = swept(night)
    assert files_of(night, "index") == ({"1/card.json", "2/card.json"} if stays else {"2/card.json"})
    assert went.artefacts == (("models/1",) if stays else ("models/1", "index/1"))
    assert went.bytes == (2 if stays else 4)


def test_refused_nights_push_no_published_one_out(night: Night) -> None:
    night.workspace.path("runs/third/run.json").unlink()
    for name, was_published in (("first", True), ("second", False)):
        publish = {"published": was_published, "gates": []}
        receipt = StepReceipt("publish", "index/1", "1", 1, 0, 0, False, 0.1, 1, details=publish)
        night.workspace.write_json(f"runs/{name}/steps/publish.json", asdict(receipt))
        age(night, name, 9)
    config = night.config.model_copy(
        update={"publish": night.config.publish.model_copy(update={"keep_runs": 1, "keep_failed_runs": 0})}
    )
    assert sweep(night.workspace, config).runs == ("second",)
    assert published_now(night.workspace.root) is None
