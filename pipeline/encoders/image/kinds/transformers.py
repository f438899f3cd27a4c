"""transformers: CLIP, SigLIP, DINOv2, ViT and their kin."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import WEIGHTS_FROM
from pipeline.encoders.image.kinds.timm import ImageNetwork
from pipeline.encoders.kind import Kind


class TransformersImage(ImageNetwork):
    """A transformers vision model: CLIP, SigLIP, DINOv2, ViT."""

    encoder: Literal["transformers"] = "transformers"
    weights: str = Field("openai/clip-vit-base-patch32", description=WEIGHTS_FROM)
    pooling: Literal["auto", "cls", "mean", "joint"] = Field(
        "auto", description="auto: the joint space where the model has one, else its pooled output, else cls"
    )


class Transformers(Kind):
    """See `pipeline.encoders.image.transformer`."""

    Settings = TransformersImage
    implementation = "pipeline.encoders.image.transformer:TransformerImageEncoder"
