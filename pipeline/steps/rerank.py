"""Rerank: the re-ranker's part of the night, which is learned in `train`, measured in `evaluate`, applied in `index`.

As of the model, there are two fits: the evaluated one learns from the training part, and validation chooses its epoch
and whether it helps; if so, one of the same epochs learns from everything, and re-orders what goes out.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.special import expit

from pipeline.artefacts.staged import LEARNT, PARTS, Log
from pipeline.artefacts.vectors import read_vectors
from pipeline.evaluation.calibration import quality
from pipeline.evaluation.metrics import Scores, Task
from pipeline.evaluation.significance import compare, summarise
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.night import Night
from pipeline.recommend import Recommender
from pipeline.recommend.content_features import known, prepared
from pipeline.rerank.candidates import Candidates
from pipeline.rerank.fit import Part, fit_ranker
from pipeline.rerank.impressions import labelled, pairs_of
from pipeline.rerank.network import Ranker, load_ranker
from pipeline.rerank.pairs import drawn
from pipeline.rerank.snapshot import NOTHING, Catalogue, Snapshot
from pipeline.runtime import threads
from pipeline.steps.extract import modality_vectors
from pipeline.steps.ingest import staged_of
from pipeline.workspace import Json

log = logging.getLogger("medley")
METRIC = "ndcg@10"
NOTHING_SHOWN = "ranker.learn_from is shown, and nothing that was shown can be learned from; see source.shown"
Modalities = dict[str, tuple[Floats, Mask]]


def modalities_of(night: Night) -> Modalities:
    """Each modality's vectors as the re-ranker reads them: centred, of unit norm, zero rows where missing."""
    found: Modalities = {}
    for modality, vectors in modality_vectors(night):
        present = ~np.isnan(vectors[:, 0])
        found[str(modality)] = prepared(vectors, present), present
    return found


def learn(
    night: Night, staged: Log, everything: Interactions, fits: tuple[Recommender, Recommender], folder: Path
) -> Json:
    """Fits the re-ranker on both fits of the model and returns how it went.

    everything: what the published fit is fitted on. fits: the evaluated one and the published one. folder: gets
    `evaluated/ranker.safetensors`, and where the ranker is used `published/ranker.safetensors`.
    """
    settings = night.config.ranker
    if not settings.enabled:
        return {"used": False, "reason": "ranker.enabled is false"}
    evaluated, published = fits
    modalities = modalities_of(night)
    common = night.config.seed, threads(night.config)
    train, validation = (Part(staged.of(name), staged.shown(name)) for name in LEARNT)
    whole = np.ones(len(staged.items), bool)
    items = Catalogue(evaluated.item_vectors, modalities, whole)
    fitted = fit_ranker(items, evaluated.user_vectors, train, settings, *common, validation)
    if fitted is None:
        reason = NOTHING_SHOWN if settings.learn_from == "shown" else "nobody's later choices follow earlier ones"
        log.warning("train ranker: %s", reason)
        return {"used": False, "reason": reason}
    ranker, fit = fitted
    ranker.save(folder / "evaluated")
    log.info(
        "train ranker of %s pairs, validation NDCG@10 %.4f re-ordered, %.4f before",
        fit.learned_from, fit.after, fit.before,
    )  # fmt: skip
    if fit.used:
        served = Catalogue(published.item_vectors, modalities, whole)
        shown = fit.learned_from == "shown"
        past = Part(everything, staged_of(night).read_all_shown()) if shown else Part.without_shown(everything)
        settings = settings.model_copy(update={"learn_from": fit.learned_from})
        final = max(fit.epochs, 1), ranker
        again = fit_ranker(served, published.user_vectors, past, settings, *common, chosen=final)
        if again is None:
            return {**asdict(fit), "used": False, "reason": NOTHING_SHOWN}
        again[0].save(folder / "published")
    reason = "better than the first stage on validation, by more than chance"
    return {**asdict(fit), "reason": reason if fit.used else f"not {reason}"}


def judge(night: Night, staged: Log, task: Task) -> Json:
    """The evaluated re-ranker on the test part; empty where there is none.

    `test`: NDCG@10 of the first stage and re-ordered, and the gain, of the same users. How good the probabilities are:
    `candidates`, over each user's candidates; `shown`, over what users were shown; and if training drew its pairs,
    `drawn`, over pairs drawn likewise, and with the logit that training had, f - log r. A ranker that learned from what
    was shown gives the chance of choosing it when shown: `shown` says how well calibrated it is, else `candidates`
    does. task: everything that is ranked, against the test part.
    """
    told = night.receipt("train").details["ranker"]
    if "epochs" not in told:
        return {}
    settings, history = night.config.ranker, staged.of("train", "validation")
    folder = night.workspace.path(night.receipt("train").path, "evaluated")
    _, vectors = read_vectors(folder / "item_vectors.parquet", "item_id")
    _, users = read_vectors(folder / "user_vectors.parquet", "user_id")
    items = Catalogue(vectors, modalities_of(night), np.ones(len(vectors), bool))
    ranker = load_ranker(folder, items, settings, threads(night.config))
    snapshot = Snapshot(items, users, history, task.history)
    judged = Candidates(snapshot, task.targets, settings.candidates)
    logits, there = judged.logits(ranker), judged.lists != NOTHING
    found = {
        "used": told["used"],
        "learned_from": told["learned_from"],
        "test": _ndcg(night, judged, logits),
        "candidates": quality(expit(logits[there].astype(np.float64)), judged.chosen[there]),
        "shown": _of_shown(night, staged, ranker, snapshot),
    }
    if told["learned_from"] == "sampled":
        found["drawn"] = _of_drawn(night, ranker, snapshot, task.targets)
    return found


def _ndcg(night: Night, judged: Candidates, logits: Floats) -> Json:
    users = judged.users.astype(np.int32)
    if not len(users):
        return {}
    values = {"first_stage": judged.ndcg(), "reordered": judged.ndcg(logits)}
    draws = night.config.evaluate.bootstrap_samples, night.config.seed
    found: Json = {name: summarise(Scores(users, {METRIC: value}, {}), *draws) for name, value in values.items()}
    gain = compare({METRIC: values["reordered"]}, values["first_stage"], *draws)
    return found | {"gain": gain}


def _of_shown(night: Night, staged: Log, ranker: Ranker, snapshot: Snapshot) -> Json:
    settings = night.config.ranker
    told = labelled(staged.shown("test"), staged.of(*PARTS), settings.chosen_within_days)
    pairs = pairs_of(snapshot, *told, settings, np.random.default_rng([night.config.seed, 11]))
    logits = ranker.logits(pairs.users, pairs.user, pairs.item, pairs.scalars)
    return quality(expit(logits.astype(np.float64)), pairs.chosen)


def _of_drawn(night: Night, ranker: Ranker, snapshot: Snapshot, targets: Interactions) -> Json:
    generator = np.random.default_rng([night.config.seed, 8])
    chosen_before = known(snapshot.history.item, targets.n_items)
    pairs = drawn(snapshot, targets, chosen_before, night.config.ranker, generator)
    logits = ranker.logits(pairs.users, pairs.user, pairs.item, pairs.scalars) - pairs.log_rate
    return quality(expit(logits.astype(np.float64)), pairs.chosen)
