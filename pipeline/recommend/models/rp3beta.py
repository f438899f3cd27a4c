"""rp3beta: a random walk from an item to its users to their items, divided by popularity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind


class Rp3BetaSettings(TrainSettings):
    """See `pipeline.recommend.item_to_item`; validation chooses among the values of a setting."""

    model: Literal["rp3beta"] = "rp3beta"
    alpha: Grid = Field((1.0, 0.5), description="power of the steps' chances", json_schema_extra=ADVANCED)
    beta: Grid = Field(
        (0.3, 0.0, 0.6), description="power of popularity that scores are divided by", json_schema_extra=ADVANCED
    )
    neighbours: Grid = Field((200,), description="likeliest items after each item")


class Rp3BetaKind(Kind):
    """Three steps of a walk on the graph of choices."""

    Settings = Rp3BetaSettings
    title = "RP3beta"
    purpose = "a strong baseline of long tails"
    implementation = "pipeline.recommend.item_to_item:RP3Beta"
    vectors = False
    seeded = False
