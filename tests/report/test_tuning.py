"""The search for settings in the report: the newest one, its trials in their places, nothing where there is none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.report import RunFiles, gather, render
from pipeline.report.tuning import tuning_of
from tests.report.conftest import EVIL

SPACE = {
    "train.learning_rate": {"low": 0.01, "high": 1.0, "log": True},
    "train.neighbours": {"low": 2, "high": 10, "log": False},
    "train.model": ["elsa", "bpr", EVIL],
}


def trial(number: int, value: float | None, rate: float, neighbours: int, model: str = "elsa") -> dict[str, Any]:
    settings = dict(zip(SPACE, (rate, neighbours, model), strict=True))
    state = "failed" if value is None else "complete"
    return {"number": number, "state": state, "settings": settings, "value": value, "epochs": 3, "seconds": 1.5} | {
        "configured": number == 0,
        "problem": "" if value else "StepFailed: no",
    }


TRIALS = [
    trial(0, 0.2, 0.1, 6),
    trial(1, 0.4, 1.0, 10, EVIL),
    trial(2, None, 0.5, 2),
    trial(3, 0.3, 0.01, 2, "bpr"),
]


def write(workspace: Path, name: str, trials: list[dict[str, Any]]) -> Path:
    path = workspace / "tunes" / name / "tune.json"
    path.parent.mkdir(parents=True)
    judged = [one for one in trials if one["value"] is not None]
    best = max(judged, key=lambda one: one["value"], default=None)
    document = {"metric": "ndcg@10", "space": SPACE, "trials": trials, "best": best, "wanted_trials": 5}
    path.write_text(json.dumps(document | {"configured": judged[0] if judged else None}))
    return path


def test_trials_stand_where_their_settings_and_scores_are(tmp_path: Path) -> None:
    write(tmp_path, "a", TRIALS)
    found = tuning_of(tmp_path)
    assert found is not None
    assert (found.finished, found.wanted, found.low, found.high, found.configured) == (4, 5, 0.2, 0.4, 0.2)
    rate, neighbours, model = found.axes
    assert (rate.setting, rate.low, rate.high) == ("learning_rate", "0.01", "1")
    places = {(round(dot.x, 3), round(dot.y, 3), dot.role) for dot in rate.dots}
    assert places == {(0.5, 0.0, "configured"), (1.0, 1.0, "best"), (0.0, 0.5, "")}
    assert {round(dot.x, 3) for dot in neighbours.dots} == {0.0, 0.5, 1.0}
    assert {round(dot.x, 3) for dot in model.dots} == {0.0, 0.5, 1.0}
    assert rate.dots[-1].role == "best", "drawn over the others"
    assert [one.number for one in found.trials] == [2, 4, 1, 3]
    assert found.trials[-1].state == "failed"


def test_the_newest_search_is_shown_and_one_without_a_score_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert tuning_of(tmp_path) is None
    old, new = write(tmp_path, "old", TRIALS), write(tmp_path, "new", TRIALS[:1])
    os.utime(old, (1, 1))
    assert tuning_of(tmp_path).digest == "new"  # type: ignore[union-attr]
    os.utime(new, (0, 0))
    assert tuning_of(tmp_path).digest == "old"  # type: ignore[union-attr]
    old.unlink()
    new.unlink()
    write(tmp_path, "failed", [TRIALS[2]])
    assert tuning_of(tmp_path) is None
    (tmp_path / "tunes/failed/tune.json").write_text("[")
    with caplog.at_level("WARNING", "medley"):
        assert tuning_of(tmp_path) is None, "a broken search keeps no night from its report"
    assert "remove it and search again" in caplog.text


def test_the_page_has_the_section_where_there_is_a_search_alone(write_run: Callable[..., RunFiles]) -> None:
    run = write_run()
    assert 'id="tuning"' not in render(gather(run))
    write(run.workspace, "a", TRIALS)
    page = render(gather(run))
    section = page.split('<section id="tuning">')[1].split("</section>")[0]
    assert section.count("<svg") == 3
    assert section.count("<circle") == 9
    assert "0.4000" in section
    assert EVIL not in page
