"""Evaluate: full ranking on the test part, the trained model beside what a user would get without it.

| segment | targets | ranked among |
|---|---|---|
| all | every test interaction | all items |
| warm | test interactions with items the training saw | all items |
| cold | every interaction with a held-out item | the held-out items |
| cold_among_all | every interaction with a held-out item | all items |

Beside them `co_choice` and `co_choice_cold` say what the fusion is worth: each modality's vectors alone, and the fused
ones; see `pipeline.likeness`.

Every model is fitted on the training part alone, its settings chosen on the validation part, and is given the same
history, training and validation, when users are ranked for. Items a user has chosen before are left out of the ranking;
users without history are not ranked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline import rerank
from pipeline.errors import StepFailed
from pipeline.extract import modality_vectors
from pipeline.ingest import inputs_digest
from pipeline.interactions import Floats, Mask
from pipeline.intervals import summarise
from pipeline.likeness import SEGMENTS, questions, recall
from pipeline.metrics import Scorer, Task, inner_product, rank
from pipeline.night import Night, StepReceipt
from pipeline.recommend import BASELINES, baseline, build
from pipeline.runtime import threads
from pipeline.tables import Log, read_log, read_vectors
from pipeline.train import content_of
from pipeline.workspace import Json, digest

VERSION = 4
RECALL_AT = 10


def run(night: Night) -> StepReceipt:
    """Writes `evaluations/<digest>/metrics.json` and the run's own copy of it.

    Raises StepFailed if no test interaction can be ranked.
    """
    staged, trained = night.receipt("ingest"), night.receipt("train")
    log_digest = inputs_digest(staged, "interactions.parquet")
    config = night.config
    users = [config.fuse.half_life_days, config.fuse.users]
    window = config.fuse.learn.window_choices
    key = digest("evaluate", VERSION, config.evaluate, config.seed, users, window, trained.digest, log_digest)
    receipt = night.step("evaluate", "evaluations", key, lambda folder: _build(night, folder))
    metrics = night.workspace.read_json(f"{receipt.path}/metrics.json")
    night.workspace.write_json(f"{night.folder}/metrics.json", metrics)
    return receipt


def _build(night: Night, folder: Path) -> Json:
    log = read_log(night)
    tasks = tasks_of(log)
    settings = night.config.evaluate
    results: dict[str, dict[str, Json]] = {segment: {} for segment in tasks}
    for name, scorer in _models(night, log):
        for segment, task in tasks.items():
            scores = rank(scorer, task, settings.cutoffs)
            summary = summarise(scores, settings.bootstrap_samples, night.config.seed)
            results[segment][name] = summary
    results |= _likeness(night, log)
    trained = str(night.receipt("train").details["model"])
    if not any(results["all"].values()):
        raise StepFailed(
            "no test interaction can be ranked: its users have chosen nothing before, or nothing new; "
            "take in more of the log, or set ingest.split to leave_last_out"
        )
    document = {"test": {s: models for s, models in results.items() if any(models.values())}, "trained": trained}
    document["ranker"] = rerank.judge(night, log, tasks["all"])
    (folder / "metrics.json").write_text(json.dumps(document, indent=1, sort_keys=True), "utf-8")
    ranked = len(np.unique(tasks["all"].targets.user))
    test_users = len(np.unique(log.of("test").user))
    return {"rows": len(tasks["all"].targets), "users": ranked, "users_without_history": test_users - ranked}


def _likeness(night: Night, log: Log) -> dict[str, dict[str, Json]]:
    settings, window = night.config.evaluate, night.config.fuse.learn.window_choices
    asked = {segment: questions(log, segment, window, night.config.seed) for segment in SEGMENTS}
    results: dict[str, dict[str, Json]] = {segment: {} for segment in SEGMENTS}
    for name, vectors in _spaces(night):
        for segment, found in asked.items():
            scores = recall(vectors, found, RECALL_AT)
            results[segment][name] = summarise(scores, settings.bootstrap_samples, night.config.seed)
    return results


def _spaces(night: Night) -> Iterator[tuple[str, Floats]]:
    """Each modality's vectors in the catalogue's order, NaN where missing, then the fused ones."""
    yield from modality_vectors(night)
    yield "fused", read_vectors(night.workspace.path(night.receipt("fuse").path, "items"), "item_id")[1]


def tasks_of(log: Log) -> dict[str, Task]:
    """What is ranked in each segment."""
    known = np.zeros(log.interactions.n_users, bool)
    known[log.of("train", "validation").user] = True
    interactions = log.interactions.subset(known[log.interactions.user])
    parts = Log(log.users, log.items, log.cold, interactions, log.part[known[log.interactions.user]])
    test, seen = parts.of("test"), parts.of("train", "validation")
    held_out = parts.of("test", "held_out")
    held_out = held_out.subset(log.cold[held_out.item])
    # A held-out item that the user chose before the test is no recommendation to be judged either way.
    seen_and_held_out = parts.of("train", "validation", "held_out")
    return {
        "all": Task(seen_and_held_out, test),
        "warm": Task(seen_and_held_out, test.subset(~log.cold[test.item])),
        "cold": Task(seen, held_out, candidates=_mask(log.cold)),
        "cold_among_all": Task(seen, held_out),
    }


def _mask(mask: Mask) -> Mask:
    return mask if mask.any() else np.ones_like(mask)


def _models(night: Night, log: Log) -> Iterator[tuple[str, Scorer]]:
    """Every model as it ranks from the same history, the trained one last."""
    history = log.of("train", "validation")
    trained = str(night.receipt("train").details["model"])
    content = content_of(night, log, "content")
    for name in (*BASELINES, "content"):
        if name != trained:
            make = build if name == "content" else baseline
            model = make(name, night.config, threads(night.config))
            model.fit(content, log.of("train"), log.of("validation"))
            yield name, model.scorer(history)
    folder = night.workspace.path(night.receipt("train").path, "evaluated")
    _, users = read_vectors(folder / "user_vectors.parquet", "user_id")
    _, items = read_vectors(folder / "item_vectors.parquet", "item_id")
    yield trained, inner_product(users, items)
