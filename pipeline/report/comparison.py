"""Whether the model is better than what it is measured beside, what each modality adds, and the re-ranker.

They are in metrics.json, as `paired`, `ablation` and `ranker`.
"""

from __future__ import annotations

from dataclasses import dataclass

# A difference this unlikely by chance, whose interval leaves out 0, has a direction.
LEVEL = 0.05


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
class Versus:
    """A model against the strongest baseline."""

    model: str
    difference: Difference


@dataclass(frozen=True)
class Paired:
    """Every model against one baseline, the trained one first; by_validation: whether validation chose the baseline."""

    metric: str
    segment: str
    baseline: str
    by_validation: bool
    models: tuple[Versus, ...]


@dataclass(frozen=True)
class Without:
    """The model's score without one modality, and how far that is from the whole model's."""

    modality: str
    score: float
    change: Difference


@dataclass(frozen=True)
class AblationTable:
    """What one segment shows of each modality."""

    segment: str
    metric: str
    rows: tuple[Without, ...]


@dataclass(frozen=True)
class Ablation:
    """way: `inference` or `refit`."""

    model: str
    way: str
    tables: tuple[AblationTable, ...]


@dataclass(frozen=True)
class Reranked:
    """The first stage's score and the re-ordered one, of the same users, and how good the chances are that go out.

    of_shown: whether these are chances to be chosen when shown, and measured there; else they are of candidates.
    log_loss: beside that of one chance for all pairs. calibration_error: expected, over ten equal bins.
    """

    used: bool
    of_shown: bool
    metric: str
    before: float
    after: float
    gain: Difference
    auc: float | None
    log_loss: float | None
    constant_log_loss: float | None
    calibration_error: float | None
