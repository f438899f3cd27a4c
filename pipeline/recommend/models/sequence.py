"""sequence: a causal transformer that reads a user's choices in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.base import Section
from pipeline.config.train import TrainSettings
from pipeline.config.training import Averaging, Dropout, Epochs, EvaluateEvery, Imbalance, Patience, Schedule
from pipeline.recommend.kind import Kind, Space

if TYPE_CHECKING:
    from pipeline.recommend.base import ItemSide


class SemanticIds(Section):
    """Fused vectors told in a few codes that like items share; see `pipeline.recommend.semantic_ids`."""

    levels: int = Field(0, ge=0, le=8, description="codes of an item, coarse to fine; 0 for none")
    codes: int = Field(256, ge=2, description="different codes of one level, fewer in a small catalogue")


class HistorySettings(TrainSettings, Schedule):
    """What sequence and llm share: the vectors, and the softmax over chosen items."""

    patience_epochs: Patience = 3
    evaluate_every: EvaluateEvery = 1
    semantic_ids: SemanticIds = SemanticIds()
    id_dropout: Annotated[float, Field(ge=0, lt=1, description="share of items that a step sees by content alone")] = (
        0.1
    )
    temperature: float = Field(0.07, ge=0.02, description="a score is the cosine divided by this")
    full_softmax_items: int = Field(10_000, ge=0, description="above so many chosen items, the softmax is sampled")
    negatives: int = Field(2048, ge=1, description="items that a sampled softmax draws for each batch")
    weight_decay: float = Field(1e-2, ge=0)
    imbalance: Imbalance = Imbalance()


class SequenceSettings(HistorySettings):
    """See `pipeline.recommend.sequence`."""

    model: Literal["sequence"] = "sequence"
    max_epochs: Epochs = 60
    averaging: Averaging = 0.99
    width: int = Field(256, ge=2, description="dimensions of item and user vectors, a multiple of `heads`")
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    history_items: int = Field(50, ge=2, description="latest interactions that are read")
    dropout: Dropout = 0.5
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="share of a target spread over all items")] = 0.0
    batch_positions: int = Field(512, ge=1, description="places of histories in one batch, with padding")
    learning_rate: float = Field(2e-3, gt=0)

    @field_validator("heads")
    @classmethod
    def _heads_share_the_width(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("width", heads) % heads:
            raise ValueError(f"must divide width, which is {info.data['width']}")
        return heads


class SequenceKind(Kind):
    """SASRec, with items made of ids and content."""

    Settings: ClassVar[type[TrainSettings]] = SequenceSettings
    title = "sequence"
    purpose = "logs in which the order of choices tells what comes next"
    implementation = "pipeline.recommend.sequence:SequenceModel"
    inductive = True
    reads = frozenset({"fused"})
    shared = True
    remade = True
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "dropout": {"low": 0.1, "high": 0.7},
        "id_dropout": {"low": 0, "high": 0.5},
        "temperature": {"low": 0.03, "high": 0.2, "log": True},
        "layers": {"low": 1, "high": 3},
    }

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Kind."""
        from pipeline.recommend.item_sides import SequenceItems

        return SequenceItems(folder, cls.Settings.model_fields["model"].default)
