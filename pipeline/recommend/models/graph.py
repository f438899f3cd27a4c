"""graph: items spread along content and choices, users made of what they chose, softmax over the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline.config.train import TrainSettings
from pipeline.config.training import Patience, Schedule
from pipeline.recommend.kind import Kind, Space

if TYPE_CHECKING:
    from pipeline.recommend.base import ItemSide


class GraphSettings(TrainSettings, Schedule):
    """See `pipeline.recommend.graph`."""

    model: Literal["graph"] = "graph"
    patience_epochs: Patience = 10
    width: int = Field(64, ge=2, description="dimensions of the vectors")
    neighbours: int = Field(10, ge=1, description="nearest items in each modality that an item is joined with")
    neighbour_weight: float = Field(1.5, ge=0, description="weight of an item's neighbours beside the item itself")
    popularity_power: float = Field(
        0.25, ge=0, le=1, description="an item counts in a user's history by 1 / popularity to this power"
    )
    hidden_share: float = Field(0.5, gt=0, lt=1, description="share of the choices that an epoch hides and predicts")
    temperature: float = Field(0.15, gt=0, description="of the softmax over cosines")
    batch_users: int = Field(512, ge=1, description="users in a step")
    learning_rate: float = Field(1e-2, gt=0)
    weight_decay: float = Field(0.0, ge=0, description="of all but the biases")
    max_candidates: int = Field(16384, ge=1, description="items in the softmax; more are sampled")


class GraphKind(Kind):
    """A graph of items by content and of items by choices."""

    Settings = GraphSettings
    title = "graph"
    purpose = "small and middling logs with content; strong where histories are short"
    implementation = "pipeline.recommend.graph:GraphRecommender"
    inductive = True
    reads = frozenset({"modalities"})
    shared = True
    remade = True
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 2e-3, "high": 5e-2, "log": True},
        "temperature": {"low": 0.05, "high": 0.5, "log": True},
        "neighbour_weight": {"low": 0, "high": 4},
        "popularity_power": {"low": 0, "high": 0.75},
        "hidden_share": {"low": 0.2, "high": 0.8},
    }

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Kind."""
        from pipeline.recommend.item_sides import SummedItems

        return SummedItems(folder, "graph", unit=True)
