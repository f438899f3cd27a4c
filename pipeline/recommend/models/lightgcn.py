"""lightgcn: ids spread along the graph of who chose what, learned from pairs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.recommend.kind import Kind, Space
from pipeline.recommend.models.bpr import PAIRWISE_SPACE, PairwiseSettings


class LightGcnSettings(PairwiseSettings):
    """See `pipeline.recommend.lightgcn`."""

    model: Literal["lightgcn"] = "lightgcn"
    layers: int = Field(1, ge=1, le=4, description="steps of propagation along the graph of choices")


class LightGcnKind(Kind):
    """Graph convolutions without weights; ids alone."""

    Settings = LightGcnSettings
    title = "LightGCN"
    purpose = "choices alone, where who chose what is a dense graph"
    implementation = "pipeline.recommend.lightgcn:LightGCN"
    shared = True
    search_space: ClassVar[Space] = {**PAIRWISE_SPACE, "layers": {"low": 1, "high": 3}}
