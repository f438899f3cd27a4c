"""The night under Airflow: ingest → prepare → extract (mapped) → fuse → train → evaluate → index → publish.

Wiring only. Every task runs one `medley` verb in a process of its own, so that no worker ever loads torch or faiss and
the same night can be run by hand with `medley run`. The environment variable MEDLEY_CONFIG names the YAML file on every
machine that parses or runs this DAG; where it is missing or wrong, the first task fails with the verb's own sentence.

- Parameters: every setting of the YAML under its dotted name (`train.model`), its value there being the default, in the
  trigger form, in `--conf '{"train.model": "content"}'` and on schedule; `as_of` and `full` beside them. Only what
  differs from the YAML is passed on; an empty text field is the empty string. `nightly.*` is read at parse time.
- Identity: run id and `as_of` come from the DAG run (its `run_after`), so that a retry is the same night.
- Pool: heavy tasks wait for a slot of `medley_heavy`, made once by `airflow pools set medley_heavy 1 Medley` (more
  slots where there are more machines). Airflow queues nothing into a pool that does not exist: ingest runs, the tasks
  after it stay "scheduled" until the pool is there, and the scheduler's log says why.
- Asset: a night that published updates `medley_index`; the event's extra has `digest`, `path`, `recall` and `run_id`. A
  DAG scheduled on `Asset("medley_index")` starts then. A night that failed or whose gate refused updates nothing.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from pipeline.config import Config, leaves, load
from pipeline.errors import ConfigError, GateRefused

POOL = "medley_heavy"
INDEX = Asset("medley_index")
FINAL = (ConfigError.exit_status, GateRefused.exit_status)  # exit statuses that a retry cannot change
GRACE_SECONDS = 10
GROUP_NAME = "{% set g = task.op_kwargs['group'] %}{{ g.modality }} {{ g.buckets[0] }}-{{ g.buckets[-1] }}"
NULLABLE = {"type": ["string", "null"]}  # the form sends an empty text field as null
CONFIG_FILE = Path(os.environ.get("MEDLEY_CONFIG") or "medley.yaml").absolute()

log = logging.getLogger("medley")
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


def read_config() -> Config:
    """Returns the settings of MEDLEY_CONFIG; the defaults, with no schedule, if they cannot be read."""
    try:
        return load(CONFIG_FILE)
    except ConfigError:
        return Config.model_validate({"nightly": {"schedule": ""}})


def settings(config: Config) -> dict[str, Any]:
    """Returns what a run may set, by dotted name: all but `nightly.*` and the modalities that the YAML turns off."""
    document = config.model_dump(mode="json")
    found: dict[str, Any] = {}
    for path, _ in leaves(config):
        value: Any = document
        for part in path.split("."):
            value = value.get(part, KeyError) if isinstance(value, dict) else KeyError
        if value is not KeyError and not path.startswith("nightly."):
            found[path] = value
    return found


def make_params(values: dict[str, Any]) -> dict[str, Param]:
    """Returns one typed Param a setting, in the sections of the YAML, after those of the run itself."""
    now = "the night's now, ISO 8601 with a zone; empty for the time the run was due"
    return {
        "as_of": Param(None, now, schema={**NULLABLE, "format": "date-time"}),
        "full": Param(False, "compute everything again, whatever is there already", schema={"type": "boolean"}),
        **{path: make_param(path, values[path], described) for path, described in leaves(CONFIG) if path in values},
    }


def make_param(path: str, value: Any, described: dict[str, Any]) -> Param:
    """Returns the Param of one setting from its JSON schema, titled by its dotted name."""
    schema = {key: rule for key, rule in described.items() if key not in ("default", "description", "const")}
    if "const" in described:
        schema["enum"] = [described["const"]]
    elif schema.get("type") == "string" and "enum" not in schema:
        schema.update(NULLABLE)
    schema.update(title=path, section=path.rpartition(".")[0] or "general")
    return Param(value, described.get("description"), schema=schema)


CONFIG = read_config()
DEFAULTS = settings(CONFIG)


def medley(verb: str, *arguments: str) -> dict[str, Any]:
    """Runs one verb for the current DAG run, its log lines in the task's log, and returns its JSON document.

    Raises AirflowFailException where a retry cannot help (bad configuration, gate refused), AirflowException elsewhere.
    """
    command = [sys.executable, "-P", "-m", "pipeline.cli", verb, *arguments, *_options()]
    log.info("medley %s", shlex.join(command[4:]))
    with tempfile.TemporaryFile() as answer:
        status, last = _run(command, answer.fileno())
        if status == 0:
            answer.seek(0)
            return json.load(answer)
    if status < 0:
        raise AirflowException(f"medley {verb} was ended by {signal.Signals(-status).name}")
    said = last or f"medley {verb} ended with status {status} and said nothing"
    raise (AirflowFailException if status in FINAL else AirflowException)(said)


def _options() -> Iterator[str]:
    context = get_current_context()
    run, params = context["dag_run"], context["params"]
    yield from ("--json", "-c", str(CONFIG_FILE))
    yield "--run-id=" + re.sub(r"[^A-Za-z0-9_.-]", "-", run.run_id).lstrip(".-")
    if params["full"]:
        yield "--full"
    for path, default in DEFAULTS.items():
        value = "" if params[path] is None else params[path]
        if value != default:
            yield from ("-s", f"{path}={json.dumps(value, ensure_ascii=False)}")


def _run(command: list[str], stdout: int) -> tuple[int, str]:
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=CONFIG_FILE.parent if CONFIG_FILE.parent.is_dir() else None,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    last = ""
    with _ended_with_the_task(child):
        for line in child.stderr or ():
            if line := line.rstrip():
                log.info("%s", line)
                last = line
        return child.wait(), last


def _die_with_parent() -> None:
    if PRCTL is not None:
        PRCTL(1, signal.SIGTERM)  # PR_SET_PDEATHSIG of Linux: a worker killed outright takes its verb with it


@contextmanager
def _ended_with_the_task(child: subprocess.Popen[str]) -> Iterator[None]:
    """Ends the child's process group when the task ends first: by SIGTERM, a timeout, or any exception."""

    def end(signum: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signum)

    previous = signal.signal(signal.SIGTERM, lambda *_: end(signal.SIGTERM))
    try:
        yield
    finally:
        if child.poll() is None:
            end(signal.SIGTERM)
            try:
                child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                end(signal.SIGKILL)
                child.wait()
        signal.signal(signal.SIGTERM, previous)


def small(receipt: dict[str, Any]) -> dict[str, Any]:
    """Returns what of a verb's document belongs into XCom: its digests, paths and counts."""
    return {key: value for key, value in receipt.items() if isinstance(value, str | int | float | None)}


@dag(
    dag_id="medley_nightly",
    description=CONFIG.note or "A catalogue and a log become a recommender's published index.",
    schedule=CONFIG.nightly.schedule or None,
    catchup=False,
    max_active_runs=1,
    params=make_params(DEFAULTS),
    default_args={
        "retries": CONFIG.nightly.retries,
        "retry_delay": timedelta(seconds=CONFIG.nightly.retry_delay_seconds),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(hours=1),
        "execution_timeout": timedelta(seconds=CONFIG.nightly.timeout_seconds),
    },
    doc_md=__doc__,
    tags=["medley"],
)
def nightly() -> None:
    """One night: each task is the verb of its name."""

    @task
    def ingest(**context: Any) -> list[dict[str, Any]]:
        now = context["params"]["as_of"] or context["dag_run"].run_after.isoformat()
        receipt = medley("ingest", f"--as-of={now}")
        context["ti"].xcom_push("receipt", small(receipt))
        log.info("%d tasks to extract, each as the pool %s has a free slot", len(receipt["extract"]), POOL)
        return receipt["extract"]

    @task(pool=POOL)
    def prepare() -> dict[str, Any]:
        return small(medley("extract", "--prepare"))

    @task(pool=POOL, map_index_template=GROUP_NAME)
    def extract(group: dict[str, Any]) -> dict[str, Any]:
        buckets = (part for bucket in group["buckets"] for part in ("--bucket", str(bucket)))
        return small(medley("extract", "--modality", group["modality"], *buckets))

    def heavy(verb: str, **options: Any) -> Any:
        return task(task_id=verb, pool=POOL, **options)(lambda: small(medley(verb)))()

    @task(outlets=[INDEX])
    def publish(**context: Any) -> dict[str, Any]:
        receipt = small(medley("publish"))
        if not receipt["published"]:
            raise AirflowSkipException("the published index stays as it is")
        extra = {"digest": receipt["index"], "path": receipt["path"], "recall": receipt["recall"]}
        context["outlet_events"][INDEX].extra = {**extra, "run_id": context["run_id"]}
        return receipt

    groups, prepared = ingest(), prepare()
    extracted = extract.expand(group=groups)
    groups >> prepared >> extracted
    fused = heavy("fuse", trigger_rule=TriggerRule.NONE_FAILED)  # nothing to extract is no failure
    extracted >> fused >> heavy("train") >> heavy("evaluate") >> heavy("index") >> publish()


NIGHTLY = nightly()
