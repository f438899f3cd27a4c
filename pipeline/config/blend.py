"""Settings of the blend of several recommenders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipeline.config.base import Section

Member = Literal[
    "content", "two_tower", "sequence", "bpr", "vbpr", "lightgcn", "graph", "elsa", "svd", "llm", "als", "popularity"
]  # fmt: skip


class Blend(Section):
    """Several models' scores added up; see `pipeline.recommend.blend`."""

    models: tuple[Member, ...] = Field(
        ("two_tower", "als"), min_length=1, description="each is fitted as it would be alone; validation weighs them"
    )
    search_users: int = Field(10_000, ge=1, description="users of the validation part that weights are tried on")

    @field_validator("models")
    @classmethod
    def _names_differ(cls, models: tuple[Member, ...]) -> tuple[Member, ...]:
        if len(set(models)) < len(models):
            raise ValueError("must name each model once")
        return models
