"""A run's receipts are read as they were written, or refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.artefacts.runs import StepReceipt, earlier_receipt, receipt_of, receipts_of, runs
from pipeline.config import Config
from pipeline.errors import StepFailed, WorkspaceError
from pipeline.night import begin, newest_with, resume
from pipeline.workspace import Workspace

# What a file may hold that was cut, emptied or written by something else, and what is said of it.
BROKEN = {
    "": "no JSON object",
    '{"step": "fuse", "pa': "no JSON object",
    "[]": "no JSON object",
    "{}": "not what Medley writes, step",
    json.dumps({"step": 3}): "not what Medley writes, step: Input should be a valid string",
    "[" * 5000: "no JSON object",
}
RECEIPT = StepReceipt("fuse", "fused/1", "1", 3, 3, 0, False, 0.5, 100)


def test_a_receipt_comes_back_and_one_that_another_version_wrote_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    assert receipt_of(tmp_path, "fuse") is None
    place = tmp_path / "steps" / "fuse.json"
    place.write_text(json.dumps(asdict(RECEIPT)))
    assert receipt_of(tmp_path, "fuse") == RECEIPT
    place.write_text(json.dumps({**asdict(RECEIPT), "lanes": 2}))
    with pytest.raises(StepFailed, match=r"another version of Medley wrote its receipt of fuse; run another night"):
        receipts_of(tmp_path)


@pytest.mark.parametrize(("text", "said"), [(text, said) for text, said in BROKEN.items()])
def test_a_broken_receipt_names_itself_and_the_way_out_and_of_an_earlier_run_it_is_skipped(
    tmp_path: Path, text: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps/fuse.json").write_text(text)
    with pytest.raises(WorkspaceError, match=rf"steps/fuse\.json: {said}.*; run `medley fuse` again") as caught:
        receipt_of(tmp_path, "fuse")
    assert "\n" not in str(caught.value)
    with caplog.at_level("WARNING", "medley"):
        assert earlier_receipt(tmp_path, "fuse") is earlier_receipt(tmp_path, "fuse") is None
    (record,) = caplog.records
    assert "steps/fuse.json" in record.getMessage()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Three runs, whose ids are sorted otherwise than they began."""
    config = Config(workspace=str(tmp_path))
    for name in ("b", "c", "a"):
        begin(config, None, name)
    return config


def test_the_run_begun_last_is_the_newest_whatever_its_id(config: Config, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert [run["run_id"] for run in runs(workspace)] == ["b", "c", "a"]
    assert resume(config, None).run_id == "a"
    for name in ("b", "c"):
        workspace.write_json(f"runs/{name}/steps/fuse.json", asdict(RECEIPT))
    assert newest_with(workspace, "fuse") == "c"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": "a", "as_of": 3, "started_at": "today", "config": {}}'])
def test_a_broken_run_is_none_of_the_runs_and_stops_nobody_but_itself(
    config: Config, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs/a/run.json").write_text(text)
    with caplog.at_level("WARNING", "medley"):
        assert resume(config, None).run_id == "c"
        assert begin(config, None, "d").run_id == "d"
        assert len(runs(Workspace(tmp_path))) == 3
    (record,) = caplog.records
    assert "runs/a/run.json" in record.getMessage()
    assert "remove the run's folder" in record.getMessage()
    for opened in (lambda: resume(config, "a"), lambda: begin(config, None, "a")):
        with pytest.raises(WorkspaceError, match=r"runs/a/run\.json: .*; begin another run with `medley ingest`"):
            opened()
