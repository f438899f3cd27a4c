"""What a verb of the command line is made of: the options that verbs share, what they begin with, and what they say."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import ConfigError, MedleyError
from pipeline.runtime import STARTED_BY_TORCHRUN, arrow_without_pandas, limit_threads, threads
from pipeline.storage import local

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.artefacts.runs import StepReceipt
    from pipeline.config import Config
    from pipeline.night import Night
else:
    # Annotations are evaluated to make options of them; what these stand for is no option, and `status` needs neither.
    Config = Night = object

log = logging.getLogger("medley")
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One verb a step, and run for the whole night.",
)

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="the YAML file of the night")]
Overrides = Annotated[list[str] | None, typer.Option("-s", "--set", help="key.path=value, over the file; repeatable")]
RunId = Annotated[str | None, typer.Option(help="the run; the newest by default, a new one for run and ingest")]
AsOf = Annotated[str | None, typer.Option(help='the night\'s "now", ISO 8601; the time of the call by default')]
Full = Annotated[bool, typer.Option("--full", help="recompute what is there already")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="warnings only")]
WorkspaceFolder = Annotated[
    Path,
    typer.Option("-w", "--workspace", parser=local, help="the folder that medley.yaml names, or s3://bucket/prefix"),
]
# What a verb says: its JSON document, the same for people, and what to end with after that was said, if anything.
Answer = tuple[object, str] | tuple[object, str, MedleyError | None]


def read_config(config: ConfigFile, overrides: Overrides = None, quiet: Quiet = False) -> Config:
    """The configuration of a verb, its log and its threads set by it."""
    from pipeline import config as configuration

    log.setLevel(logging.WARNING if quiet else logging.INFO)
    loaded = configuration.load(config, tuple(overrides or ()))
    limit_threads(threads(loaded))
    arrow_without_pandas()
    return loaded


def begin(
    config: ConfigFile,
    overrides: Overrides = None,
    run_id: RunId = None,
    as_of: AsOf = None,
    full: Full = False,
    quiet: Quiet = False,
) -> Night:
    """The night of a verb that begins one."""
    from pipeline import night as nights

    return nights.begin(read_config(config, overrides, quiet), as_of, run_id, full)


def resume(
    config: ConfigFile, overrides: Overrides = None, run_id: RunId = None, full: Full = False, quiet: Quiet = False
) -> Night:
    """The night of a verb that goes on with one."""
    from pipeline import night as nights

    return nights.resume(read_config(config, overrides, quiet), run_id, full)


def verb(
    opened: Callable[..., object] | None = None,
    name: str | None = None,
    help: str | None = None,
    torchrun: bool = False,
) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Makes a verb of a function: its options are the function's parameters and --json.

    opened: what makes the function's first argument, of options that the verb has too. torchrun: whether torchrun may
    start it.
    """
    shared = signature(opened, eval_str=True).parameters if opened else {}

    def made(function: Callable[..., Answer]) -> Callable[..., Answer]:
        def command(as_json: bool, **options: Any) -> None:
            if opened and STARTED_BY_TORCHRUN in os.environ and not torchrun:
                raise ConfigError("torchrun starts `medley train` alone; run this without it, and set train.processes")
            subject = [opened(**{option: options.pop(option) for option in shared})] if opened else []
            document, text, *failures = function(*subject, **options)
            print(json.dumps(document, ensure_ascii=False, sort_keys=True) if as_json else text)
            for failure in filter(None, failures):
                raise failure

        own = list(signature(function, eval_str=True).parameters.values())[1 if opened else 0 :]
        json_option = Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)
        options = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in (*shared.values(), *own)]
        command.__signature__ = Signature([*options, json_option])  # type: ignore[attr-defined]
        command.__annotations__ = {}
        app.command(name or function.__name__, help=help or function.__doc__)(command)
        return function

    return made


def answered(document: dict[str, Any], show: Callable[[dict[str, Any], Console], None]) -> Answer:
    """A document, and as `show` prints it on a console as wide as the terminal, if there is one."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    with console.capture() as text:
        show(document, console)
    return document, text.get().rstrip("\n")


def step_document(night: Night, receipt: StepReceipt) -> dict[str, object]:
    """What a step's verb says as JSON."""
    document = asdict(receipt)
    document.pop("outputs")
    details = document.pop("details")
    if receipt.step == "publish":
        index = night.receipt("index")
        document |= {"index": index.digest, **{name: details[name] for name in ("published", "gates", "forced")}}
        document |= {"recall": index.details["recall"], "report": f"{night.workspace.place}/{night.folder}/report.html"}
    return {"run_id": night.run_id, **document}


def parts_document(night: Night, step: str, receipts: Sequence[StepReceipt]) -> dict[str, object]:
    """What a step's verb says of some of its parts."""
    from pipeline.artefacts.runs import total

    whole = asdict(total(step, receipts))
    fields = ("step", "rows", "encoded_rows", "missing_rows", "seconds", "skipped")
    return {"run_id": night.run_id, **{field: whole[field] for field in fields}}
