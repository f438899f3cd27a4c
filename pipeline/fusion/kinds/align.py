"""Towers that land near each other: any one modality alone finds the item that it belongs to; see `networks.Align`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.config.fuse import Fuse, Learn, NetworkFuse
from pipeline.fusion.learned import LearnedFusion


class AlignLearn(Learn):
    """How it learns: above all that an item's modalities agree, which it is there for."""

    agreement: float = Field(2.0, ge=0, description="weight of the loss over the modalities of one item")


class AlignSettings(NetworkFuse):
    """Modalities that agree."""

    kind: Literal["align"] = "align"
    learn: AlignLearn = AlignLearn()


class AlignFusion(LearnedFusion):
    """See `networks.Align`."""

    Settings: ClassVar[type[Fuse]] = AlignSettings
    meaning: ClassVar[str] = "Each modality has learned to land near the others; the shares are the learned weights."
    settings: AlignSettings
    network_class: ClassVar[str] = "Align"
