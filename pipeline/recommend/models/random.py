"""random: a random order, each user's another: the floor that any model must clear."""

from __future__ import annotations

from typing import Literal

from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind


class RandomSettings(TrainSettings):
    """There is nothing to set."""

    model: Literal["random"] = "random"


class RandomKind(Kind):
    """Items and users anywhere on a sphere."""

    Settings = RandomSettings
    title = "random"
    purpose = "the floor that any model must clear"
    implementation = "pipeline.recommend.baselines:Random"
    inductive = True
    validated = False
