from __future__ import annotations

import errno
import json
import os
import time

import pytest

from pipeline.config import load
from pipeline.night import resume
from pipeline.steps import publish
from tests.conftest import ANY_QUALITY, AS_OF, Shop, manifest, medley


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
    why = status["newest_run"].pop("why")
    assert why.startswith("the gate refused it: quality: two_tower at ")
    assert status["newest_run"] == {"run_id": "second", "published": False}
    assert "is not the published one: the gate refused it" in medley("status", "-w", night.workspace).stdout


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


def test_what_is_published_moves_last_and_a_sweep_that_fails_does_not_take_it_back(
    night: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    current = night.workspace / "CURRENT.json"
    before, again = current.read_text(), resume(load(night.config, ANY_QUALITY), "first")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")

    for name in ("write_report", "manifest"):
        with monkeypatch.context() as patched:
            patched.setattr(publish, name, full)
            with pytest.raises(OSError, match="No space left"):
                publish.run(again)
        assert current.read_text() == before
    monkeypatch.setattr(publish, "sweep", full)
    assert publish.run(again).details["published"]
    assert current.read_text() != before
    assert "sweep: report.html: No space left on device; what no run needs is swept another night" in caplog.text


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
