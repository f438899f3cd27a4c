"""als: weighted matrix factorisation by alternating least squares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind


class AlsSettings(TrainSettings):
    """See `pipeline.recommend.baselines`; validation chooses among the values of a grid."""

    model: Literal["als"] = "als"
    factors: int = Field(64, ge=1, description="dimensions of the vectors")
    iterations: int = Field(15, ge=1)
    regularization: Grid = Field((20, 5, 1), description="to choose from", json_schema_extra=ADVANCED)
    alpha: Grid = Field(
        (4, 10, 1), description="confidence given to an interaction, to choose from", json_schema_extra=ADVANCED
    )


class AlsKind(Kind):
    """Implicit-feedback matrix factorisation (library `implicit`); ids alone."""

    Settings = AlsSettings
    title = "ALS"
    purpose = "choices alone, in seconds; a good member of a blend"
    implementation = "pipeline.recommend.baselines:ALS"
