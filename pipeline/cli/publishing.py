"""The verbs of what is published: judge a run and publish it, go back to an earlier one, sweep, and say what it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import steps
from pipeline.cli.verb import Answer, WorkspaceFolder, answered, read_config, resume, step_document, verb
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.night import Night
else:
    # See `cli.verb`.
    Config = Night = object


@verb(resume, help=steps.STEPS[-1].help)
def publish(
    night: Night,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="publish though the gate refuses; the reason is recorded")
    ] = None,
) -> Answer:
    """Judge the run, replace what is published, write the report."""
    from pipeline.night import describe
    from pipeline.steps.publish import run

    if force is not None and not force.strip():
        raise ConfigError("--force: give the reason, which status and the report will show")
    with steps.running(night, "publish"):
        receipt = run(night, (force or "").strip())
    return step_document(night, receipt), describe(receipt)


@verb()
def rollback(
    workspace: WorkspaceFolder,
    run: Annotated[
        str | None, typer.Argument(help="the run; by default the published one before the current one")
    ] = None,
) -> Answer:
    """Publish an earlier night's index again, its files verified and nothing rebuilt."""
    from pipeline.steps.rollback import run as roll_back

    current = roll_back(workspace, run)
    return current, f"published {current['index']} of run {current['run_id']}, as of {current['as_of']}, again"


@verb(read_config)
def sweep(config: Config) -> Answer:
    """Remove what no kept run needs, as each published night does."""

    from pipeline.artefacts.published import existing
    from pipeline.steps.sweep import sweep as swept_by
    from pipeline.storage import local
    from pipeline.workspace import Workspace

    swept = swept_by(Workspace(existing(local(config.workspace))), config)
    freed = f"{swept.bytes / 1e6:.1f} MB"
    return asdict(swept), f"swept {len(swept.runs)} runs and {len(swept.artefacts)} artefacts, {freed}"


@verb()
def status(workspace: WorkspaceFolder) -> Answer:
    """Say what is published, from which run, how fresh, and which rules of the gate hold."""
    from pipeline.serving.status import show
    from pipeline.serving.status import status as status_of

    return answered(status_of(workspace, [step.name for step in steps.STEPS]), show)
