"""Evaluate: full ranking on the test part, the trained model against baselines.

- models: `evaluate.baselines` and `content` are fitted on the training part, their settings chosen on validation, and
  all are given the same history, training and validation, when users are ranked for;
- the test part is opened after that, once, by `open_test`, so that nothing can be chosen by it;
- segments: see `evaluation.segments`; `co_choice` and `co_choice_cold` say what the fusion is worth: each modality's
  vectors alone, and the fused ones, see `evaluation.item_similarity`;
- paired: every model against the strongest baseline, by the gate's metric in the gate's segment, user by user. Which
  baseline is the strongest is read on validation: the best of several on test would be the luckiest too. Where there
  is no validation part, it is the gate's own;
- the trained model is judged by the list that goes out: re-ordered, where the night's re-ranker is used; `first_stage`
  beside it is then what it would be without. The list is one over all items: the first stage's best
  `rerank.candidates` in the re-ranker's order, then all others in the first stage's. A segment that ranks among some
  items alone keeps that order;
- a baseline that cannot be fitted, or not within `evaluate.baseline_seconds`, or that was beaten when settings were
  chosen last, is left out, and `notes` says why;
- ablation: of the first stage, see `pipeline.explain.ablation`; ranker: what the re-ranker is worth, and how good its
  probabilities are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.artefacts.evaluated import FILE, Evaluated
from pipeline.artefacts.fused import Fused
from pipeline.artefacts.log import PARTS, Log, OpenedLog
from pipeline.artefacts.model import Fitted as ModelVectors
from pipeline.artefacts.staged import open_test
from pipeline.config.sections import Evaluate
from pipeline.config.train import RECOMMENDERS
from pipeline.errors import StepFailed
from pipeline.evaluation.beyond_accuracy import ListMetrics
from pipeline.evaluation.item_similarity import SEGMENTS, questions, recall
from pipeline.evaluation.measured import Measure
from pipeline.evaluation.metrics import Rankings, Scorer, Scores, Task, inner_product
from pipeline.evaluation.ranking import InnerProduct
from pipeline.evaluation.scorers import Remembered, Reordered
from pipeline.evaluation.segments import tasks_of
from pipeline.evaluation.significance import Summary
from pipeline.evaluation.stored import StoredScorers
from pipeline.explain.ablation import PartialContent, at_inference, refitted, way_of
from pipeline.interactions import Floats
from pipeline.night import Night, StepReceipt
from pipeline.recommend import parts, reads, recommender
from pipeline.recommend.base import Content
from pipeline.rerank.impressions import labelled
from pipeline.rerank.lists import ranked_lists
from pipeline.rerank.quality import of_candidates, of_drawn, of_shown
from pipeline.rerank.snapshot import Catalogue, Snapshot
from pipeline.runtime import threads
from pipeline.steps import rerank, train
from pipeline.steps.baselines import Baselines, beaten, fit_baselines, kept_of, settled_of
from pipeline.steps.extract import modality_vectors
from pipeline.steps.fits import metric_of, validation_of
from pipeline.steps.fuse import shards_of
from pipeline.steps.ingest import staged_of
from pipeline.steps.train import content_of
from pipeline.steps.warm_start import Kept, settings_of
from pipeline.storage.documents import Json
from pipeline.workspace import digest

logger = logging.getLogger("medley")
VERSION = 13
RECALL_AT = 10
ABLATED_SEGMENTS = ("all", "cold")
FIRST_STAGE, REORDERED = "first_stage", "reordered"


def run(night: Night) -> StepReceipt:
    """Writes `evaluations/<digest>/metrics.json` and the run's own copy of it.

    Raises StepFailed if no test interaction can be ranked, or this run has opened its test part for something else.
    """
    trained = night.receipt("train")
    log_digest = staged_of(night).digest("interactions", "shown")
    config = night.config
    steps = [trained, night.receipt("rerank"), night.receipt("fuse")]
    gate, digests = config.publish.gate, [*(step.digest for step in steps), log_digest]
    own = [RECOMMENDERS.identity(settings.model) for settings in config.evaluate.baselines]
    gate_reads = [gate.metric, gate.segment, config.baseline]

    def key_of(kept: Kept) -> str:
        settings = _read_of(config.evaluate), config.seed, gate_reads, own, settings_of(kept)
        left_out = {name: [best, kept[name].score, kept[best].score] for name, best in beaten(night, kept).items()}
        return digest("evaluate", VERSION, *settings, left_out, *digests)

    kept = kept_of(night, lambda kept: night.workspace.artefact(f"evaluations/{key_of(kept)}") is not None)
    key = key_of(kept)
    receipt = night.step("evaluate", "evaluations", key, lambda folder: _build(night, key, kept, folder))
    metrics = night.workspace.read_json(f"{receipt.path}/{FILE}")
    night.workspace.write_json(f"{night.folder}/{FILE}", metrics)
    return receipt


def _read_of(settings: Evaluate) -> Json:
    """Those of the settings that decide what is measured: the others decide what stands in for it."""
    return settings.model_dump(mode="json", exclude={"settled_nights", "baseline_seconds"})


@dataclass(frozen=True)
class Fitted:
    """All models to be ranked, made without the test part.

    beside: all but the trained one. trained: its name. vectors: of the trained one. without: its scorers, by the
    modality left out. strongest: the baseline that the others are compared with.
    """

    beside: Baselines
    trained: str
    vectors: ModelVectors
    without: StoredScorers
    strongest: str

    @property
    def first_stage(self) -> InnerProduct:
        """The trained model's scorer, read anew each time."""
        return inner_product(self.vectors.users()[1], self.vectors.items()[1])


def _measure(night: Night) -> Measure:
    settings, gate = night.config.evaluate, night.config.publish.gate
    return Measure(tuple(settings.cutoffs), settings.bootstrap_samples, night.config.seed, gate.metric, gate.segment)


def _build(night: Night, key: str, kept: Kept, folder: Path) -> Json:
    with TemporaryDirectory(dir=folder) as stored:
        return _evaluated(night, key, kept, folder, Path(stored))


def _evaluated(night: Night, key: str, kept: Kept, folder: Path, stored: Path) -> Json:
    """stored: the folder of the scorers' files."""
    staged, measure = staged_of(night), _measure(night)
    fitted = _fitted(night, staged.read_log(), kept, stored)
    log = open_test(staged, night.workspace, night.folder, key, folder)
    # Before anything of the catalogue's size is held: it reads one table of vectors after the other.
    similarity = _similarity(night, log, measure)
    present = {str(name): ~np.isnan(vectors[:, 0]) for name, vectors in modality_vectors(night)}
    fused = Fused(night.folder_of("fuse"))
    tasks = tasks_of(log, night.config.evaluate, present, np.isin(log.users, fused.profiles()[0]), night.config.seed)
    rankings = Rankings(tasks)
    users = rankings.users("all")
    if not len(users):
        raise StepFailed(
            "no test interaction can be ranked: its users have chosen nothing before, or nothing new; "
            "take in more of the log, or set ingest.split to leave_last_out"
        )
    lists = ListMetrics(log.of("train", "validation"), users, fused.items()[1], measure.cutoffs)
    began = time.perf_counter()
    scores = measure.ranked(rankings, fitted.beside.scorers, {"all": lists})
    ranked_seconds = time.perf_counter() - began
    # One and the same lists are ranked, re-ordered, and what follows those that were.
    vectors = fitted.first_stage
    stage = Remembered(vectors, rerank.read(night).candidates + max(measure.cutoffs))
    first = measure.ranked(rankings, {FIRST_STAGE: stage}, {"all": lists})[FIRST_STAGE]
    stage.let_go()
    stage_scores, ranker = _second_stage(night, log, fitted, _Ranked(rankings, tasks, lists, vectors, stage, first))
    ablation = measure.ablated(Rankings({name: tasks[name] for name in ABLATED_SEGMENTS}), fitted.without, first)
    ablation_of = {"model": fitted.trained, "way": _way(night), "stage": FIRST_STAGE, "segments": ablation}
    Evaluated(
        test=measure.segments(scores | stage_scores) | similarity,
        trained=fitted.trained,
        paired=measure.paired(scores | stage_scores, fitted.strongest, fitted.beside.validation),
        ablation=ablation_of if ablation else {},
        ranker=ranker,
        notes=fitted.beside.notes,
    ).write(folder)
    without_history = len(np.unique(log.of("test").user)) - len(users)
    counts = {"rows": len(tasks["all"].targets), "users": len(users), "users_without_history": without_history}
    counts["opened_rows"] = len(log.of("test", "held_out"))
    fits = fitted.beside.fits.items()
    seconds = {name: round(fit.seconds + ranked_seconds / len(fits), 2) for name, fit in fits}
    return {**counts, "settled": settled_of(night, kept, fitted.beside), "beside_seconds": seconds}


@dataclass(frozen=True)
class _Ranked:
    """The rankings by segment, further metrics of `all`'s lists, and the first stage: its vectors, its scorer, and its
    scores by segment.
    """

    rankings: Rankings
    tasks: Mapping[str, Task]
    lists: ListMetrics
    vectors: InnerProduct
    stage: Scorer
    first: dict[str, Scores]


def _second_stage(
    night: Night, log: OpenedLog, fitted: Fitted, evaluation: _Ranked
) -> tuple[dict[str, dict[str, Scores]], Json]:
    """The scores of the lists that go out under the trained model's name, and beside them, where they are re-ordered,
    the first stage's; and what the re-ranker is worth, empty where there is none.
    """
    from pipeline.rerank.network import load_ranker

    reranked = rerank.read(night)
    if reranked.fit is None:
        return {fitted.trained: evaluation.first}, {}
    measure, settings, seed = _measure(night), night.config.rerank, night.config.seed
    vectors = evaluation.vectors
    catalogue = Catalogue(vectors.items, rerank.modality_inputs(night), np.ones(len(vectors.items), bool))
    snapshot = Snapshot(catalogue, vectors.users, log.of("train", "validation"), scorer=evaluation.stage)
    ranker = load_ranker(reranked.evaluated, catalogue, threads(night.config))
    targets = np.concatenate([task.targets.user for task in evaluation.tasks.values()])
    users = np.intersect1d(targets, np.flatnonzero(vectors.users.any(axis=1)))
    scorer = Reordered(
        evaluation.stage, users.astype(np.int32), ranked_lists(snapshot, ranker, users, reranked.candidates)
    )
    after = measure.ranked(evaluation.rankings, {REORDERED: scorer}, {"all": evaluation.lists})[REORDERED]
    pages = labelled(log.shown("test"), log.of(*PARTS), settings.chosen_within_days)
    chosen = evaluation.tasks["all"].targets
    worth: Json = {
        "used": reranked.used,
        "learned_from": reranked.fit.learned_from,
        "test": measure.gain(evaluation.first["all"], after["all"]),
        "candidates": of_candidates(ranker, snapshot, chosen, reranked.candidates, seed),
        "shown": of_shown(ranker, snapshot, pages, settings, seed),
    }
    if reranked.fit.learned_from == "sampled":
        worth["drawn"] = of_drawn(ranker, snapshot, chosen, settings, seed)
    if not reranked.used:
        return {fitted.trained: evaluation.first}, worth
    return {FIRST_STAGE: evaluation.first, fitted.trained: after}, worth


def _fitted(night: Night, log: Log, kept: Kept, stored: Path) -> Fitted:
    """Fits all models but the trained one, which is read, and finds the best baseline on validation.

    stored: the folder of the scorers' files.
    """
    fit, beside = train.read(night), fit_baselines(night, log, kept, stored)
    trained, validation = fit.details.model, beside.validation
    without = StoredScorers(stored / "without")
    for modality, scorer in _without_each(night, trained, log):
        without[modality] = scorer
    strongest = max(validation, key=lambda name: validation[name], default=night.config.baseline)
    return Fitted(beside, trained, fit.evaluated, without, strongest)


def _way(night: Night) -> str:
    return way_of(night.config.evaluate.ablation, (part.model for part in parts(night.config.train)))


def _without_each(night: Night, model: str, log: Log) -> Iterator[tuple[str, Scorer]]:
    """Each modality, and the trained model's scorer without it."""

    def fitted(content: Content) -> Scorer:
        again = recommender(night.config.train, night.config.seed, threads(night.config), metric_of(night))
        again.fit(content, log.of("train"), validation_of(night, log))
        return again.scorer(log.of("train", "validation"))

    way = _way(night)
    if not way:
        return
    partial = PartialContent(night.folder_of("fuse"), shards_of(night)[0])
    if way == "inference":
        yield from at_inference(model, train.read(night).evaluated, partial)
    else:
        yield from refitted(fitted, content_of(night, log, reads(night.config.train)), partial)


def _similarity(night: Night, log: OpenedLog, measure: Measure) -> dict[str, dict[str, Summary]]:
    """How well each modality's vectors, and the fused ones, find items chosen together."""
    window = night.config.evaluate.window_choices
    queries = {segment: questions(log, segment, window, night.config.seed) for segment in SEGMENTS}
    tables: dict[str, dict[str, Summary]] = {segment: {} for segment in SEGMENTS}
    for name, vectors in _spaces(night):
        for segment, own in queries.items():
            tables[segment][name] = measure.summary(recall(vectors, own, RECALL_AT))
    return {segment: models for segment, models in tables.items() if any(models.values())}


def _spaces(night: Night) -> Iterator[tuple[str, Floats]]:
    """Each modality's vectors in the catalogue's order, NaN where missing, then the fused ones."""
    yield from modality_vectors(night)
    yield "fused", Fused(night.folder_of("fuse")).items()[1]
