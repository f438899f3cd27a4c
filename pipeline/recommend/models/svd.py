"""svd: the largest singular vectors of choices and content, in one decomposition."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind, Space


class SvdSettings(TrainSettings):
    """See `pipeline.recommend.svd`; validation chooses among the values of a setting."""

    model: Literal["svd"] = "svd"
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (256, 64, 128, 512, 1024), min_length=1, description="dimensions of the vectors, to choose from"
    )
    popularity_powers: Grid = Field(
        (0.5, 0.3, 0.1),
        description="powers of popularity, to choose from, that items are scored by",
        json_schema_extra=ADVANCED,
    )
    spectrum_powers: Grid = Field(
        (0.0, 0.5, 1.0),
        description="powers of its singular value, to choose from, that a dimension counts by",
        json_schema_extra=ADVANCED,
    )
    neighbours: int = Field(
        5, ge=1, description="nearest items in each modality that stand in an item's row of content"
    )
    content_weight: float = Field(0.3, ge=0, description="what a row of content counts beside a user's; 0 for none")


class SvdKind(Kind):
    """Truncated singular value decomposition of the normalised log and of content."""

    Settings = SvdSettings
    title = "SVD"
    purpose = "a strong model in seconds, without epochs; a good first one on a new log"
    implementation = "pipeline.recommend.svd:Svd"
    inductive = True
    reads = frozenset({"modalities"})
    not_remade = "learns an item from its content and from choices at once"
    search_space: ClassVar[Space] = {"neighbours": {"low": 2, "high": 20}, "content_weight": {"low": 0, "high": 1}}
