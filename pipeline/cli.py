"""The command line: a verb per step, and `run` for the whole night."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline import config as configuration
from pipeline import night as nights
from pipeline import steps
from pipeline.config import Config, Modality
from pipeline.errors import ConfigError, MedleyError
from pipeline.night import Night, StepReceipt
from pipeline.runtime import LOG, STARTED_BY_TORCHRUN
from pipeline.steps import Step

log = logging.getLogger("medley")
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="the YAML file of the night")]
Overrides = Annotated[list[str] | None, typer.Option("-s", "--set", help="key.path=value, over the file; repeatable")]
RunId = Annotated[str | None, typer.Option(help="the run; the newest by default, a new one for run and ingest")]
AsOf = Annotated[str | None, typer.Option(help='the night\'s "now", ISO 8601; the time of the call by default')]
Full = Annotated[bool, typer.Option("--full", help="recompute what is there already")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="warnings only")]
WorkspaceFolder = Annotated[Path, typer.Option("-w", "--workspace", help="the folder that medley.yaml names")]


@app.command()
def sample(
    folder: Path,
    items: Annotated[int, typer.Option(min=50, help="records")] = 600,
    users: Annotated[int, typer.Option(min=30, help="buyers")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a synthetic record shop with planted tastes and planted dirt, and a medley.yaml ready to run."""
    from pipeline.sample import write_shop

    summary = write_shop(folder, items, users, seed)
    _say(
        asdict(summary),
        as_json,
        f"wrote a synthetic record shop to {folder}; run it with: medley run -c {folder}/medley.yaml",
    )


@app.command(help=f"Run the whole night: {', '.join(step.name for step in steps.STEPS)}.")
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    run_id: RunId = None,
    as_of: AsOf = None,
    full: Full = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole night."""
    night = _begin(config, overrides, run_id, as_of, full, quiet)
    for step in steps.STEPS:
        steps.perform(night, step.name)
    _say(asdict(night.receipt("publish")), as_json, _published(night))


@app.command()
def ingest(
    config: ConfigFile,
    overrides: Overrides = None,
    run_id: RunId = None,
    as_of: AsOf = None,
    full: Full = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Begin a run: read the source, clean, check, split and stage it."""
    from pipeline.steps.extract import tasks

    night = _begin(config, overrides, run_id, as_of, full, quiet)
    (receipt,) = steps.perform(night, "ingest")
    document = _document(night, receipt) | {"extract": tasks(night)}
    _say(document, as_json, nights.describe(receipt))


@app.command()
def extract(
    config: ConfigFile,
    modality: Annotated[Modality | None, typer.Option(help="one modality; all by default")] = None,
    bucket: Annotated[list[int] | None, typer.Option(help="one bucket; all by default; repeatable")] = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="only what comes before any bucket")] = False,
    overrides: Overrides = None,
    run_id: RunId = None,
    full: Full = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Encode a modality's buckets into Parquet shards."""
    from pipeline.steps.extract import begin
    from pipeline.steps.extract import run as extract_buckets

    night = _resume(config, overrides, run_id, full, quiet)
    chosen = [modality] if modality else steps.configured(night.config)
    if prepare:
        keys = {name: begin(night, name).encoder.key for name in chosen}
        _say({"run_id": night.run_id, "step": "prepare", "encoders": keys}, as_json, f"prepared {', '.join(keys)}")
        return
    receipts = [receipt for name in chosen for receipt in extract_buckets(night, name, bucket)]
    counts = {
        key: sum(getattr(receipt, key) for receipt in receipts) for key in ("rows", "encoded_rows", "missing_rows")
    }
    seconds = round(sum(receipt.seconds for receipt in receipts), 3)
    document = {"run_id": night.run_id, "step": "extract", "modalities": chosen, "seconds": seconds, **counts}
    document["skipped"] = all(receipt.skipped for receipt in receipts)
    _say(document, as_json, f"extracted {len(receipts)} shards, {counts['encoded_rows']} rows encoded")


def _verb(step: Step) -> None:
    """Makes the verb of a step that runs as a whole."""

    @app.command(step.name, help=step.help)
    def verb(
        config: ConfigFile,
        overrides: Overrides = None,
        run_id: RunId = None,
        full: Full = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        night = _resume(config, overrides, run_id, full, quiet, by_torchrun=step.torchrun)
        (receipt,) = steps.perform(night, step.name)
        _say(_document(night, receipt), as_json, nights.describe(receipt))


for _step in steps.STEPS:
    if _step.name not in ("ingest", "extract"):
        _verb(_step)


@app.command()
def tune(
    config: ConfigFile,
    trials: Annotated[int | None, typer.Option(min=1, help="fits in all; tune.trials by default")] = None,
    timeout_seconds: Annotated[int | None, typer.Option(min=1, help="no fit begins later; as configured")] = None,
    overrides: Overrides = None,
    run_id: Annotated[str | None, typer.Option(help="the run whose vectors are used; the newest by default")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search for settings of the recommender, judged on the validation part; resumes what was begun."""
    from pipeline.steps.tune import run as search
    from pipeline.tuning.tune import advice

    limits = {"tune.trials": trials, "tune.timeout_seconds": timeout_seconds}
    limit_overrides = [f"{name}={value}" for name, value in limits.items() if value is not None]
    study = search(steps.fused(_prepare(config, [*(overrides or ()), *limit_overrides], quiet), run_id))
    counts = {"finished_trials": len(study["trials"]), "best_value": study["best"]["value"]}
    _say({"step": "tune", **counts, **study}, as_json, advice(study))


@app.command()
def lookup(
    workspace: WorkspaceFolder,
    user: Annotated[str | None, typer.Option(help="a user of the log")] = None,
    item: Annotated[str | None, typer.Option(help="an item of the catalogue")] = None,
    text: Annotated[str | None, typer.Option(help="any words")] = None,
    image: Annotated[Path | None, typer.Option(help="a picture file")] = None,
    audio: Annotated[Path | None, typer.Option(help="a sound file")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="answers")] = 10,
    as_json: AsJson = False,
) -> None:
    """Ask the published index, by user or by any mix of item, text, image and audio."""
    from pipeline.serving.lookup import Query, ask

    answer = ask(workspace, Query(user, item, text, image, audio, k))
    query = ", ".join(f"{name} {value}" for name, value in answer.query.items())
    lines = [f"{hit.score:8.4f}  {hit.item_id:<12}  {hit.title}" for hit in answer.hits]
    _say(answer.as_json(), as_json, "\n".join([f"for {query}:", *lines, *filter(None, [answer.note])]))


@app.command()
def explain(
    workspace: WorkspaceFolder,
    item: Annotated[str | None, typer.Option(help="an item of the catalogue")] = None,
    user: Annotated[str | None, typer.Option(help="a user of the log: explains their score of the item")] = None,
    other: Annotated[str | None, typer.Option(help="a second item: explains how alike the two are")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what each modality, and each past choice, adds to a published score; the parts add up to it exactly."""
    from pipeline.explain.explain import Question
    from pipeline.explain.explain import explain as explained

    explanation = explained(workspace, Question(item, user, other))
    _say(explanation.as_json(), as_json, explanation.as_text())


@app.command()
def status(workspace: WorkspaceFolder, as_json: AsJson = False) -> None:
    """Say what is published, from which run, how fresh, and which gates passed."""
    from rich.console import Console

    from pipeline.serving.status import show
    from pipeline.serving.status import status as status_of

    standing = status_of(workspace)
    if as_json:
        _say(standing, True, "")
    else:
        show(standing, Console(width=None if sys.stdout.isatty() else 160))


def main() -> None:
    """Runs the command line; an expected error is one line on standard error and its exit status."""
    logging.basicConfig(**LOG)
    try:
        app()
    except MedleyError as error:
        _stop(str(error), error.exit_status)
    except OSError as error:
        _stop(f"{error.filename or 'a file'}: {error.strerror}; nothing published was changed", 1)
    except KeyboardInterrupt:
        _stop("interrupted; what is finished is kept, run it again to go on", 130)


def _stop(sentence: str, exit_status: int) -> None:
    print(f"medley: {sentence}", file=sys.stderr)
    raise SystemExit(exit_status)


def _begin(
    path: Path, overrides: list[str] | None, run_id: str | None, as_of: str | None, full: bool, quiet: bool
) -> Night:
    return nights.begin(_prepare(path, overrides, quiet), as_of, run_id, full)


def _resume(
    path: Path, overrides: list[str] | None, run_id: str | None, full: bool, quiet: bool, by_torchrun: bool = False
) -> Night:
    return nights.resume(_prepare(path, overrides, quiet, by_torchrun), run_id, full)


def _prepare(path: Path, overrides: list[str] | None, quiet: bool, by_torchrun: bool = False) -> Config:
    """by_torchrun: whether torchrun may start the verb."""
    from pipeline.runtime import limit_threads, threads

    if STARTED_BY_TORCHRUN in os.environ and not by_torchrun:
        raise ConfigError("torchrun starts `medley train` alone; run this without it, and set train.processes")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    loaded = configuration.load(path, tuple(overrides or ()))
    limit_threads(threads(loaded))
    return loaded


def _document(night: Night, receipt: StepReceipt) -> dict[str, object]:
    document = asdict(receipt)
    document.pop("outputs")
    details = document.pop("details")
    if receipt.step == "publish":
        index = night.receipt("index")
        document |= {"index": index.digest, "published": details["published"], "gates": details["gates"]}
        document |= {"recall": index.details["recall"], "report": f"{night.workspace.root}/{night.folder}/report.html"}
    return {"run_id": night.run_id, **document}


def _published(night: Night) -> str:
    return f"published {night.receipt('index').path}; report {night.workspace.root}/{night.folder}/report.html"


def _say(document: object, as_json: bool, sentence: str) -> None:
    print(json.dumps(document, ensure_ascii=False, sort_keys=True) if as_json else sentence)


if __name__ == "__main__":
    main()
