"""What tonight's fits take from the night that is published: its models, and the settings that its validation chose.

Both are inputs like any other: they are part of what names what comes of them. A night goes without where the published
one knows what this one may not: a later "now", a later cut, or other items held out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.artefacts.model import FitDetails, Settled
from pipeline.artefacts.published import published_now
from pipeline.artefacts.runs import StepReceipt, earlier_receipt, opened_run
from pipeline.artefacts.staged import Staged
from pipeline.artefacts.tries import Try
from pipeline.config.train import RECOMMENDERS, TrainSettings
from pipeline.night import Night
from pipeline.recommend import kind_of, parts
from pipeline.recommend.base import Fit, Room
from pipeline.steps.fits import metric_of
from pipeline.steps.ingest import staged_of
from pipeline.storage.documents import skip_broken
from pipeline.workspace import digest

log = logging.getLogger("medley")
# By model, settings that a night takes.
Kept = Mapping[str, Settled]


def earlier_models(night: Night) -> list[str]:
    """Paths in the workspace of the model to read, "" for none, where none is asked for or none may be read.

    The last one is tonight's to read, the others only where what comes of it is there already: the published night read
    another one than itself, and a night without change is that night again.
    """
    settings = night.config.train
    if night.full or not kind_of(settings.model).reads_earlier(settings, choosing(settings)):
        return [""]
    if already := night.done("train"):
        # The run has trained before, and may be what is published now.
        return [already.noted(FitDetails).before]
    run_id, reason = _published(night)
    if not run_id:
        return [""]
    trained, details = _trained(night, run_id)
    if not reason:
        if trained is None or details is None or night.workspace.artefact(trained.path) is None:
            reason = "its model is gone"
        elif settings.warm_start and details.model != settings.model:
            reason = "it is of another model"
    if reason or not trained or not details:
        log.info("train begins without the night %s: %s", run_id, reason)
        return [""]
    return [details.before, trained.path]


def _trained(night: Night, run_id: str) -> tuple[StepReceipt | None, FitDetails | None]:
    """What an earlier run's training left, and noted; None where that is gone or broken."""
    trained = earlier_receipt(night.workspace.path("runs", run_id), "train")
    return trained, skip_broken(lambda: trained.noted(FitDetails)) if trained else None


def meaning_of(night: Night, settings: TrainSettings) -> str:
    """A digest of what a model's settings are chosen from, and by what; empty where it has none to choose."""
    kind = kind_of(settings.model)
    if not kind.settles:
        return ""
    identity = [kind.version, *RECOMMENDERS.identity(settings.model)]
    return digest("settled", settings.meaning(), identity, metric_of(night), night.config.evaluate.validation_users)


def kept_settings(
    night: Night, step: str, models: Mapping[str, TrainSettings], is_there: Callable[[Kept], bool]
) -> Kept:
    """By model, what the published night's step settled and tonight's is to take, see `evaluate.settled_nights`.

    is_there: whether what comes of such settings is there already; a night without change takes that.
    """
    run_id, reason = _published(night)
    earlier = earlier_receipt(night.workspace.path("runs", run_id), step) if run_id and not reason else None
    if night.full or earlier is None:
        return {}
    noted = skip_broken(lambda: earlier.noted(_Settling))
    settled = {
        name: own
        for name, own in (noted.settled if noted else {}).items()
        if name in models and own.meaning == meaning_of(night, models[name])
    }
    for kept in ({}, settled):
        if is_there(kept):
            return kept
    most = night.config.evaluate.settled_nights
    return {name: replace(own, nights=own.nights + 1) for name, own in settled.items() if own.nights < most}


@dataclass(frozen=True)
class _Settling:
    """What is read of a step's note: by model, what it settled."""

    settled: dict[str, Settled] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a night fits: the settings of the model, and what of it an earlier night chose, from which tries.

    before: the path of the earlier model that is read, empty for none.
    """

    settings: TrainSettings
    kept: Kept
    tries: Mapping[str, Try] = field(default_factory=dict)
    before: str = ""


def choosing(settings: TrainSettings) -> dict[str, TrainSettings]:
    """By model, the settings of those that may choose: the model, and what it is made of."""
    return {settings.model: settings, **{part.model: part for part in parts(settings)}}


def planned(night: Night, is_there: Callable[[Plan], object]) -> Plan:
    """What the night fits: what is there already, as `is_there` says, if anything, and else what there is time for."""
    befores = earlier_models(night)

    def plans_of(kept: Kept) -> list[Plan]:
        reads = kind_of(night.config.train.model).reads_earlier(night.config.train, kept)
        return [replace(plan, before=before) for before in (befores if reads else [""]) for plan in _plans(night, kept)]

    kept = kept_settings(night, "train", choosing(night.config.train), lambda kept: any(map(is_there, plans_of(kept))))
    plans = plans_of(kept)
    return next(filter(is_there, plans), plans[-1])


def _plans(night: Night, kept: Kept) -> list[Plan]:
    """What the published night tried, if anything, and what there is time for tonight, by how long that took."""
    settings, staged = night.config.train, staged_of(night).summary
    room = Room(staged.parts["train"], staged.items)
    settled = kept[settings.model].settings if settings.model in kept else {}
    run_id, _ = _published(night)
    details = _trained(night, run_id)[1] if run_id else None
    tries = details.tries if details else {}
    rooms = [room]
    if details and tries:
        growth = sum(staged.parts.values()) / max(details.rows, 1)
        seconds = {name: tried.seconds * growth for name, tried in tries.items() if tried.seconds}
        again = {part.model: 0.0 if part.model in tries else np.inf for part in parts(settings)}
        rooms = [replace(room, seconds=again), replace(room, seconds=seconds)]
    kind = kind_of(settings.model)
    return [Plan(kind.planned(settings, of, settled), kept, tries if settled else {}) for of in rooms]


def settings_of(kept: Kept) -> dict[str, Mapping[str, int | float]]:
    """Those of them that decide what comes of them."""
    return {name: kept[name].settings for name in sorted(kept)}


def settled_by(
    night: Night,
    models: Mapping[str, TrainSettings],
    kept: Kept,
    chosen: Mapping[str, Fit],
    scores: Mapping[str, float] | None = None,
) -> dict[str, Settled]:
    """What the models' fits leave for the next night.

    kept: what they took. chosen: the fits, by model. scores: theirs on validation.
    """
    meanings = {name: meaning_of(night, settings) for name, settings in models.items() if name in chosen}
    return {
        name: kept.get(name) or Settled(meaning, dict(chosen[name].settings), score=(scores or {}).get(name))
        for name, meaning in meanings.items()
        if meaning
    }


def _published(night: Night) -> tuple[str, str]:
    """The run that is published, empty for none, and why nothing may be taken from it, empty if it may."""
    current = skip_broken(lambda: published_now(night.workspace.root))
    return ("", "") if current is None else (str(current["run_id"]), _refusal(night, str(current["run_id"])))


def _refusal(night: Night, run_id: str) -> str:
    earlier = night.workspace.path("runs", run_id)
    run, ingested, config = opened_run(earlier), earlier_receipt(earlier, "ingest"), night.config
    if not run or not ingested or night.workspace.artefact(ingested.path) is None:
        return "what it learned from is gone"
    if str(run["as_of"]) > night.as_of.isoformat():
        return "it is of a later time"
    staged_by = run["config"].get("ingest"), run["config"].get("seed")
    if staged_by != (config.ingest.model_dump(mode="json"), config.seed):
        return "it was staged by other settings"
    if config.ingest.split == "given":
        return "a given split may give an interaction another part than it did"
    staged = Staged(night.workspace.path(ingested.path))
    before, cut = skip_broken(lambda: staged.summary), staged_of(night).summary.validation_cut
    if before is None:
        return "what it learned from is gone"
    return "its training part ends later" if before.validation_cut and cut and before.validation_cut > cut else ""
