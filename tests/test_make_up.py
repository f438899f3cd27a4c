"""`make up` gives every service the addresses of its port, opens no other, and leaves no process behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
AIRFLOW = """#!/bin/sh
env > "$SEEN/$1.new"
echo "ARGUMENTS=$*" >> "$SEEN/$1.new"
echo "PID=$$" >> "$SEEN/$1.new"
mv "$SEEN/$1.new" "$SEEN/$1"
while [ "$1" != api-server ] || [ ! -e "$SEEN/ended" ]; do sleep 0.1; done
exit 3
"""
SERVICES = ("api-server", "scheduler", "dag-processor", "triggerer")
HERE = ("-o", ".venv/.installed", "-o", "demo/airflow/.ready", "-o", "demo/shop/medley.yaml")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`make up` at port 9090, its services noting in `seen/` what they were given, once each of them has."""
    (tmp_path / "seen").mkdir()
    (tmp_path / "airflow").write_text(AIRFLOW)
    (tmp_path / "airflow").chmod(0o755)
    command = ["make", "-f", str(ROOT / "Makefile"), *HERE, f"BIN={tmp_path}", "PORT=9090", "up"]
    environment = {**os.environ, "SEEN": str(tmp_path / "seen")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    make = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipes)
    deadline = time.monotonic() + 30
    while not all((tmp_path / "seen" / service).exists() for service in SERVICES):
        assert time.monotonic() < deadline, "the services did not start"
        time.sleep(0.05)
    yield make
    for service in seen(tmp_path).values():
        with suppress(ProcessLookupError):
            os.kill(int(service["PID"]), signal.SIGKILL)


def seen(folder: Path) -> dict[str, dict[str, str]]:
    """Each service's environment, its arguments and its process."""
    files = {service: (folder / "seen" / service).read_text().splitlines() for service in SERVICES}
    return {service: dict(line.split("=", 1) for line in lines if "=" in line) for service, lines in files.items()}


@pytest.mark.parametrize("ending", ["the API server", "SIGTERM", "Ctrl-C"])
def test_every_address_has_the_port_on_loopback_and_all_services_end_together(
    up: subprocess.Popen[bytes], tmp_path: Path, ending: str
) -> None:
    given = seen(tmp_path)
    for environment in given.values():
        assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
        for port in ("API__PORT", "LOGGING__WORKER_LOG_SERVER_PORT", "LOGGING__TRIGGER_LOG_SERVER_PORT"):
            assert environment[f"AIRFLOW__{port}"] == "9090"
        assert environment["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:9090"
        assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:9090/execution/"
    arguments = {service: environment["ARGUMENTS"] for service, environment in given.items()}
    for service in ("scheduler", "triggerer"):
        assert arguments[service] == f"{service} --skip-serve-logs", "a log server listens on every interface"

    if ending == "the API server":
        (tmp_path / "seen" / "ended").touch()
    elif ending == "Ctrl-C":
        os.killpg(up.pid, signal.SIGINT)  # a terminal's goes to all that stand in the foreground
    else:
        up.terminate()
    said, _ = up.communicate(timeout=30)
    assert up.returncode != 0
    assert b"http://127.0.0.1:9090, " in said
    assert not any(psutil.pid_exists(int(environment["PID"])) for environment in given.values())
