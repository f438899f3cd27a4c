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

from pipeline.extract import modality_vectors
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.intervals import compare, summarise
from pipeline.metrics import Scores, Task
from pipeline.night import Night
from pipeline.recommend import Recommender
from pipeline.recommend.chances import quality
from pipeline.recommend.features import known, prepared
from pipeline.recommend.moment import NOTHING, Items, Moment
from pipeline.recommend.pairs import drawn
from pipeline.recommend.ranker import Ranker, load_ranker
from pipeline.recommend.ranker_fit import Judged, fit_ranker
from pipeline.runtime import threads
from pipeline.tables import Log, read_vectors
from pipeline.workspace import Json

log = logging.getLogger("medley")
METRIC = "ndcg@10"
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
    common = settings, night.config.seed, threads(night.config)
    train = staged.of("train")
    whole = np.ones(len(staged.items), bool)
    items = Items(evaluated.item_vectors, modalities, whole)
    fitted = fit_ranker(items, evaluated.user_vectors, train, *common, validation=staged.of("validation"))
    if fitted is None:
        return {"used": False, "reason": "nobody's later choices follow earlier ones"}
    ranker, fit = fitted
    ranker.save(folder / "evaluated")
    log.info("train ranker validation NDCG@10 %.4f re-ordered, %.4f before", fit.after, fit.before)
    if fit.used:
        served = Items(published.item_vectors, modalities, whole)
        again = fit_ranker(served, published.user_vectors, everything, *common, chosen=(max(fit.epochs, 1), ranker))
        assert again is not None
        again[0].save(folder / "published")
    reason = "better than the first stage on validation, by more than chance"
    return {**asdict(fit), "reason": reason if fit.used else f"not {reason}"}


def judge(night: Night, staged: Log, task: Task) -> Json:
    """The evaluated re-ranker on the test part; empty where there is none.

    `test`: NDCG@10 of the first stage and re-ordered, and the gain, of the same users. `candidates`: how good the
    probabilities are that go out, over each user's candidates. `drawn`: the same over pairs drawn as in training, and
    with the logit that training had, f - log r. task: everything that is ranked, against the test part.
    """
    told = night.receipt("train").details["ranker"]
    if "epochs" not in told:
        return {}
    settings, history = night.config.ranker, staged.of("train", "validation")
    folder = night.workspace.path(night.receipt("train").path, "evaluated")
    _, vectors = read_vectors(folder / "item_vectors.parquet", "item_id")
    _, users = read_vectors(folder / "user_vectors.parquet", "user_id")
    items = Items(vectors, modalities_of(night), np.ones(len(vectors), bool))
    ranker = load_ranker(folder, items, settings, threads(night.config))
    moment = Moment(items, users, history, task.history)
    judged = Judged(moment, task.targets, settings.candidates)
    logits, there = judged.logits(ranker), judged.lists != NOTHING
    return {
        "used": told["used"],
        "test": _ndcg(night, judged, logits),
        "candidates": quality(expit(logits[there].astype(np.float64)), judged.chosen[there]),
        "drawn": _of_drawn(night, ranker, moment, task.targets),
    }


def _ndcg(night: Night, judged: Judged, logits: Floats) -> Json:
    users = judged.users.astype(np.int32)
    if not len(users):
        return {}
    values = {"first_stage": judged.ndcg(), "reordered": judged.ndcg(logits)}
    draws = night.config.evaluate.bootstrap_samples, night.config.seed
    found: Json = {name: summarise(Scores(users, {METRIC: value}, {}), *draws) for name, value in values.items()}
    gain = compare({METRIC: values["reordered"]}, values["first_stage"], *draws)
    return found | {"gain": gain}


def _of_drawn(night: Night, ranker: Ranker, moment: Moment, targets: Interactions) -> Json:
    generator = np.random.default_rng([night.config.seed, 8])
    chosen_before = known(moment.history.item, targets.n_items)
    pairs = drawn(moment, targets, chosen_before, night.config.ranker, generator)
    logits = ranker.logits(pairs.users, pairs.user, pairs.item, pairs.scalars) - pairs.log_rate
    return quality(expit(logits.astype(np.float64)), pairs.chosen)
