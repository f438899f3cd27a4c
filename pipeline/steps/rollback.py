"""Rollback: an earlier published night's index is what is published again; nothing is built."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pipeline.artefacts.published import current, replace_published
from pipeline.artefacts.runs import StepReceipt, earlier_receipt, runs, was_published
from pipeline.errors import ShardCorrupt, WorkspaceError
from pipeline.evaluation.gate import integrity
from pipeline.steps.gate import present
from pipeline.storage.documents import Json
from pipeline.workspace import CARD, Workspace

log = logging.getLogger("medley")


def run(root: Path, run_id: str | None = None) -> Json:
    """Publishes the index of a run that was published before, and returns `CURRENT.json` as it then is.

    root: the workspace's folder. run_id: the run; without one, the newest published one that began before the one that
    is published now. Raises WorkspaceError if nothing is published, or there is no such run to go back to, ShardCorrupt
    if a file of its index is not the one that was written. What is published then stays.
    """
    before = current(root)
    workspace, left = Workspace(root), str(before["run_id"])
    begun = [opened for opened in runs(workspace) if opened["run_id"] == left or _was_published(workspace, opened)]
    opened = _target(begun, left, run_id)
    others = ", ".join(str(other["run_id"]) for other in begun if other["run_id"] not in (left, opened["run_id"]))
    way = f"what is published stays; other published runs: {others or 'none'}"
    folder = workspace.path("runs", str(opened["run_id"]))
    index, publish = earlier_receipt(folder, "index"), earlier_receipt(folder, "publish")
    if index is None or publish is None:
        raise WorkspaceError(f"run {opened['run_id']} has no receipt of its index that can be read; {way}")
    _verify(workspace, index, way)
    # Where it goes further back, it is still the same night that was left.
    first_left = str(before.get("rolled_back_from") or left)
    replace_published(
        workspace,
        before,
        opened,
        index,
        forced=str(publish.details.get("forced", "")),
        rolled_back_from="" if first_left == opened["run_id"] else first_left,
    )
    log.info("rolled back from run %s to run %s: index %s", left, opened["run_id"], index.digest)
    return current(root)


def _was_published(workspace: Workspace, opened: Json) -> bool:
    return was_published(workspace.path("runs", str(opened["run_id"])))


def _target(begun: Sequence[Json], left: str, run_id: str | None) -> Json:
    """The run to go back to. begun: the published ones, oldest first. left: the one that is published now."""
    ids = [str(opened["run_id"]) for opened in begun]
    others = ", ".join(name for name in ids if name != left) or "none"
    if run_id == left:
        raise WorkspaceError(f"run {run_id} is what is published already; other published runs: {others}")
    if run_id is not None and run_id not in ids:
        way = "a refused one goes out by `medley publish --force REASON`"
        raise WorkspaceError(f"run {run_id} was not published, or is swept; published runs: {others}; {way}")
    if run_id is None and left not in ids[1:]:
        raise WorkspaceError(f"no published run that began before {left} is left; name another one: {others}")
    return begun[ids.index(run_id) if run_id is not None else ids.index(left) - 1]


def _verify(workspace: Workspace, index: StepReceipt, way: str) -> None:
    verdict = integrity(index.outputs, present(workspace, index))
    if not verdict.passed:
        raise ShardCorrupt(f"not rolled back: {verdict.sentence.partition(';')[0]}; {way}")
    if not workspace.path(index.path, CARD).is_file():
        raise ShardCorrupt(f"not rolled back: {index.path}/{CARD} is gone; {way}")
