"""Status: what is published, from which run, how fresh, by which rules; and why no newer run is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.artefacts.evaluated import Evaluated, Metrics
from pipeline.artefacts.published import current, published_now
from pipeline.artefacts.runs import earlier_receipt, runs
from pipeline.errors import WorkspaceError
from pipeline.printable import printable
from pipeline.serving.newest_run import ago, why_not_published
from pipeline.storage.documents import Json
from pipeline.workspace import Workspace

SHOWN = ("recall@10", "recall@20", "ndcg@10", "hitrate@10", "mrr@10", "coverage@10")
COLOURS = {"passed": "green", "warning": "yellow", "refused": "red"}
SEGMENTS = ("all", "cold", "cold_among_all")


def status(workspace: Path, steps: Sequence[str]) -> Json:
    """Everything `medley status` says; nothing is written. steps: the names of a night's, in their order.

    Raises WorkspaceError if nothing is published.
    """
    found = published_now(workspace)
    newest = _newest(workspace, steps, str((found or {}).get("rolled_back_from", "")))
    published = _published(workspace, found, newest)
    folder = workspace / "runs" / str(published["run_id"])
    receipt, fused = earlier_receipt(folder, "publish"), earlier_receipt(folder, "fuse")
    age = datetime.now(UTC) - datetime.fromisoformat(str(published["published_at"]))
    return {
        "forced": "",
        "rolled_back_from": "",
        **published,
        "age_seconds": int(age.total_seconds()),
        "gates": receipt.details["gates"] if receipt else [],
        "warnings": fused.details.get("warnings", []) if fused else [],
        "metrics": Evaluated.read(folder).test,
        "report": str(folder / "report.html"),
        "newest_run": newest if newest["run_id"] != published["run_id"] else {**newest, "published": True, "why": ""},
    }


def _newest(workspace: Path, steps: Sequence[str], rolled_back_from: str) -> Json:
    """The run begun last, as if it were not the published one: `run_id`, `published`, and `why` it is not."""
    run = next(reversed(runs(Workspace(workspace, read_only=True))), None)
    if run is None:
        return {"run_id": None, "published": False, "why": "there is none that can be read"}
    why = why_not_published(run, workspace / "runs" / str(run["run_id"]), steps)
    if run["run_id"] == rolled_back_from:
        why = "it was published, and `medley rollback` went back from it; the next night is judged against this one"
    return {"run_id": run["run_id"], "published": False, "why": why}


def _published(workspace: Path, published: Json | None, newest: Json) -> Json:
    if published is None and newest["run_id"]:
        raise WorkspaceError(
            f"workspace {workspace}: nothing is published yet; of run {newest['run_id']}, {newest['why']}"
        )
    return published or current(workspace)


def show(document: Json, console: Console) -> None:
    """Prints a status for people."""
    console.print(
        f"[bold]published[/]  {ago(document['age_seconds'])}  index {_plain(document['digest'])}  "
        f"as of {_plain(document['as_of'])}  run {_plain(document['run_id'])}"
    )
    if document["rolled_back_from"]:
        console.print(f"  [yellow]rolled back from run {_plain(document['rolled_back_from'])}[/]", soft_wrap=True)
    if document["forced"]:
        reason = f"published by force, though the gate refused it: {_plain(document['forced'])}"
        console.print(f"  [red]{reason}[/]", soft_wrap=True)
    width = max((len(str(gate["name"])) for gate in document["gates"]), default=0)
    for gate in document["gates"]:
        mark = "refused" if not gate["passed"] else "warning" if gate.get("warning") else "passed"
        name = f"{gate['name']:<{width}}"
        line = f"  [{COLOURS[mark]}]{mark:<7}[/]  {_plain(name)}  {_plain(gate['sentence'])}"
        console.print(line, soft_wrap=True)
    for sentence in document["warnings"]:
        console.print(f"  [yellow]warning[/]  {_plain(sentence)}", soft_wrap=True)
    newest = document["newest_run"]
    if not newest["published"]:
        of_run = f"the newest run, {_plain(newest['run_id'])}, is not the published one"
        console.print(f"  [yellow]{of_run}: {_plain(newest['why'])}[/]", soft_wrap=True)
    for segment in SEGMENTS:
        if segment in document["metrics"]:
            console.print(_table(segment, document["metrics"][segment]))
    others = [segment for segment in document["metrics"] if segment not in SEGMENTS]
    if others:
        console.print(f"in the report too: {_plain(', '.join(others))}", soft_wrap=True)
    console.print(f"report {_plain(document['report'])}", soft_wrap=True)


def _table(segment: str, models: Mapping[str, Metrics]) -> Table:
    users = max((metric["users"] for model in models.values() for metric in model.values()), default=0)
    table = Table(title=f"test: {_plain(segment)} ({users} users, mean and 95 % interval)", title_justify="left")
    table.add_column("model")
    for metric in SHOWN:
        table.add_column(metric, justify="right")
    for name in sorted(models, key=lambda name: models[name].get("ndcg@10", {}).get("mean", 0)):
        table.add_row(_plain(name), *(_cell(models[name].get(metric)) for metric in SHOWN))
    return table


def _cell(value: dict[str, float] | None) -> str:
    if value is None:
        return ""
    mean = f"{value['mean']:.3f}"
    return f"{mean} [dim]{value['low']:.3f}–{value['high']:.3f}[/]" if "low" in value else mean


def _plain(text: object) -> str:
    """Text that neither the terminal nor rich obeys."""
    return escape(printable(text))
