"""How old the newest choice is: at the night's "now", and when the night ran."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipeline.artefacts.runs import opened_run
from pipeline.artefacts.staged import Staged
from pipeline.report.files import RunFiles
from pipeline.serving.newest_run import duration


@dataclass(frozen=True)
class Age:
    """How old something was at a moment, in words; is_stale: whether that is more than the gate's
    `max_log_age_days`."""

    words: str
    is_stale: bool


@dataclass(frozen=True)
class NewestChoice:
    """The newest choice of the log. moment: when it was made, ISO. ages: at "as of", and when the night began."""

    moment: str
    ages: tuple[Age, ...]


def newest_choice_of(run: RunFiles) -> NewestChoice | None:
    """Reads the log's times; None where the log is empty."""
    newest, opened = Staged(run.staged).newest_choice(), opened_run(run.folder)
    if newest is None:
        return None
    moments = {"“as of”": run.as_of, **({"the night ran": str(opened["started_at"])} if opened else {})}
    limit = run.rules.max_log_age_days
    passed = {name: (datetime.fromisoformat(moment) - newest).total_seconds() for name, moment in moments.items()}
    return NewestChoice(newest.isoformat(), tuple(_age(seconds, name, limit) for name, seconds in passed.items()))


def _age(seconds: float, moment: str, limit_days: float) -> Age:
    if seconds < 0:
        return Age(f"after {moment}", False)
    return Age(f"{duration(seconds) or 'less than a minute'} before {moment}", seconds > limit_days * 86_400)
