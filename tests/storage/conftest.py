"""A server of S3's protocol, a bucket for each test, and machines that share nothing but that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.storage import mirror
from tests.storage.server import Server, serving

Machine = Callable[[str], Path]


@pytest.fixture(scope="session")
def _serving() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(_serving: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, which does what it is asked until a test says otherwise."""
    for name, value in _serving.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(mirror, "_stores", {})
    for name, value in (("fails", lambda *_: False), ("loses", lambda *_: False), ("delay_seconds", 0.0)):
        monkeypatch.setattr(_serving, name, value)
    _serving.requested.clear()
    return _serving


@pytest.fixture
def address(server: Server) -> str:
    """A place in a bucket of the test's own."""
    return f"{server.bucket(f'medley-{uuid4().hex}')}/night"


@pytest.fixture
def machine(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Goes on as a process of a machine that was not there before, or was; returns the folder it keeps things in."""

    def begin(name: str) -> Path:
        monkeypatch.setattr(mirror, "_stores", {})
        monkeypatch.setenv("MEDLEY_CACHE", str(tmp_path / name))
        return tmp_path / name

    return begin
