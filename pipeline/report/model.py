"""Everything the report page shows, as frozen data: no path, no file handle, no markup.

Numbers are None, never NaN, where there is nothing to measure; pictures are `data:` URIs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.evaluation.gate import Verdict
from pipeline.report.cards import ItemMap, UserShelf
from pipeline.report.comparison import Ablation, Paired, Reranked
from pipeline.report.modality_shares import Blend

if TYPE_CHECKING:
    from pipeline.report.tuning import Tuning


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
class Catalogue:
    """Sizes after staging; `without_vector` is (reason, users) of those that no vector could be made for."""

    items: int
    users: int
    interactions: int
    cold_items: int
    without_vector: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Intake:
    """One source table: rows read, rows kept, and rows dropped by reason, most frequent first."""

    table: str
    read: int
    kept: int
    dropped: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Check:
    """A check over the staged tables, and how many rows offended it."""

    name: str
    why: str
    rows: int
    level: str


@dataclass(frozen=True)
class Split:
    """How the log was divided; `parts` is (name, interactions) and the cuts are ISO times or empty."""

    kind: str
    parts: tuple[tuple[str, int], ...]
    validation_cut: str
    test_cut: str

    @property
    def strip(self) -> tuple[tuple[str, int, str], ...]:
        """Name, interactions and the style's name of each part."""
        return tuple((name, rows, f"part-{name}") for name, rows in self.parts)


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
    ndcg: float | None


@dataclass(frozen=True)
class Curves:
    """The evaluated fit, the published fit, and the number of epochs that validation chose (None if untrained)."""

    model: str
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
    """The whole page."""

    name: str
    note: str
    run_id: str
    as_of: str
    index_digest: str
    seed: int
    gate: Gate
    catalogue: Catalogue
    headline: Headline | None
    intake: tuple[Intake, ...]
    checks: tuple[Check, ...]
    split: Split
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
    def checks_passed(self) -> int:
        """Checks that found no offending row."""
        return sum(check.rows == 0 for check in self.checks)

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
