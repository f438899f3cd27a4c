"""Weights of a model hub: a server on this machine that answers as the hub's documented routes do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.encoders.weights import locate
from pipeline.errors import WeightsError

FIRST, SECOND = "1" * 40, "2" * 40
FILES = {
    FIRST: {"model.safetensors": b"first weights", "config.json": b"{}", "evil.bin": b"a pickle"},
    SECOND: {"model.safetensors": b"other weights", "config.json": b"{}"},
}


class Hub(ThreadingHTTPServer):
    """A hub that may be gone."""

    is_there = True


class Handler(BaseHTTPRequestHandler):
    """Answers for one model, `org/model`."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        assert isinstance(self.server, Hub)
        parts = self.path.partition("?")[0].strip("/").split("/") if self.server.is_there else []
        if parts[:4] == ["api", "models", "org", "model"] and parts[4] == "tree":
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in FILES.get(parts[5], {}).items()
            ]
            self._send(json.dumps(rows).encode(), "application/json", body)
        elif parts[:3] == ["org", "model", "resolve"] and parts[4] in FILES.get(parts[3], {}):
            self._send(FILES[parts[3]][parts[4]], "application/octet-stream", body, parts[3])
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, data: bytes, kind: str, body: bool, commit: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


def test_a_commit_of_the_hub_is_what_is_read_and_no_pickle_of_it(hub: Hub) -> None:
    for commit in (FIRST, SECOND):
        folder = locate(f"org/model@{commit}")
        assert (folder / "model.safetensors").read_bytes() == FILES[commit]["model.safetensors"]
        assert not (folder / "evil.bin").exists()


def test_what_was_fetched_once_needs_no_hub_and_another_commit_does(hub: Hub) -> None:
    folder = locate(f"org/model@{FIRST}")
    hub.is_there = False
    assert locate(f"org/model@{FIRST}") == folder
    with pytest.raises(WeightsError, match=f"weights org/model@{SECOND}: the model hub does not answer.*path:FOLDER"):
        locate(f"org/model@{SECOND}")


@pytest.mark.parametrize("weights", ["org/model", "org/model@main", f"org/model@{FIRST[:7]}", "model", "@" + FIRST])
def test_a_name_without_a_commit_is_refused_before_the_night(weights: str) -> None:
    with pytest.raises(ValidationError, match=r"NAME@COMMIT: the commit's 40 digits"):
        Config.model_validate({"extract": {"text": {"encoder": "transformer", "weights": weights}}})
