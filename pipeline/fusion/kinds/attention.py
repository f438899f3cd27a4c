"""Towers, self-attention among an item's modalities, and a gate for each item; see `networks.Attention`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.config.fuse import Fuse, NetworkFuse
from pipeline.fusion.learned import LearnedFusion

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.fusion.networks import Network


class AttentionSettings(NetworkFuse):
    """Attention among the modalities of an item."""

    kind: Literal["attention"] = "attention"


class AttentionFusion(LearnedFusion):
    """See `networks.Attention`."""

    Settings: ClassVar[type[Fuse]] = AttentionSettings
    meaning: ClassVar[str] = (
        "Modalities attend to each other, and a gate weighs them for each item; the shares are its weights."
    )
    settings: AttentionSettings

    def build(self, weights: Tensor) -> Network:
        """See LearnedFusion."""
        from pipeline.fusion.networks import Attention

        return Attention(weights, self.frontend.width, self.settings.hidden, self.settings.dropout)
