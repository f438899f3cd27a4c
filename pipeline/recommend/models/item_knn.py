"""item_knn: the items most like those of a history, by who chose them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind


class ItemKnnSettings(TrainSettings):
    """See `pipeline.recommend.item_to_item`; validation chooses among the values of a setting."""

    model: Literal["item_knn"] = "item_knn"
    neighbours: Grid = Field((200,), description="nearest items of each item, to choose from")
    shrink: Grid = Field(
        (0, 10, 100),
        description="added to the norms, so that rare items are less alike; to choose from",
        json_schema_extra=ADVANCED,
    )


class ItemKnnKind(Kind):
    """Cosine of the items' users."""

    Settings = ItemKnnSettings
    title = "item kNN"
    purpose = "people who chose this also chose that; a baseline"
    implementation = "pipeline.recommend.item_to_item:ItemKnn"
    vectors = False
    seeded = False
