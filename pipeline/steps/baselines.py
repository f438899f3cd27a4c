"""The models that evaluation ranks beside the trained one, each fitted within its time, or left out with a reason.

Which of them is the strongest is known from the night that chose their settings. For as long as these are kept, those
that it was better than are left out: see `beaten`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.artefacts.log import Log
from pipeline.artefacts.vectors import check_vectors
from pipeline.config.train import TrainSettings
from pipeline.errors import MedleyError, StepFailed, border
from pipeline.evaluation.metrics import Scorer, Task, rank
from pipeline.evaluation.stored import StoredScorers
from pipeline.interactions import Interactions
from pipeline.night import Night
from pipeline.recommend import build, reads
from pipeline.recommend.base import Content, Fit, Model
from pipeline.recommend.models.content import ContentSettings
from pipeline.runtime import threads
from pipeline.steps import train
from pipeline.steps.fits import metric_of, validation_of
from pipeline.steps.train import content_of
from pipeline.steps.warm_start import Kept, kept_settings, settled_by
from pipeline.storage.documents import Json

logger = logging.getLogger("medley")


@dataclass(frozen=True)
class Baselines:
    """What stands beside the trained model, fitted without the test part.

    scorers: by name, in files. fits: how they were made. validation: what they scored there, by the gate's metric.
    notes: by name, why a baseline was not fitted, or what else a reader of its figures has to know.
    """

    scorers: StoredScorers
    fits: dict[str, Fit] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def models_of(night: Night) -> dict[str, TrainSettings]:
    """Of the baselines, without one that is the model itself."""
    baselines = {settings.model: settings for settings in night.config.evaluate.baselines}
    return {name: settings for name, settings in baselines.items() if name != night.config.train.model}


def kept_of(night: Night, is_there: Callable[[Kept], bool]) -> Kept:
    """By baseline, the settings that an earlier night chose and this one takes, see `kept_settings`."""
    return kept_settings(night, "evaluate", models_of(night), is_there)


def beaten(night: Night, kept: Kept) -> dict[str, str]:
    """Of the baselines whose settings are kept, those that need not be measured meanwhile, each by which other one.

    They are all that another one was better than on validation, on the night that chose the settings of both; never the
    gate's own.
    """
    better: dict[str, str] = {}
    for name, own in kept.items():
        # Kept for as many nights: chosen on the same one.
        others = {other: each.score for other, each in kept.items() if each.nights == own.nights}
        scores = {other: score for other, score in others.items() if score is not None}
        best = max(scores, key=lambda other: scores[other], default=name)
        if name in scores and scores[name] < scores[best] and name != night.config.baseline:
            better[name] = best
    return better


def settled_of(night: Night, kept: Kept, fitted: Baselines) -> Json:
    """By baseline, the settings that a next night may take, as a receipt notes them."""
    settled = settled_by(night, models_of(night), kept, fitted.fits, fitted.validation)
    # Of those that were left out, or failed, too.
    return {name: asdict(own) for name, own in {**kept, **settled}.items()}


def fit_baselines(night: Night, log: Log, kept: Kept, folder: Path) -> Baselines:
    """Fits the baselines, and `content` where items have a modality.

    A night goes on without one that cannot be fitted in its time. folder: of the scorers' files.
    """
    history, trained = log.of("train", "validation"), train.read(night).details.model
    config = night.config.evaluate
    models, better = models_of(night), beaten(night, kept)
    beside: dict[str, TrainSettings] = {**models}
    if night.config.extract.modalities():
        beside["content"] = ContentSettings()
    beside.pop(trained, None)
    content = content_of(night, log, frozenset().union(*map(reads, beside.values())))
    fitted = Baselines(StoredScorers(folder))
    # Those that the others are left out for come first: where one of them fails, the others stand in.
    for name, settings in sorted(beside.items(), key=lambda entry: entry[0] in better):
        if better.get(name) in fitted.scorers:
            fitted.notes[name] = _left_out(kept, name, better[name])
            continue
        model = build(settings, night.config.seed, threads(night.config), metric_of(night))
        model.settled = kept[name].settings if name in kept else {}
        try:
            with border(f"model {name}"):
                fit = _fit_within(config.baseline_seconds, model, content, (log.of("train"), validation_of(night, log)))
                scorer = model.scorer(history)
                check_vectors(f"model {name}, for one user,", scorer(np.zeros(1, np.int32)), 1, history.n_items)
            fitted.scorers[name], fitted.fits[name] = scorer, fit
        except (MedleyError, MemoryError) as error:
            fitted.notes[name] = f"not run: {str(error) or 'there is not enough memory for it'}"
            logger.warning("baseline %s is %s", name, fitted.notes[name])
            continue
        if model.note:
            fitted.notes[name] = model.note
        if name in models:
            fitted.validation.update(_validated(night, log, name, model.scorer(log.of("train"))))
    return fitted


def _left_out(kept: Kept, name: str, best: str) -> str:
    return (
        f"not measured this night: on validation it had {kept[name].score:.4f} where {best} had {kept[best].score:.4f} "
        "when their settings were chosen, which happens again after evaluate.settled_nights"
    )


def _fit_within(seconds: float, model: Model, content: Content, log: tuple[Interactions, Interactions]) -> Fit:
    """log: the training and the validation part. Raises StepFailed once so many seconds of the clock are over."""
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end:
            raise StepFailed(f"it takes longer than evaluate.baseline_seconds allows, {seconds:g} s")

    model.check = check
    return model.fit(content, *log, on_epoch=lambda _: check())


def _validated(night: Night, log: Log, name: str, scorer: Scorer) -> dict[str, float]:
    """The model's mean of the gate's metric on validation, by its name; nothing where that cannot be measured."""
    metric, _, cutoff = night.config.publish.gate.metric.partition("@")
    if not cutoff.isdigit() or not int(cutoff):
        return {}
    scores = rank(scorer, Task(log.of("train"), validation_of(night, log)), (int(cutoff),))
    values = scores.values.get(f"{metric}@{cutoff}")
    return {} if values is None or not len(values) else {name: float(values.mean())}
