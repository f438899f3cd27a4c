"""Airflow's services for tests: API server, scheduler, DAG processor, and Celery's workers where there are any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import free_port

DAGS = Path(__file__).parents[2] / "dags"
START_SECONDS, NIGHT_SECONDS = 180, 900
EXPORT = "parquet -s folder=exported"


@dataclass
class Airflow:
    """Airflow's services in a folder, on a free port, and what its REST API says.

    own: further environment variables. workers: of Celery, each by the queues that it serves; none of another executor.
    """

    home: Path
    config: Path
    own: Mapping[str, str] = field(default_factory=dict)
    workers: Sequence[str] = ()
    port: int = field(default_factory=free_port)
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
        return {**os.environ, **airflow, **own, "AIRFLOW_HOME": str(self.home), **self.own}

    def start(self) -> None:
        """Migrates the database, makes the pool, and starts the services in process groups of their own."""
        self.command("db", "migrate")
        self.command("pools", "set", "medley_heavy", "1", "heavy steps")
        for service in ("api-server", "scheduler", "dag-processor"):
            self.serve(service, service)
        for number, queues in enumerate(self.workers):
            self.serve(f"worker-{number}", "celery", "worker", "-q", queues, "-H", f"worker-{number}@%h")
        count = sum(file.name != "medley_verbs.py" for file in (self.home / "dags").iterdir())
        self.until("every DAG is known", lambda: self.ask("dags").get("total_entries") == count, START_SECONDS)

    def serve(self, name: str, *service: str) -> subprocess.Popen[bytes]:
        """Starts one service in a process group of its own."""
        # Each of Celery's workers has a log server.
        own = {"AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port())} if service[0] == "celery" else {}
        with (self.home / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "airflow", *service]
            process = subprocess.Popen(
                command, env={**self.environment, **own}, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

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


def failures(airflow: Airflow, run: dict[str, Any]) -> str:
    """The logs of the tasks that failed."""
    folder = airflow.home / "logs" / f"dag_id={run['dag_id']}" / f"run_id={run['dag_run_id']}"
    failed = [task["task_id"] for task in airflow.tasks(run) if task["state"] == "failed"]
    return "\n".join(path.read_text() for name in failed for path in folder.glob(f"task_id={name}/**/*.log"))
