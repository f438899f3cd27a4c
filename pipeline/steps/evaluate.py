"""Evaluate: full ranking on the test part, the trained model beside what a user would get without it.

- models: those of BASELINES and `content` are fitted on the training part, their settings chosen on validation, and
  all are given the same history, training and validation, when users are ranked for;
- the test part is opened after that, once, by `open_test`, so that nothing can be chosen by it;
- segments: see `evaluation.segments`; `co_choice` and `co_choice_cold` say what the fusion is worth: each modality's
  vectors alone, and the fused ones, see `evaluation.item_similarity`;
- paired: every model against the strongest baseline, by the gate's metric in the gate's segment, user by user. Which
  baseline is the strongest is read on validation: the best of several on test would be the luckiest too. Where there
  is no validation part, it is the gate's own;
- ablation: see `pipeline.explain.ablation`; ranker: what the re-ranker is worth, see `pipeline.steps.rerank`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.artefacts.staged import Log, OpenedLog, open_test
from pipeline.artefacts.vectors import read_vectors
from pipeline.errors import StepFailed
from pipeline.evaluation.beyond_accuracy import ListMetrics
from pipeline.evaluation.item_similarity import SEGMENTS, questions, recall
from pipeline.evaluation.metrics import Rankings, Scorer, Scores, Task, Values, inner_product, rank
from pipeline.evaluation.segments import tasks_of
from pipeline.evaluation.significance import compare, summarise
from pipeline.explain.ablation import PartialContent, at_inference, refitted, way_of
from pipeline.interactions import Floats
from pipeline.night import Night, StepReceipt
from pipeline.recommend import BASELINES, Content, baseline, build
from pipeline.runtime import threads
from pipeline.steps import rerank
from pipeline.steps.extract import modality_vectors
from pipeline.steps.fuse import shards_of
from pipeline.steps.ingest import staged_of
from pipeline.steps.train import content_of, models_of
from pipeline.workspace import Json, digest

VERSION = 6
RECALL_AT = 10
ABLATED_SEGMENTS = ("all", "cold")
ABLATED_METRICS = ("ndcg", "recall")


def run(night: Night) -> StepReceipt:
    """Writes `evaluations/<digest>/metrics.json` and the run's own copy of it.

    Raises StepFailed if no test interaction can be ranked, or this run has opened its test part for something else.
    """
    trained = night.receipt("train")
    log_digest = staged_of(night).digest("interactions", "shown")
    config = night.config
    key = digest("evaluate", VERSION, config.evaluate, config.seed, _gate(night), trained.digest, log_digest)
    receipt = night.step("evaluate", "evaluations", key, lambda folder: _build(night, key, folder))
    metrics = night.workspace.read_json(f"{receipt.path}/metrics.json")
    night.workspace.write_json(f"{night.folder}/metrics.json", metrics)
    return receipt


@dataclass(frozen=True)
class Fitted:
    """All that is ranked with, made without the test part.

    models: by name, the trained one last. without: the trained one, by the modality left out. strongest: the baseline
    that the others are compared with. validation: what the baselines scored there, by the gate's metric.
    """

    models: dict[str, Scorer]
    without: dict[str, Scorer]
    strongest: str
    validation: dict[str, float]


def _build(night: Night, key: str, folder: Path) -> Json:
    staged = staged_of(night)
    fitted = _fitted(night, staged.read_log())
    log = open_test(staged, night.workspace, night.folder, key, folder)
    settings, spaces = night.config.evaluate, dict(_spaces(night))
    present = {name: ~np.isnan(vectors[:, 0]) for name, vectors in spaces.items() if name != "fused"}
    tasks = tasks_of(log, settings, present)
    rankings = Rankings(tasks)
    known = log.of("train", "validation")
    lists = {"all": ListMetrics(known, rankings.users("all"), spaces["fused"], settings.cutoffs)}
    if not len(rankings.users("all")):
        raise StepFailed(
            "no test interaction can be ranked: its users have chosen nothing before, or nothing new; "
            "take in more of the log, or set ingest.split to leave_last_out"
        )
    results: dict[str, dict[str, Json]] = {segment: {} for segment in tasks}
    judged, whole = {}, {}
    for name, scorer in fitted.models.items():
        whole = rankings.of(scorer, settings.cutoffs, lists)
        judged[name] = _judged(night, whole)
        for segment, scores in whole.items():
            results[segment][name] = _summary(night, scores)
    results |= _likeness(night, log, spaces)
    document = {
        "test": {segment: models for segment, models in results.items() if any(models.values())},
        "trained": str(night.receipt("train").details["model"]),
        "paired": _paired(night, fitted, judged),
        "ablation": _ablation(night, fitted, {name: tasks[name] for name in ABLATED_SEGMENTS}, whole),
        "ranker": rerank.judge(night, log, tasks["all"]),
    }
    (folder / "metrics.json").write_text(json.dumps(document, indent=1, sort_keys=True), "utf-8")
    ranked, asked = len(rankings.users("all")), len(np.unique(log.of("test").user))
    counts = {"rows": len(tasks["all"].targets), "users": ranked, "users_without_history": asked - ranked}
    return {**counts, "opened_rows": len(log.of("test", "held_out"))}


def _gate(night: Night) -> list[str]:
    gate = night.config.publish.gate
    return [gate.metric, gate.segment, gate.baseline]


def _summary(night: Night, scores: Scores) -> Json:
    return dict(summarise(scores, night.config.evaluate.bootstrap_samples, night.config.seed))


def _fitted(night: Night, log: Log) -> Fitted:
    """Fits every model but the trained one, whose vectors are there, and looks which baseline validation prefers."""
    history, trained = log.of("train", "validation"), str(night.receipt("train").details["model"])
    content = content_of(night, log, "content")
    models: dict[str, Scorer] = {}
    validation: dict[str, float] = {}
    for name in (*BASELINES, "content"):
        if name != trained:
            model = (build if name == "content" else baseline)(name, night.config, threads(night.config))
            model.fit(content, log.of("train"), log.of("validation"))
            models[name] = model.scorer(history)
            if name in BASELINES:
                validation |= _validated(night, log, name, model.scorer(log.of("train")))
    folder = night.workspace.path(night.receipt("train").path, "evaluated")
    _, users = read_vectors(folder / "user_vectors.parquet", "user_id")
    _, items = read_vectors(folder / "item_vectors.parquet", "item_id")
    models[trained] = inner_product(users, items)
    strongest = max(validation, key=lambda name: validation[name], default=night.config.publish.gate.baseline)
    return Fitted(models, dict(_without_each(night, trained, log)), strongest, validation)


def _way(night: Night, model: str) -> str:
    return way_of(night.config.evaluate.ablation, models_of(night.config.train, model))


def _without_each(night: Night, model: str, log: Log) -> Iterator[tuple[str, Scorer]]:
    """Each modality, and the trained model's scorer without it."""

    def fitted(content: Content) -> Scorer:
        again = build(model, night.config, threads(night.config))
        again.fit(content, log.of("train"), log.of("validation"))
        return again.scorer(log.of("train", "validation"))

    way = _way(night, model)
    if not way:
        return
    partial = PartialContent(night.workspace.path(night.receipt("fuse").path), shards_of(night)[0])
    if way == "inference":
        yield from at_inference(model, night.workspace.path(night.receipt("train").path, "evaluated"), partial)
    else:
        yield from refitted(fitted, content_of(night, log, model), partial)


def _validated(night: Night, log: Log, name: str, scorer: Scorer) -> dict[str, float]:
    """The model's mean of the gate's metric on validation, by its name; nothing where that cannot be measured."""
    metric, _, cutoff = night.config.publish.gate.metric.partition("@")
    if not cutoff.isdigit() or not int(cutoff):
        return {}
    scores = rank(scorer, Task(log.of("train"), log.of("validation")), (int(cutoff),))
    values = scores.values.get(f"{metric}@{cutoff}")
    return {} if values is None or not len(values) else {name: float(values.mean())}


def _judged(night: Night, scores: Mapping[str, Scores]) -> Values | None:
    """What the gate looks at, of every user; None where it is no metric of single users."""
    gate = night.config.publish.gate
    return scores[gate.segment].values.get(gate.metric) if gate.segment in scores else None


def _paired(night: Night, fitted: Fitted, judged: Mapping[str, Values | None]) -> Json:
    told = {name: values for name, values in judged.items() if values is not None and len(values)}
    strongest = told.pop(fitted.strongest, None)
    if strongest is None:
        return {}
    settings, (metric, segment, _) = night.config.evaluate, _gate(night)
    return {
        "metric": metric,
        "segment": segment,
        "baseline": fitted.strongest,
        "validation": fitted.validation,
        "models": compare(told, strongest, settings.bootstrap_samples, night.config.seed),
    }


def _ablation(night: Night, fitted: Fitted, tasks: Mapping[str, Task], whole: Mapping[str, Scores]) -> Json:
    """Segment to modality to metric: its summary without the modality, and `change`, from whole to without, paired."""
    trained = str(night.receipt("train").details["model"])
    settings, rankings = night.config.evaluate, Rankings(tasks)
    found: dict[str, dict[str, Json]] = {}
    for modality, scorer in fitted.without.items():
        for segment, scores in rankings.of(scorer, settings.cutoffs).items():
            summary = {} if not len(scores.users) else _changed(night, scores, whole[segment])
            if summary:
                found.setdefault(segment, {})[modality] = summary
    return {"model": trained, "way": _way(night, trained), "segments": found} if found else {}


def _changed(night: Night, scores: Scores, whole: Scores) -> Json:
    names = [name for name in scores.values if name.partition("@")[0] in ABLATED_METRICS]
    summary = _summary(night, Scores(scores.users, {name: scores.values[name] for name in names}))
    samples, seed = night.config.evaluate.bootstrap_samples, night.config.seed
    for name in names:
        summary[name]["change"] = compare({name: scores.values[name]}, whole.values[name], samples, seed)[name]
    return summary


def _likeness(night: Night, log: OpenedLog, spaces: Mapping[str, Floats]) -> dict[str, dict[str, Json]]:
    window = night.config.evaluate.window_choices
    results: dict[str, dict[str, Json]] = {}
    for segment in SEGMENTS:
        asked = questions(log, segment, window, night.config.seed)
        results[segment] = {
            name: _summary(night, recall(vectors, asked, RECALL_AT)) for name, vectors in spaces.items()
        }
    return results


def _spaces(night: Night) -> Iterator[tuple[str, Floats]]:
    """Each modality's vectors in the catalogue's order, NaN where missing, then the fused ones."""
    yield from modality_vectors(night)
    yield "fused", read_vectors(night.workspace.path(night.receipt("fuse").path, "items"), "item_id")[1]
