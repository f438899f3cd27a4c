"""two_tower: items from content and identity, users from what they chose, by sampled softmax."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline.config.base import ADVANCED
from pipeline.config.train import TrainSettings
from pipeline.config.training import Averaging, Dropout, Epochs, EvaluateEvery, Imbalance, Patience, Schedule
from pipeline.recommend.kind import Kind, Space

if TYPE_CHECKING:
    from pipeline.recommend.base import ItemSide


class TwoTowerSettings(TrainSettings, Schedule):
    """See `pipeline.recommend.two_tower`."""

    model: Literal["two_tower"] = "two_tower"
    width: int = Field(128, ge=2, description="dimensions of the towers, without what new items add")
    max_epochs: Epochs = 60
    patience_epochs: Patience = 8
    evaluate_every: EvaluateEvery = 1
    averaging: Averaging = 0.98
    batch_rows: int = Field(128, ge=1)
    moments_per_user: int = Field(8, ge=1, description="moments of a user's past that one epoch predicts from")
    targets: int = Field(5, ge=1, description="next choices that one moment predicts")
    target_fade: float = Field(
        0.7,
        gt=0,
        le=1,
        description="what each next choice counts, relative to the one before",
        json_schema_extra=ADVANCED,
    )
    negatives: int = Field(1024, ge=1, description="sampled items that every target of a batch is ranked against")
    in_batch_negatives: bool = Field(False, description="rank a target against the batch's other targets too")
    hard_negatives: int = Field(
        0, ge=0, description="and against so many items that last night's model would have recommended the user"
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    dropout: Dropout = 0.3
    heads: int = Field(4, ge=1, description="ways of reading a history, from the last few choices to all of it")
    history_items: int = Field(50, ge=1, description="latest interactions the user tower reads")
    content_loss: float = Field(
        0.3, ge=0, description="weight of the loss with every id left out, which new items need"
    )
    new_item_cosine: float = Field(
        12.0, ge=0, description="weight of likeness to the user's choices, for new items", json_schema_extra=ADVANCED
    )
    imbalance: Imbalance = Imbalance()


class TwoTowerKind(Kind):
    """Two towers, of items and of users."""

    Settings = TwoTowerSettings
    title = "two-tower"
    purpose = "content and choices together, new items among the old ones; the default"
    implementation = "pipeline.recommend.two_tower:TwoTower"
    inductive = True
    reads = frozenset({"fused"})
    shared = True
    remade = True
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
        "dropout": {"low": 0, "high": 0.6},
        "target_fade": {"low": 0.4, "high": 1},
        "content_loss": {"low": 0.03, "high": 1, "log": True},
    }

    @classmethod
    def reads_earlier(cls, settings: TrainSettings) -> bool:
        """For negatives that are hard."""
        return isinstance(settings, TwoTowerSettings) and settings.hard_negatives > 0

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Kind."""
        from pipeline.recommend.item_sides import TowerItems

        return TowerItems(folder)
