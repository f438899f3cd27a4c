"""Plan: what a night would compute again, row by row and step by step, why, and what it would cost; computes nothing.

- the source is staged into a temporary folder, and every step names what it would make of it: see `plan_dry`;
- a step is compared with the newest night that was finished: see `plan_changes` and `plan_reasons`;
- seconds are those of past nights: see `plan_costs`. `ingest` and `publish` are done every night.

A row that failed for a reason of the machine, and one that is asked for again, is taken for one that now has a vector:
where it fails as before, what follows is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.artefacts.runs import total
from pipeline.config import Config, Modality
from pipeline.night import Night, newest_with
from pipeline.steps.extract import Plan
from pipeline.steps.plan_costs import Costs
from pipeline.steps.plan_dry import NAMED, dry_night, foresee
from pipeline.steps.plan_reasons import Earlier
from pipeline.storage.documents import Json

EVERY_NIGHT, FIRST = "every night", "no night before"
Plans: TypeAlias = Mapping[Modality, Plan]


def run(config: Config, as_of: str | None, full: bool) -> Json:
    """The verb's JSON. Raises what `ingest` raises, and WorkspaceError if the workspace cannot be read."""
    with dry_night(config, as_of, full) as night:
        plans = foresee(night)
        run_id = newest_with(night.workspace, "publish") or newest_with(night.workspace, "ingest")
        earlier = Earlier.of(night, run_id) if run_id else None
        steps = _steps(night, plans, earlier)
        seconds = [step["seconds"] for step in steps.values()]
        return {
            "as_of": night.as_of.isoformat(),
            "full": full,
            "compared_with": run_id,
            "changes": asdict(earlier.changes) if earlier and earlier.changes else None,
            "modalities": {m: {"rows": night.receipt("ingest").rows, "encoded_rows": plans[m].fresh} for m in plans},
            "steps": steps,
            "seconds": None if None in seconds else round(sum(seconds), 3),
        }


def _steps(night: Night, plans: Plans, earlier: Earlier | None) -> dict[str, Json]:
    """By step, as a run's manifest names them: whether it is skipped, or else why not, and its seconds."""
    costs, receipts = Costs(night), night.receipts()
    seconds = {f"extract.{modality}": costs.of_modality(modality, plan) for modality, plan in plans.items()}
    steps: dict[str, Json] = {}
    for name in ("ingest", *seconds, *NAMED, "publish"):
        own = [receipt for receipt in receipts if f"{receipt.step}.".startswith(f"{name}.")]
        skipped = bool(own) and total(name, own).skipped
        why = [EVERY_NIGHT] if name in ("ingest", "publish") else [FIRST]
        if skipped:
            why = []
        elif earlier and why == [FIRST]:
            why = earlier.why(name)
        taken = 0.0 if skipped else seconds[name] if name in seconds else costs.of_step(name)
        steps[name] = {"skipped": skipped, "why": why, "seconds": None if taken is None else round(taken, 3)}
    return steps


def show(planned: Json, console: Console) -> None:
    """Prints the verb's JSON for people, every line cut to the console's width."""
    against = f"compared with run {planned['compared_with']}" if planned["compared_with"] else FIRST
    console.print(Text(f"as of {planned['as_of']}, {against}"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("step", "rows", "seconds", "why"):
        table.add_column(name, justify="right" if name in ("rows", "seconds") else "left", no_wrap=True)
    for name, step in planned["steps"].items():
        rows = planned["modalities"].get(name.removeprefix("extract."), {}).get("encoded_rows", "")
        why = "skipped, it is there already" if step["skipped"] else "; ".join(step["why"])
        table.add_row(name, str(rows), _seconds(step["seconds"]), Text(why))
    table.add_row("night", "", _seconds(planned["seconds"]), "by what past nights took")
    console.print(table)


def _seconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:.1f}"
