"""timm: any of its image networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Section
from pipeline.config.shared import LITE0, WEIGHTS_FROM, MediaSettings, Network
from pipeline.encoders.kind import Kind


class ImageNetwork(Network, MediaSettings):
    """What every image network shares."""

    views: Literal["centre", "flip", "crops"] = Field(
        "centre", description="views averaged: the centre; with its mirror image; five crops with theirs"
    )
    batch_rows: int = Field(32, ge=1, description="images in one batch")
    max_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")


class LayerChoice(Section):
    """Which layers of a convolutional or vision network are read."""

    layers: tuple[str, ...] = Field((), description="layers by name, one after the other; none: before the classifier")
    feature_map: Literal["average", "flatten"] = Field("average", description="how a layer's map becomes a vector")


class TimmImage(ImageNetwork, LayerChoice):
    """Any image network of timm."""

    encoder: Literal["timm"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="timm's name of the architecture")
    weights: str = Field(LITE0, description=WEIGHTS_FROM)


class Timm(Kind):
    """See `pipeline.encoders.image.backbone`."""

    Settings = TimmImage
    implementation = "pipeline.encoders.image.backbone:TimmEncoder"
