"""Everything the report page shows, as frozen data: no path, no file handle, no markup.

Numbers are None, never NaN, where there is nothing to measure; pictures are `data:` URIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.artefacts.staged import CheckOutcome, SourceSummary
from pipeline.evaluation.gate import Verdict
from pipeline.report.cards import ItemMap, ScoreParts, UserShelf
from pipeline.report.comparison import Ablation, Paired, Reranked
from pipeline.report.modality_shares import Blend

if TYPE_CHECKING:
    from pipeline.report.tuning import Tuning


STRIP = ("train", "validation", "test", "held_out")


@dataclass(frozen=True)
class Gate:
    """Whether the run replaced what is published, and what decided it."""

    published: bool
    checks: tuple[Verdict, ...]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; the bounds are None for a metric that has none, such as coverage."""

    mean: float
    low: float | None
    high: float | None


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
class Example:
    """An item that a reason applied to, and the whole reason."""

    item_id: str
    title: str
    reason: str


@dataclass(frozen=True)
class Reason:
    """Why rows are missing in one modality; `absent` if the item never had one, rather than an unusable one."""

    text: str
    rows: int
    absent: bool
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class ModalityCount:
    """One modality over all buckets: rows = present + missing, and `encoded` of them were computed this night."""

    modality: str
    model: str
    width: int
    rows: int
    encoded: int
    missing: int
    reasons: tuple[Reason, ...]

    @property
    def absent(self) -> int:
        """Rows whose item has no such modality at all."""
        return sum(reason.rows for reason in self.reasons if reason.absent)

    @property
    def unusable(self) -> int:
        """Rows whose text, image or clip could not be used."""
        return self.missing - self.absent


@dataclass(frozen=True)
class ModelScore:
    """One model's bar in one panel; `role` is trained, content or baseline."""

    model: str
    role: str
    score: Interval


@dataclass(frozen=True)
class Panel:
    """One metric on one segment, models in the order of `Scores.models`; `top` is the axis's end, > 0."""

    segment: str
    users: int | None
    top: float
    scores: tuple[ModelScore, ...]


@dataclass(frozen=True)
class Slice:
    """One row of a table of segments: each model's mean, None where it has none, in the table's order of models."""

    segment: str
    users: int | None
    means: tuple[float | None, ...]

    @property
    def best(self) -> float:
        """The largest mean."""
        return max((mean for mean in self.means if mean is not None), default=0.0)


@dataclass(frozen=True)
class Slices:
    """Segments that are parts of the test, as one table."""

    models: tuple[str, ...]
    rows: tuple[Slice, ...]


@dataclass(frozen=True)
class MetricView:
    """All segments' panels of one metric, and a table of its further segments."""

    metric: str
    panels: tuple[Panel, ...]
    slices: Slices | None = None


@dataclass(frozen=True)
class Epoch:
    """One epoch of one fit."""

    epoch: int
    loss: float | None
    validation: float | None


@dataclass(frozen=True)
class Curves:
    """The evaluated fit, the published fit, and the number of epochs that validation chose by its metric, if any."""

    model: str
    metric: str
    evaluated: tuple[Epoch, ...]
    published: tuple[Epoch, ...]
    chosen: int | None


@dataclass(frozen=True)
class StepTime:
    """Where time went in one step; extraction is summed over its buckets, memory is the largest."""

    step: str
    seconds: float
    rows: int | None
    encoded: int | None
    missing: int | None
    peak_rss_bytes: int | None
    skipped: bool


@dataclass(frozen=True)
class Report:
    """The whole page. without_vector: users that no vector could be made for, by reason."""

    name: str
    note: str
    run_id: str
    as_of: str
    index_digest: str
    seed: int
    gate: Gate
    source: SourceSummary
    without_vector: Mapping[str, int]
    headline: Headline | None
    modalities: tuple[ModalityCount, ...]
    metrics: tuple[MetricView, ...]
    paired: Paired | None
    ablation: Ablation | None
    reranked: Reranked | None
    curves: Curves
    map: ItemMap
    blend: Blend
    shelves: tuple[UserShelf, ...]
    card_ratio: float
    steps: tuple[StepTime, ...]
    tuning: Tuning | None = None

    @property
    def is_reranked(self) -> bool:
        """Whether the lists have the re-ranker's order and scores."""
        return any(parts.is_probability for parts in self._scores)

    @property
    def base_is(self) -> str:
        """What the base of a list's scores is."""
        return "an average user and item" if self.is_reranked else "without content"

    @property
    def score_names(self) -> tuple[str, ...]:
        """What scores of the lists are made of, beside their base."""
        return tuple(dict.fromkeys(name for parts in self._scores for name, _ in parts.parts))

    @property
    def _scores(self) -> list[ScoreParts]:
        return [card.score for shelf in self.shelves for card in shelf.recommended if card.score]

    @property
    def interactions(self) -> int:
        """How many there are after staging."""
        return sum(self.source.parts.values())

    @property
    def split_strip(self) -> tuple[tuple[str, int, str], ...]:
        """Name, interactions and the style's name of each part of the log."""
        return tuple((name, self.source.parts.get(name, 0), f"part-{name}") for name in STRIP)

    @property
    def checks(self) -> list[CheckOutcome]:
        """Every check, those with offending rows first."""
        return sorted(self.source.checks, key=lambda check: check.rows == 0)

    @property
    def checks_passed(self) -> int:
        """Checks that found no offending row."""
        return sum(check.rows == 0 for check in self.source.checks)

    @property
    def shown_metric(self) -> str:
        """The metric that is chosen when the page opens."""
        names = [view.metric for view in self.metrics]
        wanted = self.headline.metric if self.headline else "ndcg@10"
        return wanted if wanted in names else next(iter(names), "")

    @property
    def total_seconds(self) -> float:
        """The sum over steps, which is the work done, not the wall time where steps ran side by side."""
        return sum(step.seconds for step in self.steps)

    @property
    def longest_seconds(self) -> float:
        """The longest step's time, > 0."""
        return max((step.seconds for step in self.steps), default=0) or 1.0
