"""Towers, self-attention among an item's modalities, and a gate for each item; see `networks.Attention`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.config.fuse import Fuse, NetworkFuse
from pipeline.fusion.learned import LearnedFusion


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
    network_class: ClassVar[str] = "Attention"
