"""`medley serve` as a process: it says where it answers, ends well, and says in one sentence why it does not start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from pipeline.web.settings import TOKEN_VARIABLE
from tests.conftest import ROOT, Shop, medley, python
from tests.web.conftest import TOKEN


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("medley:")]
    return line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_where_it_says_and_ends_with_status_zero(web_shop: Shop, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "serve", "-w", str(web_shop.workspace), "--port", "0"]
    environment = {**os.environ, TOKEN_VARIABLE: TOKEN}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline()  # type: ignore[union-attr]
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+", line)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.get(f"{address}/api/index", headers=headers, trust_env=False)
        assert answer.json()["run_id"] == "graph"
        assert httpx.get(f"{address}/api/index", trust_env=False).status_code == 401
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out == "ended; 2 requests were answered\n"
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_one_sentence(web_shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = medley("serve", "-w", web_shop.workspace, "--port", port, status=2)
    assert said(done).startswith(
        f"medley: --port {port}: address already in use at 127.0.0.1; give another with --port"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0: others than this machine could ask; set MEDLEY_SERVE_TOKEN"),
        (("--allow-host", "demo.example"), "--allow-host demo.example: who asks by it is not on this machine; set"),
        (("--rate", "often", "--port", "0"), "--rate often: write a number and a time"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_status_two(web_shop: Shop, options: tuple[str, ...], sentence: str) -> None:
    done = medley("serve", "-w", web_shop.workspace, *options, status=2, env={TOKEN_VARIABLE: ""})
    assert said(done).startswith(f"medley: {sentence}")


def test_other_verbs_start_without_what_serves() -> None:
    code = """
import sys
from pipeline.cli import main
sys.argv = ["medley", "--help"]
try:
    main()
except SystemExit:
    pass
print([name for name in ("fastapi", "uvicorn", "starlette", "limits", "numpy", "torch") if name in sys.modules])
"""
    assert python(code).stdout.splitlines()[-1] == "[]"


def test_the_service_starts_without_what_encodes(web_shop: Shop) -> None:
    code = """
import sys
from pipeline.web.served import Serving
from pipeline.web.app import make_app
from pathlib import Path
from pipeline.web.settings import Settings
settings = Settings(Path(sys.argv[1]))
make_app(Serving(settings), settings)
print([name for name in ("torch", "transformers", "sklearn", "librosa") if name in sys.modules])
"""
    assert python(code, web_shop.workspace).stdout.splitlines()[-1] == "[]"
