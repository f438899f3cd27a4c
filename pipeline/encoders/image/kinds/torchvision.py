"""torchvision: any of its classification networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import WEIGHTS_FROM
from pipeline.encoders.image.kinds.timm import ImageNetwork, LayerChoice
from pipeline.encoders.kind import Kind


class TorchvisionImage(ImageNetwork, LayerChoice):
    """Any classification network of torchvision."""

    encoder: Literal["torchvision"] = "torchvision"
    model: str = Field("resnet50", description="torchvision's name of the architecture")
    weights: str = Field("torchvision:DEFAULT", description=f"torchvision:ENTRY (downloaded), or {WEIGHTS_FROM}")
    preprocessing: str = Field("DEFAULT", description="entry of the architecture's weights whose preprocessing holds")


class Torchvision(Kind):
    """See `pipeline.encoders.image.backbone`."""

    Settings = TorchvisionImage
    implementation = "pipeline.encoders.image.backbone:TorchvisionEncoder"
