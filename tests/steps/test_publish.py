from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artefacts.runs import was_published
from pipeline.config import load
from pipeline.night import begin, resume
from pipeline.steps import publish
from pipeline.steps.gate import judge
from tests.conftest import ANY_QUALITY, AS_OF, QUICK_MODEL, CsvRow, Shop, edit, manifest, medley, options


def test_a_model_that_does_not_beat_its_baseline_is_refused_and_reported(night: Shop) -> None:
    before = (night.workspace / "CURRENT.json").read_text()
    done = night.run("second", "-s", "publish.gate.min_ratio=1000", status=3)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("medley:")]
    assert "not published: quality: two_tower at" in said
    assert "publish.gate.min_ratio is 1000" in said
    assert "What was published before stays; if that is meant, `medley publish --run-id second --force REASON`" in said
    assert (night.workspace / "CURRENT.json").read_text() == before
    assert manifest(night.workspace, "second")["published"] is None
    assert (night.workspace / "runs/second/report.html").exists()
    status = json.loads(medley("status", "-w", night.workspace, "--json").stdout)
    assert status["run_id"] == "first"
    why = status["newest_run"].pop("why")
    assert why.startswith("the gate refused it: quality: two_tower at ")
    assert why.endswith("if that is meant, `medley publish --run-id second --force REASON` publishes it all the same")
    assert status["newest_run"] == {"run_id": "second", "published": False}
    assert "is not the published one: the gate refused it" in medley("status", "-w", night.workspace).stdout


def test_an_index_below_the_recall_is_refused(night: Shop) -> None:
    path = night.workspace / "runs/first/steps/index.json"
    receipt = json.loads(path.read_text())
    receipt["details"] |= {"recall": 0.5, "recall_high": 0.6}
    path.write_text(json.dumps(receipt))
    done = medley("publish", "-c", night.config, "--run-id", "first", "-s", "publish.gate.min_ratio=0", status=3)
    assert "index_recall: index recall@10 of 0.5000; publish.gate.min_index_recall is 0.98" in done.stderr


def test_an_index_file_that_is_not_the_one_written_is_refused(night: Shop) -> None:
    current = json.loads((night.workspace / "CURRENT.json").read_text())
    path = night.workspace / current["index"] / "content.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = medley("publish", "-c", night.config, "--run-id", "first", "-s", "publish.gate.min_ratio=0", status=3)
    assert "content.faiss is not the file that was written" in done.stderr
    assert "--force" not in done.stderr, "nothing publishes a broken file"
    forced = ("--force", "we need it", "-s", "publish.gate.min_ratio=0")
    assert (
        "not the file that was written"
        in medley("publish", "-c", night.config, "--run-id", "first", *forced, status=3).stderr
    )
    assert json.loads((night.workspace / "CURRENT.json").read_text()) == current


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


def first_of(share: float) -> Callable[[list[CsvRow]], list[CsvRow]]:
    """The oldest share of the log."""
    return lambda rows: sorted(rows, key=lambda row: row["bought_at"])[: int(len(rows) * share)]


def gates(workspace: Path, run_id: str) -> dict[str, dict[str, Any]]:
    """What the gate said of a run, by rule."""
    receipt = json.loads((workspace / f"runs/{run_id}/steps/publish.json").read_text())
    return {gate["name"]: gate for gate in receipt["details"]["gates"]}


def test_a_first_night_has_nothing_to_be_compared_with(published: Shop) -> None:
    said = gates(published.workspace, "first")
    assert list(said) == ["quality", "index_recall", "index_latency", "integrity", "log_age", "published"]
    assert said["published"]["sentence"] == "nothing is published yet that could be compared with"
    assert {name for name, gate in said.items() if not gate["passed"]} == set()


def test_a_second_night_without_change_passes_every_rule_by_default_settings(night: Shop) -> None:
    night.run("second", *options("publish.gate.min_published_ratio=0.8"))
    said = gates(night.workspace, "second")
    assert {name: gate["value"] for name, gate in said.items() if name in ("items", "metric", "lists", "missing")} == {
        "items": 1.0,
        "metric": 1.0,
        "lists": 0.0,
        "missing": 0.0,
    }
    assert {name for name, gate in said.items() if gate["warning"]} <= {"quality", "log_age"}


def test_a_log_that_was_cut_is_refused_goes_out_by_force_and_comes_back_by_rollback(night: Shop) -> None:
    edit(night, first_of(0.3), "purchases.csv")
    done = night.run("second", status=3)
    assert "interactions: " in done.stderr
    assert "× the published" in done.stderr
    assert "publish.gate.min_rows_ratio is 0.5" in done.stderr
    assert "newest_event: the newest interaction is " in done.stderr
    current = json.loads((night.workspace / "CURRENT.json").read_text())
    assert current["run_id"] == "first"

    reason, quick = "the old log was a test’s <b>", options(*ANY_QUALITY)
    assert "--force: give the reason" in medley("publish", "-c", night.config, "--force", " ", status=2).stderr
    document = json.loads(medley("publish", "-c", night.config, *quick, "--json", "--force", reason).stdout)
    assert (document["run_id"], document["published"], document["forced"]) == ("second", True, reason)
    assert manifest(night.workspace, "second")["published"] == document["digest"]
    forced = json.loads((night.workspace / "CURRENT.json").read_text())
    assert (forced["run_id"], forced["forced"], forced["rolled_back_from"]) == ("second", reason, "")
    status = medley("status", "-w", night.workspace).stdout
    assert f"published by force, though the gate refused it: {reason}" in status
    assert "refused  interactions" in status
    report = (night.workspace / "runs/second/report.html").read_text()
    assert "Published by force" in report
    assert "Reason: the old log was a test’s &lt;b&gt;" in report

    back = medley("rollback", "-w", night.workspace)
    assert back.stdout.startswith(f"published {current['index']} of run first, as of 2026-01-01")
    now = json.loads((night.workspace / "CURRENT.json").read_text())
    assert (now["index"], now["forced"], now["rolled_back_from"]) == (current["index"], "", "second")
    status = medley("status", "-w", night.workspace).stdout
    assert "rolled back from run second" in status
    assert "the newest run, second, is not the published one: it was published, and `medley rollback`" in status
    medley("lookup", "-w", night.workspace, "--user", "buyer-0001")
    # The next night is judged against what is published now, not against the one that was left.
    assert "interactions: " in night.run("third", status=3).stderr
    said = gates(night.workspace, "third")
    assert said["interactions"]["value"] == pytest.approx(0.3, abs=0.05)
    report = (night.workspace / "runs/third/report.html").read_text()
    assert re.search(r"Compared with[^.]*first", report)


def test_a_reason_changes_nothing_where_the_gate_refuses_nothing(night: Shop) -> None:
    options_ = ("--force", "to be sure", *options(*ANY_QUALITY))
    assert not json.loads(medley("publish", "-c", night.config, "--json", *options_).stdout)["forced"]
    assert json.loads((night.workspace / "CURRENT.json").read_text())["forced"] == ""


def test_a_run_that_was_published_and_is_refused_when_judged_again_is_still_one_to_go_back_to(night: Shop) -> None:
    run = night.workspace / "runs/first"
    medley("publish", "-c", night.config, "--run-id", "first", "-s", "publish.gate.min_ratio=1000", status=3)
    assert was_published(run)
    # Another index of the run was never out.
    change = json.loads((run / "steps/publish.json").read_text())
    (run / "steps/publish.json").write_text(json.dumps({**change, "digest": "another"}))
    medley("publish", "-c", night.config, "--run-id", "first", "-s", "publish.gate.min_ratio=1000", status=3)
    assert not was_published(run)


def test_a_night_of_an_earlier_moment_never_replaces_a_newer_one_silently(night: Shop) -> None:
    before = (night.workspace / "CURRENT.json").read_text()
    quick = options("evaluate.bootstrap_samples=50", *ANY_QUALITY, *QUICK_MODEL)
    done = medley("run", "-c", night.config, "--run-id", "old", "--as-of", "2025-12-31T23:59:59Z", *quick, status=3)
    assert "as_of: “as of” 2025-12-31 23:59:59 is older than the published 2026-01-01 00:00:00" in done.stderr
    assert "--force REASON" in done.stderr
    assert (night.workspace / "CURRENT.json").read_text() == before
    medley("publish", "-c", night.config, *quick, "--force", "made up for")
    assert json.loads((night.workspace / "CURRENT.json").read_text())["as_of"].startswith("2025-12-31")


@pytest.mark.parametrize(
    ("broken", "text", "warned"),
    [
        ("runs/first/metrics.json", "{", {"metric", "coverage"}),
        ("runs/first/steps/ingest.json", "{}", {"items", "users", "interactions", "newest_event"}),
        ("runs/first/steps/extract.text.bucket-00000.json", "", set()),
        ("CURRENT.json", '{"index": 3}', {"published"}),
        ("runs/first", None, {"metric", "coverage", "items", "users", "interactions", "newest_event", "missing"}),
        ("index", None, {"lists"}),
        ("staged", None, {"newest_event"}),
    ],
)
def test_what_cannot_be_read_of_the_published_night_is_not_compared_and_said(
    night: Shop, broken: str, text: str | None, warned: set[str]
) -> None:
    again = begin(load(night.config, ANY_QUALITY), AS_OF, "again")
    shutil.copytree(night.workspace / "runs/first", night.workspace / "runs/again", dirs_exist_ok=True)
    opened = json.loads((night.workspace / "runs/first/run.json").read_text())
    again.workspace.write_json("runs/again/run.json", {**opened, "run_id": "again"})
    for folder in ("index", "staged"):  # tonight's are its own
        (path,) = [path for path in (night.workspace / folder).iterdir() if path.is_dir()]
        shutil.copytree(path, path.with_name("tonight"))
        for file in (night.workspace / "runs/again/steps").glob("*.json"):
            file.write_text(file.read_text().replace(f"{folder}/{path.name}", f"{folder}/tonight"))
        if broken == folder:
            shutil.rmtree(path)
    if broken == "runs/first":
        shutil.rmtree(night.workspace / broken)
    elif text is not None:
        (night.workspace / broken).write_text(text)
    said = {verdict.name: verdict for verdict in judge(again)}
    assert {name for name, verdict in said.items() if verdict.warning} - {"quality", "log_age"} == warned
    assert all(verdict.passed for verdict in said.values())


def test_a_run_id_that_is_used_again_says_that_nothing_was_compared(night: Shop) -> None:
    night.run("first", *options("index.queries=100"))
    said = gates(night.workspace, "first")["published"]
    assert said["warning"]
    assert "give each night a run id of its own" in said["sentence"]


def test_the_sweep_removes_what_no_kept_run_names_and_nothing_else(night: Shop) -> None:
    night.run("second", "-s", "fuse.width=32")
    old = time.time() - 7200
    for path in night.workspace.rglob("*"):
        os.utime(path, (old, old))
    forgotten = set(manifest(night.workspace, "first")["artefacts"]) - set(
        manifest(night.workspace, "second")["artefacts"]
    )
    assert forgotten
    night.run("third", "-s", "fuse.width=32", *options("publish.keep_runs=2", "publish.grace_seconds=3600"))
    assert not (night.workspace / "runs/first").exists()
    assert not any((night.workspace / name).exists() for name in forgotten)
    for run_id in ("second", "third"):
        assert all((night.workspace / name).exists() for name in manifest(night.workspace, run_id)["artefacts"])
    medley("lookup", "-w", night.workspace, "--user", "buyer-0001")
    assert manifest(night.workspace, "third")["as_of"].startswith(AS_OF[:10])
