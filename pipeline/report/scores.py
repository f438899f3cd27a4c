"""How good it is: metrics beside the baselines, the headline, differences that can be told, and the training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.config.train import RECOMMENDERS
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

# The model that learns nothing, which stands between the trained one and the baselines.
CONTENT = "content"
SEGMENTS = ("all", "warm", "cold", "cold_among_all", "co_choice", "co_choice_cold")
# Parts of the test that are shown as a table, below the panels.
SLICES = ("cold_users", "head", "tail", "no_text", "no_image", "no_audio", "all_modalities")
_FAMILIES = tuple(dict.fromkeys(("ndcg", "recall", *HITS, "coverage", "novelty", "diversity", "popularity_lift")))


def metrics_of(metrics: Document, trained: str) -> tuple[MetricView, ...]:
    """Returns one view per metric, by family and cutoff; `trained` is the model that the gate judges."""
    test = section(metrics, "test")
    models = [section(section(test, segment), model) for segment in test for model in section(test, segment)]
    names = {metric for model in models for metric in model}
    segments = [name for name in SEGMENTS if section(test, name)] + sorted(set(test) - set(SEGMENTS) - set(SLICES))
    return tuple(_view(metric, test, segments, trained) for metric in sorted(names, key=_rank))


def _rank(metric: str) -> tuple[int, str, int]:
    family, _, cutoff = metric.partition("@")
    place = _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)
    return place, family, int(cutoff) if cutoff.isdigit() else 0


def _view(metric: str, test: Document, segments: list[str], trained: str) -> MetricView:
    panels = (_panel(metric, segment, section(test, segment), trained) for segment in segments)
    slices = [panel for name in SLICES if (panel := _panel(metric, name, section(test, name), trained))]
    return MetricView(metric, tuple(panel for panel in panels if panel), _slices(slices, trained))


def _slices(panels: list[Panel], trained: str) -> Slices | None:
    """One table of several panels' means."""
    if not panels:
        return None
    means = [{score.model: score.score.mean for score in panel.scores} for panel in panels]
    models = _ordered({name: mean for panel in reversed(means) for name, mean in panel.items()}, trained)
    rows = (
        Slice(panel.segment, panel.users, tuple(scores.get(model) for model in models))
        for panel, scores in zip(panels, means, strict=True)
    )
    return Slices(tuple(models), tuple(rows))


def _panel(metric: str, segment: str, models: Document, trained: str) -> Panel | None:
    scores, users = [], None
    for model in models:
        entry = section(section(models, model), metric)
        score = interval(entry)
        if score is None:
            continue
        users = count(entry.get("users")) or users
        scores.append(ModelScore(model, _role(model, trained), score))
    if not scores:
        return None
    places = _ordered({score.model: score.score.mean for score in scores}, trained)
    scores.sort(key=lambda score: places.index(score.model))
    return Panel(segment, users, axis_top(max(s.score.high or s.score.mean for s in scores)), tuple(scores))


def _ordered(means: Mapping[str, float], trained: str) -> list[str]:
    """The trained model, what knows content alone, then the baselines, best first."""

    def place(name: str) -> tuple[int, float, str]:
        role = _role(name, trained)
        if role == "baseline":
            return 3, -means[name], name
        return (0 if role == "trained" else 1 if name == CONTENT else 2), 0.0, name

    return sorted(means, key=place)


def _role(model: str, trained: str) -> str:
    if model == trained:
        return "trained"
    return "baseline" if model in RECOMMENDERS.names() and model != CONTENT else "content"


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


def headline_of(metrics: Document, trained: str, metric: str, segment: str) -> Headline | None:
    """Returns the trained model's score and its ratios to popularity and als, None if it was not evaluated."""
    models = section(section(metrics, "test"), segment)
    score = interval(section(section(models, trained), metric))
    if score is None:
        return None
    comparisons = []
    for baseline in ("popularity", "als"):
        other = interval(section(section(models, baseline), metric))
        if other is not None:
            comparisons.append(Comparison(baseline, other, score.mean / other.mean if other.mean else None))
    return Headline(metric, segment, trained, score, tuple(comparisons))


def curves_of(document: Document) -> Curves:
    """Reads `curves.json`."""
    chosen = number(document.get("chosen_epochs"))
    return Curves(
        model=str(document.get("model") or ""),
        evaluated=_epochs(document, "evaluated"),
        published=_epochs(document, "published"),
        chosen=int(chosen) if chosen else None,
    )


def _epochs(document: Document, fit: str) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(count(entry.get("epoch")), number(entry.get("loss")), number(entry.get("ndcg@10")))
        for entry in listing(document, fit)
    )


def paired_of(metrics: Document, trained: str) -> Paired | None:
    """Reads the comparison, None where there is none."""
    document = section(metrics, "paired")
    found = {name: _difference(section(section(document, "models"), name)) for name in section(document, "models")}
    models = tuple(Versus(name, told) for name, told in sorted(found.items()) if told)
    if not models:
        return None
    # Sorting is stable: after the trained model, the best come first.
    ordered = sorted(models, key=lambda versus: (versus.model != trained, -versus.difference.mean))
    metric, segment, baseline = (str(document.get(key) or "") for key in ("metric", "segment", "baseline"))
    return Paired(metric, segment, baseline, bool(section(document, "validation")), tuple(ordered))


def ablation_of(metrics: Document, wanted: str) -> Ablation | None:
    """Reads the ablation by one metric, `wanted` where it was measured; None where there is none."""
    document = section(metrics, "ablation")
    tables = []
    for segment in section(document, "segments"):
        told = section(section(document, "segments"), segment)
        metric = _metric(told, wanted)
        rows = [_without(modality, section(section(told, modality), metric)) for modality in told]
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
            told = (number(chances.get(key)) for key in ("auc", "log_loss", "constant_log_loss", "ece"))
            return Reranked(bool(document.get("used")), of_shown, metric, before, after, gain, *told)
    return None


def _metric(told: Document, wanted: str) -> str:
    names = sorted({metric for modality in told for metric in section(told, modality)})
    return wanted if wanted in names else next(iter(names), "")


def _without(modality: str, entry: Document) -> Without | None:
    mean, change = number(entry.get("mean")), _difference(section(entry, "change"))
    return None if mean is None or change is None else Without(modality, mean, change)


def _difference(entry: Document) -> Difference | None:
    mean, low, high, p = (number(entry.get(key)) for key in ("mean", "low", "high", "p"))
    if mean is None or low is None or high is None or p is None:
        return None
    return Difference(mean, low, high, p, count(entry.get("users")))
