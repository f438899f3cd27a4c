"""Airflow in processes of its own: importing it changes the logging and the warnings of the process that does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = f"""
import json, os, runpy, sys, time
import airflow.sdk
from airflow.sdk import Asset, Param, TriggerRule, dag, get_current_context, task

sys.path.append({str(ROOT / "dags")!r})  # as Airflow does with a bundle's folder

def parse(config, file="nightly.py"):
    os.environ.pop("MEDLEY_CONFIG", None)
    if config is not None:
        os.environ["MEDLEY_CONFIG"] = config
    return runpy.run_path(os.path.join({str(ROOT / "dags")!r}, file))
"""


class RunsWithAirflow(Protocol):
    """Runs Python that has `parse(config, file)`, a DAG file's names, and returns the JSON that it prints last."""

    def __call__(self, script: str, *arguments: str) -> Any: ...


@pytest.fixture(scope="session")
def with_airflow(tmp_path_factory: pytest.TempPathFactory) -> RunsWithAirflow:
    home = tmp_path_factory.mktemp("airflow")

    def run(script: str, *arguments: str) -> Any:
        environment = {**os.environ, "AIRFLOW_HOME": str(home)}
        command = [sys.executable, "-c", SCRIPT + script, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=home)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
