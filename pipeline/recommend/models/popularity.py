"""popularity: the same for everyone: what was chosen most often of late."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Grid
from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind


class PopularitySettings(TrainSettings):
    """See `pipeline.recommend.baselines`; validation chooses among the values of a setting."""

    model: Literal["popularity"] = "popularity"
    half_life_days: Grid = Field((90, 10, 10_000), description="age at which a choice counts half, to choose from")


class PopularityKind(Kind):
    """An item's score is how often it was chosen, choices fading with their age."""

    Settings = PopularitySettings
    title = "popularity"
    purpose = "what a shop shows without any model; the gate's default opponent"
    implementation = "pipeline.recommend.baselines:Popularity"
    seeded = False
