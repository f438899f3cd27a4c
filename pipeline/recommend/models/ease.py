"""ease: the ridge regression of every item on all others, in closed form."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind


class EaseSettings(TrainSettings):
    """See `pipeline.recommend.item_to_item`; validation chooses among the values of a grid."""

    model: Literal["ease"] = "ease"
    regularization: Grid = Field((200, 50, 1000), description="to choose from", json_schema_extra=ADVANCED)
    max_items: int = Field(10_000, ge=1, description="of more items, those most often chosen are looked at")


class EaseKind(Kind):
    """A dense matrix of items by items."""

    Settings = EaseSettings
    title = "EASE"
    purpose = "the strongest of the simple baselines, up to some ten thousand items"
    implementation = "pipeline.recommend.item_to_item:Ease"
    vectors = False
    seeded = False
