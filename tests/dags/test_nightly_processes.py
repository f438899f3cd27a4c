"""A task that ends takes its verb's processes with it, however it ends: no orphan trains on beside the next try."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

VERB = """
import os, pathlib, subprocess, sys, time
helper = subprocess.Popen(["sleep", "600"])
pathlib.Path(sys.argv[1] + ".new").write_text(f"{os.getpid()} {helper.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
print("started", file=sys.stderr, flush=True)
time.sleep(600)
"""
TASK = """
import runpy, signal, sys, tempfile

def late(*_):
    raise TimeoutError

signal.signal(signal.SIGALRM, late)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born ignoring it
verbs = runpy.run_path(sys.argv[1], run_name="medley_verbs")
with tempfile.TemporaryFile() as answer:
    print(verbs["run"]([sys.executable, "-c", sys.argv[2], sys.argv[3]], answer.fileno()))
"""
DAG_FILE = Path(__file__).parents[2] / "dags" / "medley_verbs.py"


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.05)


def running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def task_and_verb(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that waits for a verb as a task does, and the ids of the verb's processes."""
    pids_file = tmp_path / "pids"
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    command = [sys.executable, "-c", TASK, str(DAG_FILE), VERB, str(pids_file)]
    task = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pids: list[int] = []
    try:
        until(lambda: pids_file.exists() or task.poll() is not None)
        pids += map(int, pids_file.read_text().split())
        yield task, pids
    finally:
        task.kill()
        task.communicate()
        for pid in filter(running, pids):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGALRM], ids=lambda sent: sent.name)
def test_a_stopped_task_ends_its_verb_and_what_that_started(
    task_and_verb: tuple[subprocess.Popen[str], list[int]], sent: signal.Signals
) -> None:
    task, pids = task_and_verb
    task.send_signal(sent)
    output, _ = task.communicate(timeout=30)
    assert not any(map(running, pids)), output
    if sent is signal.SIGTERM:
        assert f"(-{int(signal.SIGTERM)}," in output


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a child with its parent")
def test_a_task_killed_outright_ends_its_verb(task_and_verb: tuple[subprocess.Popen[str], list[int]]) -> None:
    task, pids = task_and_verb
    task.kill()
    until(lambda: not running(pids[0]), 10)
