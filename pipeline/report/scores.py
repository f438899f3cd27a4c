"""How good the model is: metrics beside baselines, the headline, and paired differences, as metrics.json has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pipeline.artefacts.evaluated import Evaluated, Metrics
from pipeline.config.train import RECOMMENDERS
from pipeline.evaluation.hits import HITS
from pipeline.evaluation.significance import LEVEL
from pipeline.recommend import kind_of
from pipeline.report.number_formats import finite

# What vectors alone say of items chosen together: their models are the modalities, and all of them fused.
SIMILARITY = ("co_choice", "co_choice_cold")
SEGMENTS = ("all", "warm", "cold", "cold_among_all", *SIMILARITY)
# Parts of the test that are shown as a table, below the panels; also those of items that lack a modality.
SLICES = ("new_users", "cold_users", "head", "tail", "all_modalities")
LACKING = "no_"
FIRST_STAGE = "first_stage"
_FAMILIES = tuple(dict.fromkeys(("ndcg", "recall", *HITS, "coverage", "novelty", "diversity", "popularity_lift")))


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; the bounds are None for a metric that has none, such as coverage."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """A mean difference over the same users, its 95 % interval, and the p-value of no difference."""

    mean: float
    low: float
    high: float
    p: float
    users: int

    @property
    def direction(self) -> str:
        """`above`, `below`, or empty where chance would do as well."""
        if self.p >= LEVEL or self.low <= 0 <= self.high:
            return ""
        return "above" if self.mean > 0 else "below"


@dataclass(frozen=True)
class Comparison:
    """The trained model's headline mean as a multiple of one baseline's (None where the baseline scored 0)."""

    baseline: str
    score: Interval
    ratio: float | None


@dataclass(frozen=True)
class Headline:
    """The one number at the top of the page."""

    metric: str
    segment: str
    model: str
    score: Interval
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class ModelScore:
    """One model's bar in one panel; `role` is trained, first_stage, baseline, or space."""

    model: str
    role: str
    score: Interval


@dataclass(frozen=True)
class Panel:
    """One metric on one segment, the models in one order; `top` is the axis's end, > 0."""

    segment: str
    users: int
    top: float
    scores: tuple[ModelScore, ...]

    @property
    def means(self) -> dict[str, float]:
        """Each model's mean."""
        return {score.model: score.score.mean for score in self.scores}


@dataclass(frozen=True)
class MetricView:
    """One metric: its segments' panels, the parts of the test that are rows of one table, and that table's models."""

    metric: str
    panels: tuple[Panel, ...]
    slices: tuple[Panel, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class Paired:
    """Every model against one baseline, the trained one first; by_validation: whether validation chose the baseline."""

    metric: str
    segment: str
    baseline: str
    by_validation: bool
    models: tuple[tuple[str, Difference], ...]


@dataclass(frozen=True)
class Ablation:
    """What one segment shows of each modality.

    way: `inference` or `refit`. rows: modality, score without it, change.
    """

    model: str
    way: str
    segment: str
    metric: str
    rows: tuple[tuple[str, float, Difference], ...]


@dataclass(frozen=True)
class Reranked:
    """The first stage's score and the re-ordered one, of the same users, and how good the chances are that go out.

    of_shown: whether these are chances to be chosen when shown, and measured there; else they are of candidates.
    quality: as `evaluation.calibration` measures it, empty where it cannot.
    """

    used: bool
    of_shown: bool
    metric: str
    before: float
    after: float
    gain: Difference
    quality: Mapping[str, float]


def metrics_of(evaluated: Evaluated, judged: tuple[str, str]) -> tuple[MetricView, ...]:
    """One view per metric, by family and cutoff; models in one order: the trained one, its first stage, and then from
    best to worst.

    judged: the metric and the segment that the gate judges by.
    """
    metric, segment = judged
    of_judged = evaluated.test.get(segment, {})
    means = {name: score.mean if (score := interval(metrics, metric)) else 0.0 for name, metrics in of_judged.items()}
    order = sorted(means, key=lambda name: (name != evaluated.trained, name != FIRST_STAGE, -means[name], name))
    metrics = {name for models in evaluated.test.values() for own in models.values() for name in own}
    return tuple(_view(name, evaluated, order) for name in sorted(metrics, key=_rank))


def _rank(metric: str) -> tuple[int, str, int]:
    family, _, cutoff = metric.partition("@")
    place = _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)
    return place, family, int(cutoff) if cutoff.isdigit() else 0


def _view(metric: str, evaluated: Evaluated, order: list[str]) -> MetricView:
    test = evaluated.test
    parts = [name for name in test if name in SLICES] + [name for name in test if name.startswith(LACKING)]
    names = [name for name in SEGMENTS if name in test] + sorted(set(test) - set(SEGMENTS) - set(parts))
    parts.sort(key=lambda name: (name == "all_modalities", name.startswith(LACKING)))
    panels, slices = (
        tuple(panel for name in segments if (panel := _panel(metric, name, evaluated, order)))
        for segments in (names, parts)
    )
    models = tuple(name for name in order if any(name in panel.means for panel in slices))
    return MetricView(metric, panels, slices, models)


def _panel(metric: str, segment: str, evaluated: Evaluated, order: list[str]) -> Panel | None:
    models = evaluated.test[segment]
    scores = []
    for model in sorted(models, key=lambda name: order.index(name) if name in order else len(order)):
        if score := interval(models[model], metric):
            role = "trained" if model == evaluated.trained else model if model == FIRST_STAGE else "baseline"
            scores.append(ModelScore(model, "space" if segment in SIMILARITY else role, score))
    if not scores:
        return None
    users = max(int(models[score.model][metric]["users"]) for score in scores)
    return Panel(segment, users, axis_top(max(s.score.high or s.score.mean for s in scores)), tuple(scores))


def interval(metrics: Metrics, metric: str) -> Interval | None:
    """A model's metric; None where it was not measured or is not finite."""
    summary = metrics.get(metric, {})
    mean = finite(summary.get("mean"))
    return None if mean is None else Interval(mean, finite(summary.get("low")), finite(summary.get("high")))


@cache  # a page asks a thousand times, and each time every installed package would be read
def label(name: str) -> str:
    """A model as people call it; another name as it is."""
    return kind_of(name).title if name in RECOMMENDERS.names() else name.replace("_", " ")


def axis_top(value: float) -> float:
    """Returns the smallest of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is not below `value`."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * unit >= value * 0.999)


def headline_of(evaluated: Evaluated, judged: tuple[str, str], baseline: str) -> Headline | None:
    """The trained model's score and its ratios to the gate's baseline and to the strongest one.

    None if it was not evaluated.
    """
    metric, segment = judged
    models = evaluated.test.get(segment, {})
    score = interval(models.get(evaluated.trained, {}), metric)
    if score is None:
        return None
    comparisons = []
    for name in dict.fromkeys((baseline, evaluated.paired.get("baseline", baseline))):
        if other := interval(models.get(name, {}), metric):
            comparisons.append(Comparison(name, other, score.mean / other.mean if other.mean else None))
    return Headline(metric, segment, evaluated.trained, score, tuple(comparisons))


def paired_of(evaluated: Evaluated) -> Paired | None:
    """The comparison with the strongest baseline, None where there is none."""
    paired = evaluated.paired
    if not paired:
        return None
    differences = {name: Difference(**paired["models"][name]) for name in sorted(paired["models"])}
    models = sorted(differences.items(), key=lambda entry: (entry[0] != evaluated.trained, -entry[1].mean))
    return Paired(paired["metric"], paired["segment"], paired["baseline"], bool(paired["validation"]), tuple(models))


def ablation_of(evaluated: Evaluated, wanted: str) -> tuple[Ablation, ...]:
    """The ablation on each segment, by one metric, `wanted` where it was measured."""
    ablation, tables = evaluated.ablation, []
    for segment, modalities in ablation.get("segments", {}).items():
        metrics = sorted(next(iter(modalities.values())))
        metric = wanted if wanted in metrics else metrics[0]
        without = {name: own[metric] for name, own in modalities.items()}
        rows = tuple((name, own["mean"], Difference(**own["change"])) for name, own in without.items())
        tables.append(Ablation(ablation["model"], ablation["way"], segment, metric, rows))
    return tuple(tables)


def reranked_of(evaluated: Evaluated) -> Reranked | None:
    """What the re-ranker is worth; None where there is none, or nobody to judge it by."""
    ranker = evaluated.ranker
    if not ranker.get("test"):
        return None
    of_shown = ranker["learned_from"] == "shown"
    ((metric, gain),) = ranker["test"]["gain"].items()
    before, after = (ranker["test"][stage][metric]["mean"] for stage in (FIRST_STAGE, "reordered"))
    quality = ranker["shown" if of_shown else "candidates"]
    return Reranked(ranker["used"], of_shown, metric, before, after, Difference(**gain), quality)
