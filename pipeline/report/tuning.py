"""The newest search for settings, as the report shows it: a small chart for each setting, and the best trials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.report.files import Document, count, listing, number, read_json, section

SHOWN = 10


@dataclass(frozen=True)
class Dot:
    """A trial in a setting's chart: its place from 0 to 1 on both axes, and the role of the trial."""

    x: float
    y: float
    role: str
    tip: str


@dataclass(frozen=True)
class Axis:
    """One setting and its trials; `low` and `high` are the ends of the axis, or the first and last choice."""

    setting: str
    low: str
    high: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Trial:
    """One fit: its validation score, None where there is none; `role` is best, configured or empty."""

    number: int
    role: str
    score: float | None
    state: str
    epochs: int
    seconds: float
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tuning:
    """A search: how far it came, what it found, and its best trials; `low` and `high` bound the charts' scores."""

    digest: str
    metric: str
    finished: int
    wanted: int
    best: Trial
    configured: float | None
    low: float
    high: float
    axes: tuple[Axis, ...]
    trials: tuple[Trial, ...]


def tuning_of(workspace: Path) -> Tuning | None:
    """The newest search of a workspace, or None where none has judged a trial yet.

    Raises WorkspaceError if its `tune.json` is not readable.
    """
    newest = max(workspace.glob("tunes/*/tune.json"), key=lambda path: path.stat().st_mtime, default=None)
    document = read_json(newest) if newest else {}
    best = section(document, "best")
    scores = [score for trial in listing(document, "trials") if (score := number(trial.get("value"))) is not None]
    if not newest or not scores or not best:
        return None
    low, high = min(scores), max(scores)
    trials = [_trial(trial, count(best.get("number"))) for trial in listing(document, "trials")]
    ranked = sorted(trials, key=lambda trial: (trial.score is None, -(trial.score or 0), trial.number))
    return Tuning(
        digest=newest.parent.name,
        metric=str(document.get("metric", "")),
        finished=len(trials),
        wanted=count(document.get("wanted_trials")),
        best=next(trial for trial in trials if trial.role == "best"),
        configured=number(section(document, "configured").get("value")),
        low=low,
        high=high,
        axes=tuple(_axis(document, setting, low, high) for setting in section(document, "space")),
        trials=tuple(ranked[:SHOWN]),
    )


def _trial(trial: Document, best: int) -> Trial:
    place = count(trial.get("number"))
    return Trial(
        number=place + 1,
        role="best" if place == best else "configured" if trial.get("configured") else "",
        score=number(trial.get("value")),
        state=str(trial.get("state", "")),
        epochs=count(trial.get("epochs")),
        seconds=number(trial.get("seconds")) or 0.0,
        settings=tuple((_name(name), _text(value)) for name, value in section(trial, "settings").items()),
    )


def _axis(document: Document, setting: str, low: float, high: float) -> Axis:
    domain = section(document, "space")[setting]
    best = count(section(document, "best").get("number"))
    dots = []
    for trial in listing(document, "trials"):
        value, score = section(trial, "settings").get(setting), number(trial.get("value"))
        if value is not None and score is not None:
            role = _trial(trial, best).role
            tip = f"{_name(setting)} {_text(value)}: {score:.4f}"
            dots.append(Dot(_place(domain, value), (score - low) / ((high - low) or 1.0), role, tip))
    ends = (domain[0], domain[-1]) if isinstance(domain, list) else (domain["low"], domain["high"])  # type: ignore[index]
    return Axis(_name(setting), _text(ends[0]), _text(ends[1]), tuple(sorted(dots, key=lambda dot: dot.role == "best")))


def _place(domain: object, value: object) -> float:
    """A value's position on its axis, 0 to 1; choices are evenly spaced."""
    if isinstance(domain, list):
        return (domain.index(value) if value in domain else 0) / max(len(domain) - 1, 1)
    assert isinstance(domain, dict)
    low, high, at = (float(end) for end in (domain["low"], domain["high"], value))  # type: ignore[arg-type]
    if domain.get("log"):
        low, high, at = math.log(low), math.log(high), math.log(at)
    return min(max((at - low) / (high - low), 0.0), 1.0)


def _name(setting: str) -> str:
    return setting.removeprefix("train.")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
