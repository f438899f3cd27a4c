from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.night import begin
from pipeline.steps.publish import sweep
from tests.conftest import AS_OF, Shop, manifest, medley


def test_a_model_that_does_not_beat_its_baseline_is_refused_and_reported(night: Shop) -> None:
    before = (night.workspace / "CURRENT.json").read_text()
    done = night.run("second", "-s", "publish.gate.min_ratio=1000", status=3)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("medley:")]
    assert "not published: two_tower at" in said
    assert "does not beat 1000.0 × popularity" in said
    assert (night.workspace / "CURRENT.json").read_text() == before
    assert manifest(night.workspace, "second")["published"] is None
    assert (night.workspace / "runs/second/report.html").exists()
    status = json.loads(medley("status", "-w", night.workspace, "--json").stdout)
    assert status["run_id"] == "first"
    assert status["newest_run"] == {"run_id": "second", "published": False}


def test_an_index_below_the_recall_is_refused(night: Shop) -> None:
    path = night.workspace / "runs/first/steps/index.json"
    receipt = json.loads(path.read_text())
    receipt["details"]["recall"] = 0.5
    path.write_text(json.dumps(receipt))
    done = medley("publish", "-c", night.config, "--run-id", "first", "-s", "publish.gate.min_ratio=0", status=3)
    assert "index recall@10 of 0.5000 is below 0.99" in done.stderr


def test_an_index_file_that_is_not_the_one_written_is_refused(night: Shop) -> None:
    current = json.loads((night.workspace / "CURRENT.json").read_text())
    path = night.workspace / current["index"] / "content.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = medley("publish", "-c", night.config, "--run-id", "first", "-s", "publish.gate.min_ratio=0", status=3)
    assert "content.faiss is not the file that was written" in done.stderr


def test_the_sweep_removes_what_no_kept_run_names_and_nothing_else(night: Shop) -> None:
    night.run("second", "-s", "fuse.width=32")
    old = time.time() - 7200
    for path in night.workspace.rglob("*"):
        os.utime(path, (old, old))
    forgotten = set(manifest(night.workspace, "first")["artefacts"]) - set(
        manifest(night.workspace, "second")["artefacts"]
    )
    assert forgotten
    night.run("third", "-s", "fuse.width=32", "-s", "publish.keep_runs=2")
    assert not (night.workspace / "runs/first").exists()
    assert not any((night.workspace / name).exists() for name in forgotten)
    for run_id in ("second", "third"):
        assert all((night.workspace / name).exists() for name in manifest(night.workspace, run_id)["artefacts"])
    medley("lookup", "-w", night.workspace, "--user", "buyer-0001")
    assert manifest(night.workspace, "third")["as_of"].startswith(AS_OF[:10])


HOUR = 3600


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ({"before/tune.json": 5, "during/tune.json": 2, "begun/journal.log": 2}, {"during", "begun"}),
        ({"long/journal.log": 2, "long/lock": 9, "before/tune.json": 5}, {"long", "before"}),
        ({"before/tune.json": 6, "newest/tune.json": 5, "begun/journal.log": 4}, {"newest"}),
    ],
)
def test_searches_older_than_every_kept_run_are_swept_but_the_newest(
    tmp_path: Path, files: dict[str, int], kept: set[str]
) -> None:
    """Three runs began 8, 3 and 1 hours ago, and the last two are kept; files: when each was written, in hours ago."""
    (tmp_path / "medley.yaml").write_text("publish: {keep_runs: 2}")
    config, now = load(tmp_path / "medley.yaml", ()), time.time()
    for hours, name in ((8, "first"), (3, "second"), (1, "third")):
        night = begin(config, None, name)
        path = f"{night.folder}/run.json"
        told = night.workspace.read_json(path) or {}
        began = datetime.fromtimestamp(now - hours * HOUR, UTC).isoformat()
        night.workspace.write_json(path, told | {"started_at": began})
    tunes = night.workspace.path("tunes")
    for name, hours in files.items():
        (tunes / name).parent.mkdir(parents=True, exist_ok=True)
        (tunes / name).write_text("{}")
        os.utime(tunes / name, (now - hours * HOUR,) * 2)
    for folder in tunes.iterdir():
        os.utime(folder, (now - 9 * HOUR,) * 2)
    sweep(night)
    assert {path.name for path in tunes.iterdir()} == kept
    assert {path.name for path in night.workspace.path("runs").iterdir()} == {"second", "third"}
