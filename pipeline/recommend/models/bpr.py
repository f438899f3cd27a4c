"""bpr: what a user chose scores above what the user did not, learned one triple after another."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.config.train import TrainSettings
from pipeline.config.training import Imbalance, Schedule
from pipeline.recommend.kind import Kind, Space


class PairwiseSettings(TrainSettings, Schedule):
    """What bpr, vbpr and lightgcn share; vbpr and lightgcn learn a batch at a time."""

    width: int = Field(64, ge=1, description="dimensions of a user's and an item's own vector")
    batch_rows: int = Field(8192, ge=1, description="triples of a user, a chosen item and another one in a batch")
    popularity_power: float = Field(
        0.0, ge=0, le=2, description="negatives are drawn by popularity to this power; 0 draws all items alike"
    )
    learning_rate: float = Field(1e-2, gt=0)
    l2: float = Field(3e-2, ge=0, description="weight of the squared norms of a triple's own vectors")
    imbalance: Imbalance = Imbalance()


class BprSettings(PairwiseSettings):
    """See `pipeline.recommend.bpr`."""

    model: Literal["bpr"] = "bpr"
    popularity_power: float = Field(
        0.5, ge=0, le=2, description="negatives are drawn by popularity to this power; 0 draws all items alike"
    )
    learning_rate: float = Field(5e-2, gt=0)
    l2: float = Field(2e-3, ge=0, description="weight of the squared norms of a triple's own vectors")


PAIRWISE_SPACE: Space = {
    "learning_rate": {"low": 1e-3, "high": 5e-2, "log": True},
    "l2": {"low": 1e-4, "high": 0.3, "log": True},
    "width": [32, 64, 128],
    "popularity_power": {"low": 0, "high": 1},
}


class BprKind(Kind):
    """Matrix factorisation by pairwise ranking; ids alone."""

    Settings = BprSettings
    title = "BPR"
    purpose = "choices alone, by the classic of ranking; for comparison and for blends"
    implementation = "pipeline.recommend.bpr:BPR"
    search_space: ClassVar[Space] = {
        **PAIRWISE_SPACE,
        "learning_rate": {"low": 1e-2, "high": 0.2, "log": True},
        "l2": {"low": 1e-4, "high": 5e-2, "log": True},
    }
