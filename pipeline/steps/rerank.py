"""Rerank: fits the second stage, which re-orders the best of the first for each user where that helps.

- as of the model, there are two fits: the evaluated one learns from the training part, and validation chooses its
  epoch and whether it helps; if so, one of as many epochs learns from everything, and re-orders what goes out;
- both learn from snapshots of the log, so both fits of the model are taken up again and asked for users as they were;
- of many users, a seeded sample is learned from and judged by, see `rerank.pairs` and `rerank.quality`.

Memory, as measured at 10⁴ and 10⁵ items: 1.2 GB, 12 bytes × the modalities' widths and 8 × the model's width an item,
5 × that width a user, and 60 bytes a choice; and what it takes to take up the model.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.artefacts.log import LEARNT, Log
from pipeline.artefacts.reranked import Reranked
from pipeline.config import Config
from pipeline.interactions import Interactions
from pipeline.night import Night, StepReceipt
from pipeline.recommend import kind_of, parts, recommender
from pipeline.recommend.base import Fit
from pipeline.recommend.content_features import prepared_in_place
from pipeline.rerank.snapshot import Catalogue, FirstStage, Modalities
from pipeline.runtime import threads
from pipeline.steps import train
from pipeline.steps.extract import modality_vectors, shard_paths
from pipeline.steps.fits import drop_scratch, fitting, metric_of
from pipeline.steps.ingest import staged_of
from pipeline.steps.train import content_of
from pipeline.storage.documents import Json
from pipeline.workspace import digest

log = logging.getLogger("medley")
VERSION = 4
OFF = "rerank.enabled is false"
NOTHING_SHOWN = "rerank.learn_from is shown, and nothing that was shown can be learned from; see source.shown"
NOTHING_LATER = "nobody's later choices follow earlier ones"
# Settings that a kind of pairs to learn from does not read.
UNREAD = {"shown": {"min_shown_choices", "negatives", "hard_share"}, "sampled": {"min_shown_choices"}}
BETTER = "better than the first stage on validation, by more than chance"


def run(night: Night) -> StepReceipt:
    """Writes `reranked/<digest>/`, see `pipeline.artefacts.reranked`."""
    key = _key(night)
    receipt = night.step("rerank", "reranked", key, lambda folder: _build(night, folder, key))
    drop_scratch(night, key)
    return receipt


def read(night: Night) -> Reranked:
    """This run's re-ranker. Raises StepFailed if it is not there yet."""
    return Reranked.read(night.folder_of("rerank"))


def modality_inputs(night: Night) -> Modalities:
    """Each modality's vectors as the re-ranker reads them: centred, of unit norm, zero rows where missing."""
    return prepared_in_place(modality_vectors(night))


def _key(night: Night) -> str:
    settings = night.config.rerank
    if not settings.enabled:
        return digest("rerank", VERSION, OFF)
    staged = staged_of(night).digest("interactions", "shown")
    read = settings.model_dump(mode="json", exclude={"enabled", "candidates", *UNREAD.get(settings.learn_from, ())})
    rules = [read, _candidates(night.config), night.config.seed, metric_of(night)]
    return digest("rerank", VERSION, *rules, night.receipt("train").digest, shard_paths(night), staged)


def _candidates(config: Config) -> int:
    """How many of the first stage's best are re-ordered: at least all of a list."""
    return max(config.rerank.candidates, config.index.recommendations)


def _build(night: Night, folder: Path, key: str) -> Json:
    reranked = _fitted(night, folder, key) if night.config.rerank.enabled else Reranked(folder, False, OFF, 0)
    reranked.write()
    fit = reranked.fit
    pairs = {} if fit is None else {"learned_from": fit.learned_from, "before": fit.before, "after": fit.after}
    return {"rows": fit.pairs if fit else 0, "used": reranked.used, "reason": reranked.reason, **pairs}


def _fitted(night: Night, folder: Path, key: str) -> Reranked:
    from pipeline.rerank.fit import Part, fit_ranker, refit_ranker

    snapshot, count = staged_of(night), _candidates(night.config)
    staged = snapshot.read_log()
    settings = night.config.rerank.model_copy(update={"candidates": count})
    modalities = modality_inputs(night)
    train, validation = (Part(staged.of(name), staged.shown(name)) for name in LEARNT)
    first = _first_stage(night, staged, "evaluated", train.chosen, modalities)
    with fitting(night, key, "rerank-evaluated", settings.max_epochs) as context:
        fitted = fit_ranker(first, train, settings, context, validation)
    if fitted is None:
        reason = NOTHING_SHOWN if settings.learn_from == "shown" else NOTHING_LATER
        log.warning("rerank: %s", reason)
        return Reranked(folder, False, reason, count)
    ranker, fit = fitted
    ranker.save(folder / "evaluated")
    log.info(
        "rerank of %s pairs, validation %s %.4f re-ordered, %.4f before",
        fit.learned_from, fit.metric, fit.after, fit.before,
    )  # fmt: skip
    if not fit.used:
        return Reranked(folder, False, f"not {BETTER}", count, fit)
    network = ranker.network
    del first, fitted, ranker  # tables of the catalogue's size
    everything = snapshot.read_everything()
    shown = fit.learned_from == "shown"
    past = Part(everything, snapshot.read_all_shown()) if shown else Part.without_shown(everything)
    first = _first_stage(night, staged, "published", everything, modalities)
    settings, epochs = settings.model_copy(update={"learn_from": fit.learned_from}), max(fit.epochs, 1)
    with fitting(night, key, "rerank-published", epochs) as context:
        again = refit_ranker(first, past, settings, context, epochs, network)
    if again is None:
        return Reranked(folder, False, NOTHING_SHOWN, count, replace(fit, used=False))
    again[0].save(folder / "published")
    return Reranked(folder, True, BETTER, count, fit)


def _first_stage(night: Night, staged: Log, part: str, history: Interactions, modalities: Modalities) -> FirstStage:
    """One of the model's two fits, as `train` left it. history: what it was fitted on."""
    trained, settings, whole = train.read(night), night.config.train, np.ones(len(staged.items), bool)
    model = recommender(settings, night.config.seed, threads(night.config))
    members = {
        name: Fit(member.chosen_epochs, settings=member.settings) for name, member in trained.details.members.items()
    }
    chosen = Fit(trained.details.chosen_epochs, settings=trained.details.settings, members=members)
    fitted = [kind_of(own.model) for own in parts(settings) if own.model in members or not members]
    content = content_of(night, staged, frozenset().union(*(kind.restore_reads() for kind in fitted)))
    model.restore(content, history, chosen, trained.folder / part)
    return FirstStage(Catalogue(model.item_vectors, modalities, whole), model.user_vectors)
