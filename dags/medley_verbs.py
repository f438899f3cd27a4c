"""What Medley's DAGs share: the configuration that they read, its settings as parameters, and how a task runs a verb.

Not a DAG itself. Every task runs one `medley` verb in a process of its own, so that no worker ever loads torch or
faiss. The environment variable MEDLEY_CONFIG names the YAML file on every machine that parses or runs a DAG; where it
is missing or wrong, the first task fails with the verb's own sentence.

- Parameters: what an operator changes on a run, under its dotted name (`train.model`), and `settings`, one JSON object
  for any other setting: `{"evaluate.users": 1000}`. They are the trigger form, and the keys of `--conf`. A field left
  empty is null, which is as the YAML says when a task starts: the form sends every field, and with the YAML's values in
  them a run that is cleared later would have the old ones. A task's log begins with what differs from the YAML. What
  is wrong is said by the first task, in one sentence. `workspace` and `source.*` say whose nights these are, and
  `nightly.*` is read at parse time: the YAML alone has them.
- Pool: heavy tasks wait for a slot of `medley_heavy`, made once by `airflow pools set medley_heavy 1 Medley` (more
  slots where there are more machines). Airflow queues nothing into a pool that does not exist: its tasks stay
  "scheduled" until the pool is there, and the scheduler's log says why.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from pipeline.config import Config, Schema, leaves, load
from pipeline.errors import ConfigError, GateRefused

POOL = "medley_heavy"
FINAL = (ConfigError.exit_status, GateRefused.exit_status)  # exit statuses that a retry cannot change
GRACE_SECONDS = 10
NULLABLE = {"type": ["string", "null"]}  # the form sends an empty text field as null
# The form has no switch with a third place: a text field that suggests these, and in --conf JSON's own as well.
SWITCH = {"type": ["string", "boolean", "null"], "examples": ["true", "false"], "pattern": "^(true|false)$"}
OURS = ("default", "description", "operator", "advanced")  # of a setting's schema, what is no rule for its value
OF_THE_FILE = ("workspace", "source", "nightly")  # settings of the YAML file alone, by their first name
SETTINGS = Param(
    {}, 'any other setting, as JSON: {"evaluate.users": 1000}', schema={"type": ["object", "null"], "title": "settings"}
)

log = logging.getLogger("medley")
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


@dataclass(frozen=True)
class Medley:
    """The command line, run with the YAML file of MEDLEY_CONFIG and the parameters of the current DAG run."""

    file: Path
    config: Config
    form: dict[str, Schema]
    own: dict[str, Param]

    @classmethod
    def read(cls, shown: Callable[[str, Schema], bool], own: dict[str, Param] | None = None) -> Medley:
        """Returns the settings of MEDLEY_CONFIG; the defaults, with no schedule, if they cannot be read.

        shown: of a setting's dotted name and JSON schema, whether the form has it. own: parameters of the DAG that are
        no settings.
        """
        file = Path(os.environ.get("MEDLEY_CONFIG") or "medley.yaml").absolute()
        try:
            config = load(file)
        except ConfigError:
            config = Config.model_validate({"nightly": {"schedule": ""}})
        form = {path: schema for path, schema in leaves(config) if shown(path, schema)}
        return cls(file, config, form, own or {})

    @property
    def params(self) -> dict[str, Param]:
        """The DAG's own, one typed Param a setting of the form, in the sections of the YAML, and `settings`."""
        form = {path: make_param(path, schema) for path, schema in self.form.items()}
        return {**self.own, **form, "settings": SETTINGS}

    def add_params(self, dag: DAG) -> None:
        """Gives a DAG its parameters: once its tasks are there, or each would be serialised with all of them again."""
        dag.params.update(self.params)

    @property
    def limits(self) -> dict[str, Any]:
        """The default arguments of tasks: retries with a growing delay, and a longest time."""
        nightly = self.config.nightly
        return {
            "retries": nightly.retries,
            "retry_delay": timedelta(seconds=nightly.retry_delay_seconds),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(hours=1),
            "execution_timeout": timedelta(seconds=nightly.timeout_seconds),
        }

    def queue(self, step: str) -> dict[str, Any]:
        """The argument of a step's tasks that says which of Celery's workers run them, where the YAML does."""
        queues = {str(own): name for own, name in self.config.nightly.queues.items()}
        return {"queue": queues[step]} if step in queues else {}

    def run(self, verb: str, *arguments: str) -> dict[str, Any]:
        """Runs one verb, its log lines in the task's log, and returns its JSON document.

        Raises AirflowFailException where a retry cannot help (bad configuration, gate refused), AirflowException
        elsewhere.
        """
        options = list(self._options())
        log.info("%s", self._differences())
        return self.ask(verb, *arguments, *options)

    def ask(self, verb: str, *arguments: str) -> dict[str, Any]:
        """Runs one verb as `run` does, without the YAML file and the run's parameters."""
        command = [sys.executable, "-P", "-m", "pipeline.cli", verb, *arguments]
        log.info("medley %s", shlex.join(command[4:]))
        folder = self.file.parent if self.file.parent.is_dir() else None
        with tempfile.TemporaryFile() as answer:
            status, last = run(command, answer.fileno(), folder)
            if status == 0:
                answer.seek(0)
                return json.load(answer)
        if status < 0:
            raise AirflowException(f"medley {verb} was ended by {signal.Signals(-status).name}")
        said = last or f"medley {verb} ended with status {status} and said nothing"
        raise (AirflowFailException if status in FINAL else AirflowException)(said)

    def _options(self) -> Iterator[str]:
        """The command line's options for the current run. Raises as `_given`."""
        yield from ("--json", "-c", str(self.file))
        for path, value in self._given().items():
            yield from ("-s", f"{path}={json.dumps(value, ensure_ascii=False)}")

    def _differences(self) -> str:
        """One line: the settings of the current run that differ from the YAML, and its own. Raises as `_given`."""
        file = {path: schema["default"] for path, schema in leaves(self.config)}
        differs = [
            f"{path}={json.dumps(value, ensure_ascii=False)}"
            + (f" (there {json.dumps(file[path], ensure_ascii=False)})" if path in file else "")
            for path, value in self._given().items()
            if path not in file or value != file[path]
        ]
        return f"other than in {self.file}: {', '.join(differs)}" if differs else f"every setting as in {self.file}"

    def _given(self) -> dict[str, Any]:
        """The settings that the current run has of its own. Raises AirflowFailException if a parameter is wrong."""
        context = get_current_context()
        params, conf = context["params"], context["dag_run"].conf or {}
        self._refuse_unknown({**params, **conf})
        if ignored := sorted(name for name, value in conf.items() if params.get(name) != value):
            raise AirflowFailException(
                f"the conf's {ignored[0]} would be ignored; set core.dag_run_conf_overrides_params to True in Airflow"
            )
        form = {path: params[path] for path in self.form if params[path] is not None}
        switches = {path: json.loads(form[path]) for path in form if self._is_switch(path, form[path])}
        return {**form, **switches, **(params["settings"] or {})}

    def _is_switch(self, path: str, value: Any) -> bool:
        return self.form[path].get("type") == "boolean" and isinstance(value, str)

    def _refuse_unknown(self, params: dict[str, Any]) -> None:
        given = {name for name, value in params.items() if value is not None}  # a form of before may have had others
        unknown = sorted(given - set(self.params))
        if fixed := [name for name in (*unknown, *(params["settings"] or {})) if name.partition(".")[0] in OF_THE_FILE]:
            raise AirflowFailException(f"{fixed[0]} is no parameter of a run; change it in {self.file}")
        if unknown:
            settings = [path for path, _ in leaves(self.config) if path.partition(".")[0] not in OF_THE_FILE]
            nearest = (get_close_matches(unknown[0], [*self.params, *settings], 1) or ["settings"])[0]
            is_setting = nearest in settings and nearest not in self.params
            way = f', to be written as settings: {{"{nearest}": value}}' if is_setting else ""
            raise AirflowFailException(f"no parameter is called {unknown[0]}; the nearest is {nearest}{way}")


def make_param(path: str, described: Schema) -> Param:
    """Returns the Param of one setting from its JSON schema, titled by its dotted name: null is as the YAML says."""
    schema = {key: rule for key, rule in described.items() if key not in (*OURS, "const")}
    if described.get("type") == "boolean":
        schema.update(SWITCH)
    elif "type" in described:
        schema["type"] = [described["type"], "null"]
    if allowed := [described["const"]] if "const" in described else described.get("enum"):
        schema.update(enum=[None, *allowed], values_display={"null": "as the YAML says"})
    schema.update(title=path, section=path.rpartition(".")[0] or "general")
    said = f"{described['description']}. " if described.get("description") else ""
    in_file = json.dumps(described["default"], ensure_ascii=False)
    return Param(None, f"{said}In the YAML: {in_file}", schema=schema)


def run(command: list[str], stdout: int, folder: Path | None = None) -> tuple[int, str]:
    """Returns the exit status of a command and its last line on standard error; ends it if the task ends first."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=folder,
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
