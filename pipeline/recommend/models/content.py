"""content: nothing is learned; items are their fused vectors, and users are pooled from what they chose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config.train import TrainSettings
from pipeline.recommend.kind import Kind

if TYPE_CHECKING:
    from pipeline.recommend.base import ItemSide


class ContentSettings(TrainSettings):
    """There is nothing to set."""

    model: Literal["content"] = "content"


class ContentKind(Kind):
    """Recommends what is like the user's own choices."""

    Settings = ContentSettings
    title = "content"
    purpose = "a catalogue whose log is young; the floor that learning must clear"
    implementation = "pipeline.recommend.content:ContentRecommender"
    inductive = True
    reads = frozenset({"fused"})
    seeded = False
    validated = False
    remade = True
    ids = False

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Kind."""
        from pipeline.recommend.content import FusedItems

        return FusedItems()
