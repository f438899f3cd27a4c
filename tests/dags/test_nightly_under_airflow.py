"""The night under a real Airflow: API server, scheduler with LocalExecutor and DAG processor, on a small shop."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import manifest, medley

pytestmark = pytest.mark.slow

DAGS = Path(__file__).parents[2] / "dags"
CONSUMER = """
import json, pathlib
from airflow.sdk import Asset, dag, task

INDEX = Asset("medley_index")

@dag(dag_id="consumer", schedule=[INDEX])
def consumer():
    @task
    def read(triggering_asset_events=None):
        (event,) = triggering_asset_events[INDEX]
        return json.loads((pathlib.Path(event.extra["path"]) / "card.json").read_text())["metric"]

    read()

consumer()
"""
START_SECONDS, NIGHT_SECONDS = 180, 900
EXPORT = "parquet -s folder=exported"


@dataclass
class Airflow:
    """Airflow's services in a folder, on a free port, and what its REST API says."""

    home: Path
    config: Path
    port: int = field(default_factory=lambda: free_port())
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}"
        settings = {
            "CORE__DAGS_FOLDER": str(self.home / "dags"),
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__PARALLELISM": "4",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "API__BASE_URL": url,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.port),
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": self.home.name + "-" * 64,
            "LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        }
        airflow = {f"AIRFLOW__{key}": value for key, value in settings.items()}
        own = {"MEDLEY_CONFIG": str(self.config), "MEDLEY_EXPORT": EXPORT}
        return {**os.environ, **airflow, **own, "AIRFLOW_HOME": str(self.home)}

    def start(self) -> None:
        """Migrates the database, makes the pool, and starts the services in process groups of their own."""
        self.command("db", "migrate")
        self.command("pools", "set", "medley_heavy", "1", "heavy steps")
        environment = self.environment
        for service in ("api-server", "scheduler", "dag-processor"):
            with (self.home / f"{service}.log").open("wb") as log:
                command = [sys.executable, "-m", "airflow", service]
                self.processes.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
                )
        self.until("every DAG is known", lambda: self.ask("dags").get("total_entries") == 4, START_SECONDS)

    def command(self, *arguments: str) -> None:
        """Runs one command of Airflow's own command line."""
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        """Ends every process that was started."""
        for ending in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes:
                try:
                    os.killpg(process.pid, ending)
                    process.wait(20)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns what the REST API answers: `status` and `detail` for a refusal, nothing while it is not up."""
        url = f"http://127.0.0.1:{self.port}"
        for _ in range(5 if body is None else 1):  # SQLite is locked at times, which is a 500
            try:
                with urllib.request.urlopen(f"{url}/auth/token", timeout=30) as answer:
                    token = json.load(answer)["access_token"]
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                data = None if body is None else json.dumps(body).encode()
                request = urllib.request.Request(f"{url}/api/v2/{path}", data, headers)
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return {"status": error.code, "detail": error.read().decode()}
            except OSError:
                pass
            time.sleep(1)
        return {}

    def night(self, **conf: Any) -> dict[str, Any]:
        """Triggers the night as the trigger form does, and returns its finished run."""
        return self.trigger("medley_nightly", conf)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> dict[str, Any]:
        """Triggers a DAG, and returns its finished run."""
        run = self.ask(f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        path = f"dags/{dag_id}/dagRuns/{run['dag_run_id']}"
        self.until(f"{dag_id} ends", lambda: self.ask(path).get("state") in ("success", "failed"), NIGHT_SECONDS)
        return self.ask(path)

    def form(self, **changed: Any) -> dict[str, Any]:
        """What the trigger form sends where these fields were changed: the value of every field, changed or not."""
        params = self.ask("dags/medley_nightly/details")["params"]
        return {name: param["value"] for name, param in params.items()} | changed

    def clear(self, run: dict[str, Any]) -> dict[str, Any]:
        """Clears every task of a run, and returns the run when it has ended again."""
        path = f"dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}"
        before = self.ask(path)["end_date"]
        self.ask(f"{path}/clear", {"dry_run": False})
        self.until("the cleared run ends", lambda: self.ask(path).get("end_date") not in (None, before), NIGHT_SECONDS)
        return self.ask(path)

    def said(self, run: dict[str, Any], task: str, attempt: int) -> list[str]:
        """What Medley wrote into a task's log, as the REST API gives it."""
        path = f"dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}/taskInstances/{task}/logs/{attempt}"
        lines = self.ask(f"{path}?full_content=true")["content"]
        return [line["event"] for line in lines if line.get("logger") == "medley"]

    def tasks(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the task instances of a run of the DAG."""
        return self.ask(f"dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"]

    def until(self, what: str, holds: Any, seconds: float) -> None:
        """Waits until something holds; fails with the end of the services' logs if it does not."""
        deadline = time.monotonic() + seconds
        while not holds():
            logs = "\n".join(path.read_text()[-1500:] for path in self.home.glob("*.log"))
            assert time.monotonic() < deadline, f"waited {seconds} s until {what}\n{logs}"
            time.sleep(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp(f"airflow-{secrets.token_hex(4)}")
    shop = home / "shop"
    sample = [sys.executable, "-P", "-m", "pipeline.cli", "sample", str(shop), "--items", "60", "--users", "40"]
    subprocess.run(sample, check=True)
    config = shop / "medley.yaml"
    unscheduled = yaml.safe_load(config.read_text()) | {"nightly": {"schedule": "", "retry_delay_seconds": 1}}
    config.write_text(yaml.safe_dump(unscheduled))
    (home / "dags").mkdir()
    for file in DAGS.glob("*.py"):
        (home / "dags" / file.name).symlink_to(file)
    (home / "dags" / "consumer.py").write_text(CONSUMER)
    found = Airflow(home, config)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def night(airflow: Airflow) -> dict[str, Any]:
    conf = {
        "settings": {"fuse.width": 48, "note": "from the form"},
        "publish.gate.min_ratio": 0,
        "publish.gate.min_published_ratio": 0,
    }  # 60 items teach no model much
    return airflow.night(**conf)


@pytest.fixture(scope="module")
def current(night: dict[str, Any], airflow: Airflow) -> dict[str, Any]:
    """CURRENT.json after the first night."""
    return json.loads((airflow.config.parent / "workspace" / "CURRENT.json").read_text())


def test_a_triggered_night_succeeds_and_publishes(night: dict[str, Any], airflow: Airflow) -> None:
    assert night["state"] == "success", failures(airflow, night)
    assert (airflow.config.parent / "workspace" / "CURRENT.json").exists()


def test_extraction_is_mapped_under_readable_names(night: dict[str, Any], airflow: Airflow) -> None:
    names = [task["rendered_map_index"] for task in airflow.tasks(night) if task["task_id"] == "extract"]
    assert sorted(name.split()[0] for name in names) == ["audio", "image", "text"]
    assert all(name.split()[1].replace("-", "").isdigit() for name in names)


def test_a_run_keeps_the_id_and_the_now_of_its_dag_run(
    night: dict[str, Any], current: dict[str, Any], airflow: Airflow
) -> None:
    document = manifest(airflow.config.parent / "workspace", current["run_id"])
    assert datetime.fromisoformat(document["as_of"]) == datetime.fromisoformat(night["run_after"])
    assert current["run_id"] == "".join(c if c.isalnum() or c in "-_." else "-" for c in night["dag_run_id"])


def test_the_command_line_gives_the_same_bytes_for_every_artefact(
    night: dict[str, Any], current: dict[str, Any], airflow: Airflow, tmp_path: Path
) -> None:
    by_dag = manifest(airflow.config.parent / "workspace", current["run_id"])
    settings = (
        "-s",
        "fuse.width=48",
        "-s",
        "note=from the form",
        "-s",
        "publish.gate.min_ratio=0",
        "-s",
        "publish.gate.min_published_ratio=0",
    )
    elsewhere = ("-c", airflow.config, "-s", f"workspace={tmp_path / 'workspace'}", "--run-id", "by-hand")
    medley("run", "--as-of", by_dag["as_of"], *elsewhere, *settings)
    by_hand = manifest(tmp_path / "workspace", "by-hand")
    assert by_dag["artefacts"] == by_hand["artefacts"]
    assert by_dag["published"] == by_hand["published"] is not None


def test_a_published_index_updates_the_asset_and_starts_its_consumers(
    current: dict[str, Any], airflow: Airflow
) -> None:
    (event,) = airflow.ask("assets/events")["asset_events"]
    assert event["extra"]["digest"] == current["digest"]
    assert event["extra"]["recall"] == 1.0
    assert event["extra"]["path"] == str(airflow.config.parent / "workspace" / "index" / current["digest"])

    def consumed(dag: str) -> bool:
        runs = airflow.ask(f"dags/{dag}/dagRuns").get("dag_runs", [])
        return [(run["state"], run["run_type"]) for run in runs] == [("success", "asset_triggered")]

    for dag in ("consumer", "medley_export"):
        airflow.until(f"{dag} has run", lambda dag=dag: consumed(dag), START_SECONDS)
    exported = airflow.config.parent / "exported"
    assert json.loads((exported / "CURRENT.json").read_text())["digest"] == current["digest"]
    assert (exported / current["digest"] / "items.npy").exists()


def test_a_refused_night_fails_without_a_retry_and_updates_nothing(current: dict[str, Any], airflow: Airflow) -> None:
    refused = airflow.night(**{"settings": {"fuse.width": 48}, "publish.gate.min_ratio": 1000})
    tasks = {task["task_id"]: (task["state"], task["try_number"]) for task in airflow.tasks(refused)}
    assert tasks.pop("publish") == ("failed", 1)
    assert tasks.pop("extract")[0] == "skipped", "every shard is there: no process is started for one"
    assert {state for state, _ in tasks.values()} == {"success"}
    assert "not published" in failures(airflow, refused)
    assert airflow.ask("assets/events")["total_entries"] == 1
    assert json.loads((airflow.config.parent / "workspace" / "CURRENT.json").read_text()) == current


def test_a_search_tries_settings_on_the_newest_run_and_changes_nothing_published(
    current: dict[str, Any], airflow: Airflow
) -> None:
    workspace = airflow.config.parent / "workspace"
    runs = len(list(workspace.glob("runs/*")))
    searched = airflow.trigger(
        "medley_tune", {"settings": {"train": {"model": "elsa", "max_epochs": 2}}, "tune.trials": 2}
    )
    assert searched["state"] == "success", failures(airflow, searched)
    (document,) = [json.loads(path.read_text()) for path in workspace.glob("tunes/*/tune.json")]
    assert [trial["state"] for trial in document["trials"]] == ["complete", "complete"]
    assert len(list(workspace.glob("runs/*"))) == runs
    assert json.loads((workspace / "CURRENT.json").read_text()) == current


def test_a_run_of_the_form_keeps_what_was_changed_and_follows_the_yaml_in_all_else_when_it_is_cleared(
    current: dict[str, Any], airflow: Airflow
) -> None:
    changed = {"publish.gate.min_ratio": 1000, "train.warm_start": "false", "settings": {"fuse.width": 48}}
    sent = airflow.form(**changed)
    assert len(sent) > 20
    run = airflow.night(**sent)
    its_own = {name: value for name, value in run["conf"].items() if value is not None}
    assert its_own == {**changed, "full": False}
    other = f"other than in {airflow.config}: publish.gate.min_ratio=1000 (there 1.0), fuse.width=48 (there 256)"
    assert airflow.said(run, "ingest", 1)[0] == airflow.said(run, "publish", 1)[0] == other

    before = airflow.config.read_text()
    edited = yaml.safe_load(before) | {"index": {"recommendations": 3}, "publish": {"gate": {"min_ratio": 2.0}}}
    airflow.config.write_text(yaml.safe_dump(edited))
    try:
        assert airflow.clear(run)["state"] == "failed", "1000 stays, though the YAML came to say 2"
    finally:
        airflow.config.write_text(before)
    assert airflow.said(run, "publish", 2)[0] == other.replace("there 1.0", "there 2.0")
    assert "not published" in failures(airflow, run)
    workspace = airflow.config.parent / "workspace"
    run_id = "".join(c if c.isalnum() or c in "-_." else "-" for c in run["dag_run_id"])
    index = json.loads((workspace / "runs" / run_id / "steps" / "index.json").read_text())["path"]
    lists = pq.read_table(workspace / index / "recommendations.parquet")
    assert max(lists["rank"].to_pylist()) == 3, "of the YAML as it is when the run is cleared, not as it was"


def test_a_wrong_value_is_refused_by_the_form(airflow: Airflow) -> None:
    answer = airflow.ask(
        "dags/medley_nightly/dagRuns", {"logical_date": None, "conf": {"publish.gate.min_ratio": "wide"}}
    )
    assert answer["status"] == 400
    assert "publish.gate.min_ratio" in answer["detail"]


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [
        ({"fuse.width": 48}, "no parameter is called fuse.width; "),
        ({"settings": {"fuse.widht": 48}}, "unknown key fuse.widht; allowed here: "),
    ],
)
def test_a_wrong_setting_ends_the_first_task_with_one_sentence(
    current: dict[str, Any], airflow: Airflow, conf: dict[str, Any], sentence: str
) -> None:
    run = airflow.night(**conf)
    states = {task["task_id"]: task["state"] for task in airflow.tasks(run)}
    assert states["ingest"] == "failed"
    assert sentence in failures(airflow, run)
    assert json.loads((airflow.config.parent / "workspace" / "CURRENT.json").read_text()) == current


def failures(airflow: Airflow, run: dict[str, Any]) -> str:
    """The logs of the tasks that failed."""
    folder = airflow.home / "logs" / f"dag_id={run['dag_id']}" / f"run_id={run['dag_run_id']}"
    failed = [task["task_id"] for task in airflow.tasks(run) if task["state"] == "failed"]
    return "\n".join(path.read_text() for name in failed for path in folder.glob(f"task_id={name}/**/*.log"))
