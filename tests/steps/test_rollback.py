"""A rollback publishes what an earlier night published, verified and at once, and changes nothing where it cannot."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.artefacts.published import CURRENT, published_now, replace_published
from pipeline.artefacts.runs import StepReceipt
from pipeline.errors import MedleyError, ShardCorrupt, WorkspaceError
from pipeline.steps.rollback import run as rollback
from pipeline.storage.documents import Json
from pipeline.storage.files import sha256_of
from pipeline.workspace import Workspace

RUNS = {"a": True, "b": True, "refused": False, "c": True}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Of four runs, begun a day after the other, the newest is published; one was refused."""
    workspace = Workspace(tmp_path)
    for day, (name, published) in enumerate(RUNS.items(), 1):
        moment = f"2026-01-0{day}T00:00:00+00:00"
        opened = {"run_id": name, "as_of": moment, "started_at": moment, "config": {}}
        workspace.write_json(f"runs/{name}/run.json", opened)
        for file in ("items.parquet", "card.json"):
            workspace.write_text(f"index/{name}/{file}", f"{file} of {name}")
        outputs = {f"index/{name}/items.parquet": sha256_of(tmp_path / "index" / name / "items.parquet")}
        index = StepReceipt("index", f"index/{name}", f"digest-{name}", 1, 0, 0, False, 0.1, 1, outputs)
        details = {"published": published, "gates": [], "forced": "we had to" if name == "b" else ""}
        workspace.write_json(f"runs/{name}/steps/index.json", asdict(index))
        workspace.write_json(f"runs/{name}/steps/publish.json", asdict(replace(index, step="publish", details=details)))
    replace_published(workspace, published_now(workspace.root), opened, index)
    return workspace


def current(workspace: Workspace) -> Json:
    document: Json = json.loads(workspace.path(CURRENT).read_text())
    return document


def test_it_goes_to_the_published_run_before_and_keeps_the_run_that_was_left(workspace: Workspace) -> None:
    assert rollback(workspace.root) == current(workspace)
    document = current(workspace)
    assert document.pop("published_at") > "2026-01-04"
    assert document == {
        "index": "index/b",
        "digest": "digest-b",
        "run_id": "b",
        "as_of": "2026-01-02T00:00:00+00:00",
        "forced": "we had to",
        "rolled_back_from": "c",
    }
    rollback(workspace.root)
    further = current(workspace)
    assert (further["run_id"], further["rolled_back_from"], further["forced"]) == ("a", "c", "")
    with pytest.raises(WorkspaceError, match="no published run that began before a is left; name another one: b, c"):
        rollback(workspace.root)
    assert current(workspace) == further
    rollback(workspace.root, "c")
    assert (current(workspace)["run_id"], current(workspace)["rolled_back_from"]) == ("c", "")


def test_it_goes_to_the_run_that_is_named(workspace: Workspace) -> None:
    rollback(workspace.root, "a")
    assert (current(workspace)["index"], current(workspace)["rolled_back_from"]) == ("index/a", "c")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("c", "run c is what is published already; other published runs: a, b"),
        ("refused", "run refused was not published, or is swept; published runs: a, b; .* `medley publish --force"),
        ("never", "run never was not published, or is swept; published runs: a, b"),
    ],
)
def test_a_run_that_there_is_no_way_back_to_is_one_sentence(workspace: Workspace, name: str, sentence: str) -> None:
    before = current(workspace)
    with pytest.raises(WorkspaceError, match=sentence):
        rollback(workspace.root, name)
    assert current(workspace) == before


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("index/b/items.parquet", "other", "index/b/items.parquet is not the file that was written; what is published"),
        ("index/b/items.parquet", None, "index/b/items.parquet is not the file that was written"),
        ("index/b/card.json", None, "index/b/card.json is gone; what is published stays; other published runs: a"),
        ("runs/b/steps/index.json", "{", "run b has no receipt of its index that can be read; what is published stays"),
    ],
)
def test_what_is_not_as_it_was_written_is_not_published(
    workspace: Workspace, file: str, text: str | None, sentence: str
) -> None:
    before, path = current(workspace), workspace.path(file)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(MedleyError, match=sentence):
        rollback(workspace.root)
    assert current(workspace) == before
    assert rollback(workspace.root, "a")["run_id"] == "a"


def test_where_nothing_is_published_nothing_is_rolled_back(workspace: Workspace, tmp_path: Path) -> None:
    workspace.path(CURRENT).unlink()
    with pytest.raises(WorkspaceError, match="nothing is published yet"):
        rollback(workspace.root)
    with pytest.raises(WorkspaceError, match="no such folder"):
        rollback(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_published_run_whose_own_folder_is_gone_is_left_for_one_that_is_named(workspace: Workspace) -> None:
    workspace.path("runs/c/run.json").unlink()
    with pytest.raises(WorkspaceError, match="began before c is left; name another one: a, b"):
        rollback(workspace.root)
    assert rollback(workspace.root, "b")["rolled_back_from"] == "c"
    workspace.path("index/a/items.parquet").unlink()
    with pytest.raises(ShardCorrupt):
        rollback(workspace.root, "a")
