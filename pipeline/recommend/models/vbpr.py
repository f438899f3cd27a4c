"""vbpr: matrix factorisation by pairwise ranking that also reads each modality's vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline.recommend.kind import Kind, Space
from pipeline.recommend.models.bpr import PAIRWISE_SPACE, PairwiseSettings

if TYPE_CHECKING:
    from pipeline.recommend.base import ItemSide


class VbprSettings(PairwiseSettings):
    """See `pipeline.recommend.bpr`."""

    model: Literal["vbpr"] = "vbpr"
    content_width: int = Field(64, ge=1, description="dimensions of what is learned from content, beside the ids'")


class VbprKind(Kind):
    """Ids and content: items that nobody has chosen yet are ranked by what they are."""

    Settings = VbprSettings
    title = "VBPR"
    purpose = "bpr for catalogues whose items have content"
    implementation = "pipeline.recommend.bpr:VBPR"
    inductive = True
    reads = frozenset({"modalities"})
    shared = True
    remade = True
    search_space: ClassVar[Space] = PAIRWISE_SPACE

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Kind."""
        from pipeline.recommend.item_sides import SummedItems

        return SummedItems(folder, "vbpr", unit=False)
