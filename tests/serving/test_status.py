"""Status says why no newer run is published, and needs nothing but JSON that can be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.artefacts.runs import StepReceipt
from pipeline.errors import MedleyError, WorkspaceError
from pipeline.serving.newest_run import ago
from pipeline.serving.status import show, status
from pipeline.steps import STEPS
from pipeline.workspace import Workspace
from tests.conftest import Shop, medley
from tests.test_printable import EVIL

HOUR = 3600
NAMES = [step.name for step in STEPS]
REFUSED = [
    {"name": "quality", "passed": False, "sentence": "bpr at 0.1 does not beat popularity at 0.2 (ndcg@10 on all)"},
    {"name": "integrity", "passed": True, "sentence": "all files are there"},
]


def receipt(step: str, **details: Any) -> dict[str, Any]:
    return asdict(StepReceipt(step, f"{step}/1", "1", 3, 3, 0, False, 0.5, 100, details=details))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The published run `old`, of five hours ago, and the run `a` of four hours ago, which has left nothing yet."""
    workspace, moment = Workspace(tmp_path), datetime.now(UTC)
    for name, hours in (("old", 5), ("a", 4)):
        began = (moment - timedelta(hours=hours, minutes=1)).isoformat()
        config = {"extract": {"text": {"encoder": "bow"}, "image": None}}
        document = {"run_id": name, "as_of": began, "started_at": began, "config": config}
        workspace.write_json(f"runs/{name}/run.json", document)
    workspace.write_json("runs/old/steps/publish.json", receipt("publish", published=True, gates=[]))
    workspace.write_json("runs/old/metrics.json", {"test": {}, "trained": "bpr"})
    published = {"index": "index/1", "digest": "1", "run_id": "old", "as_of": began, "published_at": began}
    workspace.write_json("CURRENT.json", published)
    return workspace


def left(workspace: Workspace, *steps: str, hours: float = 3.1, **details: Any) -> None:
    """Receipts of the run `a`, so many hours old."""
    for step in steps:
        path = f"runs/a/steps/{step}.json"
        workspace.write_json(path, receipt(step, **details))
        os.utime(workspace.path(path), (time.time() - hours * HOUR,) * 2)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((), "it is in ingest, or failed there: it began 4 hours ago"),
        (("ingest",), "it is in extract, or failed there: ingest was done 3 hours ago"),
        (
            ("ingest", "extract.text.prepare", "extract.text.bucket-00000"),
            "it is in extract, or failed there: a part of extract was done 3 hours ago",
        ),
        (
            ("ingest", "extract.text.bucket-00000", "extract.text.bucket-00001"),
            "it is in fuse, or failed there: extract was done 3 hours ago",
        ),
        (
            ("ingest", "extract.text.bucket-00000", "extract.text.bucket-00001", "fuse", "train"),
            "it is in rerank, or failed there: train was done 3 hours ago",
        ),
    ],
)
def test_an_unfinished_run_says_how_far_it_came(workspace: Workspace, steps: tuple[str, ...], why: str) -> None:
    left(workspace, *steps, buckets=2)
    assert status(workspace.root, NAMES)["newest_run"] == {"run_id": "a", "published": False, "why": why}


def test_a_refused_run_says_by_which_rule(workspace: Workspace) -> None:
    left(workspace, "publish", published=False, gates=REFUSED)
    way = "if that is meant, `medley publish --run-id a --force REASON` publishes it all the same"
    why = f"the gate refused it: quality: {REFUSED[0]['sentence']}"
    assert status(workspace.root, NAMES)["newest_run"]["why"] == f"{why}; {way}"
    left(workspace, "publish", published=False, gates=[*REFUSED, {**REFUSED[0], "name": "integrity"}])
    assert "--force" not in status(workspace.root, NAMES)["newest_run"]["why"]
    workspace.path("CURRENT.json").unlink()
    with pytest.raises(WorkspaceError, match="nothing is published yet; of run a, the gate refused it: quality: bpr"):
        status(workspace.root, NAMES)


def shown(workspace: Workspace) -> str:
    console = Console(width=200, force_terminal=True, color_system="standard", highlight=False)
    with console.capture() as text:
        show(status(workspace.root, NAMES), console)
    return text.get()


def test_every_rule_is_named_and_what_warns_or_was_forced_is_coloured(workspace: Workspace) -> None:
    gates = [*REFUSED, {"name": "log_age", "passed": True, "warning": True, "sentence": "500 days old"}]
    workspace.write_json("runs/old/steps/publish.json", receipt("publish", published=True, gates=gates))
    current = json.loads(workspace.path("CURRENT.json").read_text())
    assert "by force" not in shown(workspace)
    workspace.write_json("CURRENT.json", {**current, "forced": "half the [b]range[/b] went"})
    text = shown(workspace)
    assert "\x1b[31mrefused\x1b[0m  quality    bpr at 0.1" in text
    assert "\x1b[32mpassed \x1b[0m  integrity  all files" in text
    assert "\x1b[33mwarning\x1b[0m  log_age    500 days old" in text
    assert "\x1b[31mpublished by force, though the gate refused it: half the [b]range[/b] went\x1b[0m" in text


def test_after_a_rollback_it_says_from_which_run(workspace: Workspace) -> None:
    left(workspace, "publish", published=True, gates=[])
    current = json.loads(workspace.path("CURRENT.json").read_text())
    workspace.write_json("CURRENT.json", {**current, "rolled_back_from": "a"})
    assert "\x1b[33mrolled back from run a\x1b[0m" in shown(workspace)
    why = status(workspace.root, NAMES)["newest_run"]["why"]
    assert why.startswith("it was published, and `medley rollback` went back from it")


REPLACED = (
    "another run was published after it, or it was killed before it was: `medley publish` with its run id does that"
)


def test_the_published_run_is_the_newest_or_was_replaced_since(workspace: Workspace) -> None:
    left(workspace, "publish", published=True, gates=[])
    assert status(workspace.root, NAMES)["newest_run"]["why"] == REPLACED
    shutil.rmtree(workspace.path("runs/a"))
    assert status(workspace.root, NAMES)["newest_run"] == {"run_id": "old", "published": True, "why": ""}


@pytest.mark.parametrize("name", ["runs/a/run.json", "runs/a/steps/publish.json", "runs/old/steps/publish.json"])
@pytest.mark.parametrize("text", ["", "[]", '{"step": 1}'])
def test_what_is_broken_of_a_run_does_not_stop_it(workspace: Workspace, name: str, text: str) -> None:
    left(workspace, "publish", published=False, gates=REFUSED)
    workspace.path(name).write_text(text)
    assert status(workspace.root, NAMES)["digest"] == "1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"index": 1}', '{"run_id": "old"'])
def test_a_broken_current_json_is_one_sentence_that_names_it(workspace: Workspace, text: str) -> None:
    workspace.path("CURRENT.json").write_text(text)
    with pytest.raises(WorkspaceError, match=r"CURRENT\.json: .*; remove it, and publish the night again"):
        status(workspace.root, NAMES)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"test": 3, "trained": "a"}'])
def test_broken_metrics_of_the_published_run_are_one_sentence(workspace: Workspace, text: str) -> None:
    workspace.path("runs/old/metrics.json").write_text(text)
    with pytest.raises(MedleyError, match=r"runs/old/metrics\.json: .*run the night again"):
        status(workspace.root, NAMES)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "in the future"),
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86_399, "23 hours ago"),
        (86_400, "1 day ago"),
        (9 * 86_400, "9 days ago"),
    ],
)
def test_an_age_is_told_in_words(seconds: int, words: str) -> None:
    assert ago(seconds) == words


def test_what_is_shown_is_not_obeyed_and_the_document_is_exact(workspace: Workspace) -> None:
    current = json.loads(workspace.path("CURRENT.json").read_text())
    workspace.write_json("CURRENT.json", {**current, "digest": f"[red]{EVIL}"})
    left(workspace, "publish", published=False, gates=[{**REFUSED[0], "sentence": EVIL}])
    document, console = status(workspace.root, NAMES), Console(width=200, force_terminal=False)
    with console.capture() as text:
        show(document, console)
    assert document["digest"] == f"[red]{EVIL}"
    assert "[red]" in text.get()
    assert "published  4 hours ago" in text.get()
    assert not set("\x1b\x07\x9b\u202e\u2028\u2066\r") & set(text.get())


def answered(shop: Shop, *command: object) -> str:
    """What a verb says to somebody who may read, but not write, everything; root gives up its right to."""
    drop = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and there is no setpriv to give that up")
    done = subprocess.run(
        [*drop, sys.executable, "-m", "pipeline.cli", *map(str, command), "-w", shop.workspace],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_published_is_read_where_nothing_can_be_written(night: Shop) -> None:
    for folder in (night.workspace, *(path for path in night.workspace.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    try:
        assert "published" in answered(night, "status")
        assert "rec-" in answered(night, "lookup", "--user", "buyer-0001")
        assert "rec-" in answered(night, "lookup", "--item", "rec-0003", "--text", "winter")
    finally:
        for folder in (night.workspace, *(path for path in night.workspace.rglob("*") if path.is_dir())):
            folder.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("recommendations.parquet", ("lookup", "--user", "buyer-0001")),
        ("items.parquet", ("lookup", "--user", "buyer-0001")),
        ("content.faiss", ("lookup", "--item", "rec-0003")),
        ("encoders.json", ("lookup", "--text", "winter")),
        ("fusion.safetensors", ("lookup", "--text", "winter")),
        ("users.parquet", ("explain", "--user", "buyer-0001", "--item", "rec-0003")),
        ("card.json", ("explain", "--user", "buyer-0001", "--item", "rec-0003")),
    ],
)
def test_a_missing_file_of_the_index_is_named_by_its_path(
    published: Shop, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    current = json.loads((published.workspace / "CURRENT.json").read_text())
    for file in (published.workspace / current["index"]).rglob("*"):
        copy = tmp_path / file.relative_to(published.workspace)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file() and file.name != name:
            copy.symlink_to(file)
    shutil.copy(published.workspace / "CURRENT.json", tmp_path)
    for folder in ("runs", "staged", "fused", "models", "reranked", "embeddings"):
        (tmp_path / folder).symlink_to(published.workspace / folder)
    said = medley(*command, "-w", tmp_path, status=1).stderr
    assert f"{tmp_path / current['index'] / name}: " in said
    assert "None" not in said
