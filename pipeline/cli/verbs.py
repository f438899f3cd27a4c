"""The verbs: one a step, `run` for the whole night, and those that ask what nights left."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import steps
from pipeline.cli.verb import (
    Answer,
    AsOf,
    Full,
    WorkspaceFolder,
    answered,
    app,
    begin,
    parts_document,
    read_config,
    resume,
    step_document,
    verb,
)
from pipeline.errors import CheckFailed, ConfigError, MedleyError, StepHangs
from pipeline.printable import printable
from pipeline.runtime import begin_log

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.night import Night
else:
    # See `cli.verb`.
    Config = Night = object

log = logging.getLogger("medley")


@verb()
def sample(
    folder: Path,
    items: Annotated[int, typer.Option(min=50, help="records")] = 600,
    users: Annotated[int, typer.Option(min=30, help="buyers")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> Answer:
    """Write a synthetic record shop with planted tastes and planted dirt, and a medley.yaml ready to run."""
    from pipeline.sample import write_shop

    summary = write_shop(folder, items, users, seed)
    text = f"wrote a synthetic record shop to {folder}; run it with: medley run -c {folder}/medley.yaml"
    return asdict(summary), text


@verb(begin, help=f"Run the whole night: {', '.join(step.name for step in steps.STEPS)}.")
def run(night: Night) -> Answer:
    """Run the whole night."""
    for step in steps.STEPS:
        steps.perform(night, step.name)
    published = f"published {night.receipt('index').path}; report {night.workspace.place}/{night.folder}/report.html"
    return asdict(night.receipt("publish")), published


@verb(read_config)
def check(config: Config, as_of: AsOf = None) -> Answer:
    """Say what can be known before a night, on a sample of rows: source, checks, encoders, media, room."""
    from datetime import UTC, datetime

    from pipeline.night import parse_time
    from pipeline.steps.preflight import preflight

    findings = preflight(config, parse_time(as_of) if as_of else datetime.now(UTC))
    text = "\n".join(f"{finding.level:<8} {finding.subject:<14} {finding.sentence}" for finding in findings)
    failed = [finding.subject for finding in findings if finding.level == "error"]
    document = {"findings": [asdict(finding) for finding in findings]}
    return document, text, CheckFailed(f"{', '.join(failed)} would stop a night") if failed else None


@verb(begin)
def ingest(night: Night) -> Answer:
    """Begin a run: read the source, clean, check, split and stage it."""
    from pipeline.night import describe

    (receipt,) = steps.perform(night, "ingest")
    return step_document(night, receipt), describe(receipt)


@verb(resume)
def extract(
    night: Night,
    modality: Annotated[str | None, typer.Option(help="one modality; all by default")] = None,
    bucket: Annotated[list[int] | None, typer.Option(help="one bucket; all by default; repeatable")] = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="only what comes before any bucket")] = False,
) -> Answer:
    """Encode a modality's buckets into Parquet shards."""
    from pipeline.steps.extract import plan, tasks
    from pipeline.steps.extract import run as extract_buckets

    modalities = [modality] if modality else steps.configured(night.config)
    if prepare:
        with steps.running(night, "extract"):
            plans = {name: plan(night, name) for name in modalities}
        keys, groups = (
            {name: planned.ready.encoder.key for name, planned in plans.items()},
            tasks(plans, night.config.nightly.task_seconds),
        )
        prepared = {"run_id": night.run_id, "step": "prepare", "encoders": keys, "tasks": groups}
        return prepared, f"prepared {', '.join(keys)}; {len(groups)} tasks to extract"
    with steps.running(night, "extract"):
        receipts = [receipt for name in modalities for receipt in extract_buckets(night, name, bucket)]
    document: dict[str, object] = {"modalities": modalities, **parts_document(night, "extract", receipts)}
    return document, f"extracted {len(receipts)} shards, {document['encoded_rows']} rows encoded"


def _whole(step: steps.Step) -> None:
    """Makes the verb of a step that runs as a whole."""

    @verb(resume, step.name, step.help, step.torchrun)
    def perform(night: Night) -> Answer:
        from pipeline.night import describe

        (receipt,) = steps.perform(night, step.name)
        return step_document(night, receipt), describe(receipt)


for _step in steps.STEPS:
    if _step.name not in ("ingest", "extract", "index", "publish"):
        _whole(_step)


@verb(resume)
def index(
    night: Night,
    of: Annotated[str | None, typer.Option(help="whose parts: recommend or content")] = None,
    part: Annotated[list[int] | None, typer.Option(help="one part alone; repeatable")] = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="only what comes before any part")] = False,
) -> Answer:
    """Build the FAISS index."""
    from pipeline.night import describe
    from pipeline.steps.index import tasks
    from pipeline.steps.index_cells import run as find_cells

    if (of is None) != (not part) or (prepare and part):
        raise ConfigError("index: --of and --part go together, and without --prepare")
    if prepare:
        with steps.running(night, "index"):
            groups = tasks(night)
        return {"run_id": night.run_id, "step": "prepare", "tasks": groups}, f"{len(groups)} tasks to find cells"
    if of is None or part is None:
        (receipt,) = steps.perform(night, "index")
        return step_document(night, receipt), describe(receipt)
    with steps.running(night, "index"):
        receipts = find_cells(night, of, part)
    document = parts_document(night, f"index.cells.{of}", receipts)
    return document, f"found the cells of {document['rows']} items"


import_module("pipeline.cli.publishing")


@verb(read_config)
def tune(
    config: Config,
    trials: Annotated[int | None, typer.Option(min=1, help="fits in all; tune.trials by default")] = None,
    timeout_seconds: Annotated[int | None, typer.Option(min=1, help="no fit begins later; as configured")] = None,
    run_id: Annotated[str | None, typer.Option(help="the run whose vectors are used; the newest by default")] = None,
) -> Answer:
    """Search for settings of the recommender, judged on the validation part; resumes what was begun."""
    from pipeline.steps.tune import run as search
    from pipeline.tuning.tune import advice

    limits = {"trials": trials, "timeout_seconds": timeout_seconds}
    given = {name: value for name, value in limits.items() if value is not None}
    config = config.model_copy(update={"tune": config.tune.model_copy(update=given)})
    study = search(steps.fused(config, run_id))
    counts = {"finished_trials": len(study["trials"]), "best_value": study["best"]["value"]}
    return {"step": "tune", **counts, **study}, advice(study)


@verb(read_config)
def plan(config: Config, as_of: AsOf = None, full: Full = False) -> Answer:
    """Say what a night would compute again, why, and what it would cost; computes nothing."""
    from pipeline.steps.plan import run as planned
    from pipeline.steps.plan import show

    log.setLevel(logging.WARNING)
    return answered(planned(config, as_of, full), show)


@verb()
def errors(
    workspace: WorkspaceFolder,
    modality: Annotated[str | None, typer.Option(help="rows of one modality; of all by default")] = None,
    reason: Annotated[str | None, typer.Option(help="rows whose reason holds this, each listed")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="drop what is known of these rows")] = False,
    run_id: Annotated[str | None, typer.Option(help="the run; the one begun last by default")] = None,
) -> Answer:
    """Say which rows have no vector and why, and let the next night try them again."""
    from pipeline.steps.errors import document, failures, show

    chosen = failures(workspace, run_id, modality, reason)
    asked = chosen.retry() if retry else None
    return answered(document(chosen, listed=reason is not None, asked=asked), show)


@verb()
def lookup(
    workspace: WorkspaceFolder,
    user: Annotated[str | None, typer.Option(help="a user of the log")] = None,
    item: Annotated[str | None, typer.Option(help="an item of the catalogue")] = None,
    text: Annotated[str | None, typer.Option(help="any words")] = None,
    image: Annotated[Path | None, typer.Option(help="a picture file")] = None,
    audio: Annotated[Path | None, typer.Option(help="a sound file")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="answers")] = 10,
    history: Annotated[list[str] | None, typer.Option(help="an item that someone chose, oldest first")] = None,
    filter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE or NAME=LOW..HIGH, of items' columns")] = None,
) -> Answer:
    """Ask the published index, by user or history, by any mix of item, text, image and audio, or by both."""
    from pipeline.serving.lookup import Query, ask

    answer = ask(workspace, Query(user, item, text, image, audio, k, tuple(history or ()), tuple(filter or ())))
    query = ", ".join(f"{name} {value}" for name, value in answer.query.items())
    lines = [f"{hit.score:8.4f}  {printable(hit.item_id):<12}  {hit.title}" for hit in answer.hits]
    notes = [answer.note] if answer.note else []
    return answer.as_json(), "\n".join(map(printable, [f"for {query}:", *lines, *notes]))


@verb()
def export(
    kind: Annotated[str, typer.Argument(help="parquet, postgresql, redis, qdrant, milvus, opensearch, or another")],
    workspace: WorkspaceFolder,
    settings: Annotated[list[str] | None, typer.Option("-s", "--set", help="the kind's key=value; repeatable")] = None,
) -> Answer:
    """Send what is published to where a team serves it from, compare what that answers, and switch to it."""
    from pipeline.config.load import assignments
    from pipeline.exports.export import export as sent
    from pipeline.exports.export import settings_of

    document = sent(workspace, settings_of(kind, assignments(settings or ())))
    alike = ", ".join(f"{what} alike {share:.4f}" for what, share in document["alike"].items())
    return document, f"exported index {document['index']} to {kind} in {document['seconds']} s: {alike}"


@verb()
def explain(
    workspace: WorkspaceFolder,
    item: Annotated[str | None, typer.Option(help="an item of the catalogue")] = None,
    user: Annotated[str | None, typer.Option(help="a user of the log: explains their score of the item")] = None,
    other: Annotated[str | None, typer.Option(help="a second item: explains how alike the two are")] = None,
) -> Answer:
    """Say what each modality, and each past choice, adds to a published score; the parts add up to it exactly."""
    from pipeline.explain.explain import Question
    from pipeline.explain.explain import explain as explained

    explanation = explained(workspace, Question(item, user, other))
    return explanation.as_json(), explanation.as_text()


import_module("pipeline.cli.serving")


def main() -> None:
    """Runs the command line; an expected error is one line on standard error and its exit status."""
    begin_log()
    try:
        app()
    except MedleyError as error:
        _stop(str(error), error.exit_status, hangs=isinstance(error, StepHangs))
    except OSError as error:
        fault = f"{error.filename}: {error.strerror}" if error.filename else error
        _stop(f"{fault}; nothing published was changed", 1)
    except KeyboardInterrupt:
        _stop("interrupted; what is finished is kept, run it again to go on", 130)


def _stop(sentence: str, exit_status: int, hangs: bool = False) -> None:
    print(f"medley: {printable(sentence)}", file=sys.stderr, flush=True)
    if hangs:
        # Python would wait for the thread.
        logging.shutdown()
        os._exit(exit_status)
    raise SystemExit(exit_status)
