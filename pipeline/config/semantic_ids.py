"""Settings of semantic ids, which several recommenders share."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.base import Section


class SemanticIds(Section):
    """Fused vectors told in a few codes that like items share; see `pipeline.recommend.semantic_ids`."""

    levels: int = Field(0, ge=0, le=8, description="codes of an item, coarse to fine; 0 for none")
    codes: int = Field(256, ge=2, description="different codes of one level, fewer in a small catalogue")
