from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.indexing import speed
from pipeline.workspace import Workspace


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    monkeypatch.setattr(speed, "measured", lambda: 0.31)
    assert speed.nanoseconds_a_number(workspace) == 0.31
    monkeypatch.setattr(speed, "measured", lambda: 0.99)
    assert speed.nanoseconds_a_number(workspace) == 0.31
    monkeypatch.setattr(speed, "_processor", lambda: "another")
    assert speed.nanoseconds_a_number(workspace) == 0.99


def test_a_number_takes_part_of_a_nanosecond_or_a_few() -> None:
    assert 0.02 < speed.measured() < 20
