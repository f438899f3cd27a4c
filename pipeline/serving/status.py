"""Status: what is published, from which run, how fresh, and which gates passed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.artefacts.evaluated import Evaluated, Metrics
from pipeline.artefacts.published import current
from pipeline.artefacts.runs import receipt_of, runs
from pipeline.workspace import Json, Workspace

SHOWN = ("recall@10", "recall@20", "ndcg@10", "hitrate@10", "mrr@10", "coverage@10")
SEGMENTS = ("all", "cold", "cold_among_all")


def status(workspace: Path) -> Json:
    """Everything `medley status` says.

    Raises WorkspaceError if nothing is published.
    """
    published = current(workspace)
    folder = workspace / "runs" / str(published["run_id"])
    receipt = receipt_of(folder, "publish")
    age = datetime.now(UTC) - datetime.fromisoformat(str(published["published_at"]))
    newest = runs(Workspace(workspace))[-1]
    return {
        **published,
        "age_seconds": int(age.total_seconds()),
        "gates": receipt.details["gates"] if receipt else [],
        "metrics": Evaluated.read(folder).test,
        "report": str(folder / "report.html"),
        "newest_run": {"run_id": newest["run_id"], "published": newest["run_id"] == published["run_id"]},
    }


def show(document: Json, console: Console) -> None:
    """Prints a status for people."""
    console.print(
        f"[bold]published[/]  index {document['digest']}  as of {document['as_of']}  run {document['run_id']}"
    )
    for gate in document["gates"]:
        mark = "[green]passed[/]" if gate["passed"] else "[red]refused[/]"
        console.print(f"  {mark}  {gate['sentence']}")
    newest = document["newest_run"]
    if not newest["published"]:
        console.print(f"  [yellow]the newest run, {newest['run_id']}, is not the published one[/]")
    for segment in SEGMENTS:
        if segment in document["metrics"]:
            console.print(_table(segment, document["metrics"][segment]))
    others = [segment for segment in document["metrics"] if segment not in SEGMENTS]
    if others:
        console.print(f"in the report too: {', '.join(others)}", soft_wrap=True)
    console.print(f"report {document['report']}", soft_wrap=True)


def _table(segment: str, models: Mapping[str, Metrics]) -> Table:
    users = max((metric["users"] for model in models.values() for metric in model.values()), default=0)
    table = Table(title=f"test: {segment} ({users} users, mean and 95 % interval)", title_justify="left")
    table.add_column("model")
    for metric in SHOWN:
        table.add_column(metric, justify="right")
    for name in sorted(models, key=lambda name: models[name].get("ndcg@10", {}).get("mean", 0)):
        table.add_row(name, *(_cell(models[name].get(metric)) for metric in SHOWN))
    return table


def _cell(value: dict[str, float] | None) -> str:
    if value is None:
        return ""
    mean = f"{value['mean']:.3f}"
    return f"{mean} [dim]{value['low']:.3f}–{value['high']:.3f}[/]" if "low" in value else mean
