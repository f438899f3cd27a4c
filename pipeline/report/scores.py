"""How good the model is: metrics beside baselines, the headline, paired differences, and training curves."""

from __future__ import annotations

import math

from pipeline.evaluation.hits import HITS
from pipeline.report.comparison import Ablation, AblationTable, Difference, Paired, Reranked, Versus, Without
from pipeline.report.files import Document, count, listing, number, section
from pipeline.report.model import (
    Comparison,
    Curves,
    Epoch,
    Headline,
    Interval,
    MetricView,
    ModelScore,
    Panel,
    Slice,
    Slices,
)

# What vectors alone say of items chosen together: their models are the modalities, and all of them fused.
SIMILARITY = ("co_choice", "co_choice_cold")
SEGMENTS = ("all", "warm", "cold", "cold_among_all", *SIMILARITY)
# Parts of the test that are shown as a table, below the panels; also those of items that lack a modality.
SLICES = ("new_users", "cold_users", "head", "tail", "all_modalities")
LACKING = "no_"
FIRST_STAGE = "first_stage"
_FAMILIES = tuple(dict.fromkeys(("ndcg", "recall", *HITS, "coverage", "novelty", "diversity", "popularity_lift")))


def metrics_of(metrics: Document, trained: str, judged: tuple[str, str]) -> tuple[MetricView, ...]:
    """Returns one view per metric, by family and cutoff; models in one order: the trained one, its first stage, and
    then from best to worst.

    trained: the model that the gate judges. judged: the metric and the segment that it judges by.
    """
    test = section(metrics, "test")
    order = _ordered(section(test, judged[1]), trained, judged[0])
    models = [section(section(test, segment), model) for segment in test for model in section(test, segment)]
    names = {metric for model in models for metric in model}
    return tuple(_view(metric, test, order) for metric in sorted(names, key=_rank))


def _rank(metric: str) -> tuple[int, str, int]:
    family, _, cutoff = metric.partition("@")
    place = _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)
    return place, family, int(cutoff) if cutoff.isdigit() else 0


def _view(metric: str, test: Document, order: list[str]) -> MetricView:
    slices = [name for name in test if name in SLICES] + [name for name in test if name.startswith(LACKING)]
    names = [name for name in SEGMENTS if name in test] + sorted(set(test) - set(SEGMENTS) - set(slices))
    panels, tables = (
        [panel for name in chosen if (panel := _panel(metric, name, section(test, name), order))]
        for chosen in (names, sorted(slices, key=lambda name: (name == "all_modalities", name.startswith(LACKING))))
    )
    return MetricView(metric, tuple(panels), _slices(tables, order))


def _slices(panels: list[Panel], order: list[str]) -> Slices | None:
    """One table of several panels' means."""
    if not panels:
        return None
    means = [{score.model: score.score.mean for score in panel.scores} for panel in panels]
    models = [name for name in order if any(name in own for own in means)]
    rows = (
        Slice(panel.segment, panel.users, tuple(own.get(model) for model in models))
        for panel, own in zip(panels, means, strict=True)
    )
    return Slices(tuple(models), tuple(rows))


def _panel(metric: str, segment: str, models: Document, order: list[str]) -> Panel | None:
    scores, users = [], None
    for model in sorted(models, key=lambda name: order.index(name) if name in order else len(order)):
        entry = section(section(models, model), metric)
        score = interval(entry)
        if score is None:
            continue
        users = count(entry.get("users")) or users
        scores.append(ModelScore(model, _role(model, segment, order), score))
    if not scores:
        return None
    return Panel(segment, users, axis_top(max(s.score.high or s.score.mean for s in scores)), tuple(scores))


def _ordered(models: Document, trained: str, metric: str) -> list[str]:
    means = {name: number(section(section(models, name), metric).get("mean")) or 0.0 for name in models}
    return sorted(means, key=lambda name: (name != trained, name != FIRST_STAGE, -means[name], name))


def _role(model: str, segment: str, order: list[str]) -> str:
    if segment in SIMILARITY:
        return "space"
    return "trained" if model == order[0] else model if model == FIRST_STAGE else "baseline"


def interval(entry: Document) -> Interval | None:
    """Reads mean, low and high; None where there is no finite mean."""
    mean = number(entry.get("mean"))
    return None if mean is None else Interval(mean, number(entry.get("low")), number(entry.get("high")))


def axis_top(value: float) -> float:
    """Returns the smallest of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is not below `value`."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * unit >= value * 0.999)


def headline_of(metrics: Document, trained: str, judged: tuple[str, str], baseline: str) -> Headline | None:
    """Returns the trained model's score and its ratios to the gate's baseline and to the strongest one.

    None if it was not evaluated.
    """
    metric, segment = judged
    models = section(section(metrics, "test"), segment)
    score = interval(section(section(models, trained), metric))
    if score is None:
        return None
    comparisons = []
    for name in dict.fromkeys((baseline, str(section(metrics, "paired").get("baseline") or baseline))):
        other = interval(section(section(models, name), metric))
        if other is not None:
            comparisons.append(Comparison(name, other, score.mean / other.mean if other.mean else None))
    return Headline(metric, segment, trained, score, tuple(comparisons))


def curves_of(document: Document) -> Curves:
    """Reads `curves.json`."""
    chosen, metric = number(document.get("chosen_epochs")), str(document.get("metric") or "")
    return Curves(
        model=str(document.get("model") or ""),
        metric=metric,
        evaluated=_epochs(document, "evaluated", metric),
        published=_epochs(document, "published", metric),
        chosen=int(chosen) if chosen else None,
    )


def _epochs(document: Document, fit: str, metric: str) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(count(entry.get("epoch")), number(entry.get("loss")), number(entry.get(metric)))
        for entry in listing(document, fit)
    )


def paired_of(metrics: Document, trained: str) -> Paired | None:
    """Reads the comparison, None where there is none."""
    document = section(metrics, "paired")
    models = section(document, "models")
    differences = {name: _difference(section(models, name)) for name in sorted(models)}
    compared = [Versus(name, difference) for name, difference in differences.items() if difference]
    if not compared:
        return None
    # Sorting is stable: after the trained model, the best come first.
    ordered = sorted(compared, key=lambda versus: (versus.model != trained, -versus.difference.mean))
    metric, segment, baseline = (str(document.get(key) or "") for key in ("metric", "segment", "baseline"))
    return Paired(metric, segment, baseline, bool(section(document, "validation")), tuple(ordered))


def ablation_of(metrics: Document, wanted: str) -> Ablation | None:
    """Reads the ablation by one metric, `wanted` where it was measured; None where there is none."""
    document = section(metrics, "ablation")
    tables = []
    for segment in section(document, "segments"):
        modalities = section(section(document, "segments"), segment)
        metric = _metric(modalities, wanted)
        rows = [_without(modality, section(section(modalities, modality), metric)) for modality in modalities]
        tables.append(AblationTable(segment, metric, tuple(row for row in rows if row)))
    shown = tuple(table for table in tables if table.rows)
    return Ablation(str(document.get("model") or ""), str(document.get("way") or ""), shown) if shown else None


def reranked_of(metrics: Document) -> Reranked | None:
    """Reads what the re-ranker is worth; None where there is none, or nobody to judge it by."""
    document = section(metrics, "ranker")
    of_shown = document.get("learned_from") == "shown"
    test, chances = section(document, "test"), section(document, "shown" if of_shown else "candidates")
    for metric in section(test, "gain"):
        before, after = (
            number(section(section(test, name), metric).get("mean")) for name in ("first_stage", "reordered")
        )
        gain = _difference(section(section(test, "gain"), metric))
        if before is not None and after is not None and gain:
            quality = (number(chances.get(key)) for key in ("auc", "log_loss", "constant_log_loss", "ece"))
            return Reranked(bool(document.get("used")), of_shown, metric, before, after, gain, *quality)
    return None


def _metric(modalities: Document, wanted: str) -> str:
    names = sorted({metric for modality in modalities for metric in section(modalities, modality)})
    return wanted if wanted in names else next(iter(names), "")


def _without(modality: str, entry: Document) -> Without | None:
    mean, change = number(entry.get("mean")), _difference(section(entry, "change"))
    return None if mean is None or change is None else Without(modality, mean, change)


def _difference(entry: Document) -> Difference | None:
    mean, low, high, p = (number(entry.get(key)) for key in ("mean", "low", "high", "p"))
    if mean is None or low is None or high is None or p is None:
        return None
    return Difference(mean, low, high, p, count(entry.get("users")))
