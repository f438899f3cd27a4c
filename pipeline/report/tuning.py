"""The newest search for settings, as the report shows it: a small chart for each setting, and the best trials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.storage import changed, fetched
from pipeline.storage.documents import Json, read_json, skip_broken

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
    settings: Json

    @property
    def texts(self) -> dict[str, str]:
        """The settings by their short names, as text."""
        return {_name(setting): _text(value) for setting, value in self.settings.items()}


@dataclass(frozen=True)
class Tried:
    """What is read of a trial in `tune.json`."""

    number: int
    state: str
    settings: Json
    value: float | None
    epochs: int | None
    seconds: float | None
    configured: bool


@dataclass(frozen=True)
class Search:
    """What is read of `tune.json`."""

    metric: str
    space: Json
    wanted_trials: int
    trials: list[Tried]
    best: Tried | None
    configured: Tried | None


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
    """The newest search of a workspace, or None where none has judged a trial yet, or its `tune.json` is broken."""
    finished = changed(workspace, "tunes/*/tune.json")
    newest = fetched(workspace / max(finished, key=lambda name: finished[name])) if finished else None
    document = skip_broken(lambda: read_json(newest, Search, "remove it and search again")) if newest else None
    if not newest or not document or not document["best"]:
        return None
    trials = [_trial(trial, document["best"]["number"]) for trial in document["trials"]]
    scores = [trial.score for trial in trials if trial.score is not None]
    ranked = sorted(trials, key=lambda trial: (trial.score is None, -(trial.score or 0), trial.number))
    return Tuning(
        digest=newest.parent.name,
        metric=document["metric"],
        finished=len(trials),
        wanted=document["wanted_trials"],
        best=next(trial for trial in trials if trial.role == "best"),
        configured=document["configured"]["value"] if document["configured"] else None,
        low=min(scores),
        high=max(scores),
        axes=tuple(_axis(setting, domain, trials) for setting, domain in document["space"].items()),
        trials=tuple(ranked[:SHOWN]),
    )


def _trial(trial: Json, best: int) -> Trial:
    return Trial(
        number=trial["number"] + 1,
        role="best" if trial["number"] == best else "configured" if trial["configured"] else "",
        score=trial["value"],
        state=trial["state"],
        epochs=trial["epochs"] or 0,
        seconds=trial["seconds"] or 0.0,
        settings=trial["settings"],
    )


def _axis(setting: str, domain: Any, trials: list[Trial]) -> Axis:
    scores = [trial.score for trial in trials if trial.score is not None]
    low, spread = min(scores), (max(scores) - min(scores)) or 1.0
    dots = []
    for trial in sorted(trials, key=lambda trial: trial.role == "best"):  # drawn over the others
        if trial.score is not None and setting in trial.settings:
            value = trial.settings[setting]
            tip = f"{_name(setting)} {_text(value)}: {trial.score:.4f}"
            dots.append(Dot(_place(domain, value), (trial.score - low) / spread, trial.role, tip))
    ends = (domain[0], domain[-1]) if isinstance(domain, list) else (domain["low"], domain["high"])
    return Axis(_name(setting), _text(ends[0]), _text(ends[1]), tuple(dots))


def _place(domain: Any, value: Any) -> float:
    """A value's position on its axis, 0 to 1; choices are evenly spaced."""
    if isinstance(domain, list):
        return (domain.index(value) if value in domain else 0) / max(len(domain) - 1, 1)
    low, high, at = domain["low"], domain["high"], value
    if domain["log"]:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return min(max((at - low) / (high - low), 0.0), 1.0)


def _name(setting: str) -> str:
    return setting.removeprefix("train.")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
