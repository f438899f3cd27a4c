"""Pictures through any network of timm or torchvision: before the classifier, or at layers by name.

| picture | result |
|---|---|
| any that `pipeline.media` opens | upright RGB, the weights' own resize and centre crop, one vector |
| the same file in any batch | the same vector, to 1e-5 in fp32 |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import LITE0, WEIGHTS_FROM, MediaSettings, Network
from pipeline.encoders.base import Input, Raw
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.errors import MediaError

if TYPE_CHECKING:
    import torch

    from pipeline.encoders.image.pixels import Preprocessing

VERSION = 3


class ImageNetwork(Network, MediaSettings):
    """What every image network shares."""

    views: Literal["centre", "flip", "crops"] = Field(
        "centre", description="views averaged: the centre; with its mirror image; five crops with theirs"
    )
    batch_rows: int = Field(32, ge=1, description="images in one batch")
    max_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")


class BackboneImage(ImageNetwork):
    """An image network of a library: which, and which of its layers are read."""

    layers: tuple[str, ...] = Field((), description="layers by name, one after the other; none: before the classifier")
    feature_map: Literal["average", "flatten"] = Field("average", description="how a layer's map becomes a vector")
    model: str = Field("", description="the library's name of the architecture")


class TimmImage(BackboneImage):
    """Any image network of timm."""

    encoder: Literal["timm"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="timm's name of the architecture")
    weights: str = Field(LITE0, description=WEIGHTS_FROM)


class BackboneEncoder(NetworkEncoder):
    """Encodes a picture: `decode` gives each view's (side, side, 3) uint8 pixels, `embed` (n, d) float32.

    The vector is the network's output before its classifier, or its layers' maps, averaged or flat, in the order
    given. It is not of unit norm.
    """

    library: str
    settings: BackboneImage
    entry = "DEFAULT"

    def __init__(self, settings: BackboneImage) -> None:
        super().__init__(settings, (self.library, VERSION), settings.batch_rows)
        self.model = f"{settings.model} ({settings.weights})"

    def build(self) -> torch.nn.Module:
        """Takes uint8 pixels [n × side × side × 3], gives [n × d]."""
        from pipeline.encoders.image.backbones import Normalised, build_backbone

        backbone = build_backbone(self.library, self.settings.model, self.path, self.settings.layers)
        return Normalised(backbone, self.shape, self.settings.feature_map == "flatten")

    def load(self) -> None:
        """Reads the preprocessing, then loads as every network. Raises WeightsError, ConfigError."""
        from pipeline.encoders.image.backbones import statistics_of

        self.shape: Preprocessing = statistics_of(self.library, self.settings.model, self.entry)
        super().load()

    def decode(self, raw: Raw) -> Input:
        """The views' pixels, each (side, side, 3) uint8. Raises MediaError if the picture cannot be read."""
        if not isinstance(raw, bytes):
            raise MediaError("no image")
        from pipeline.encoders.image.pixels import views_of
        from pipeline.media import open_image

        picture = open_image(raw, self.settings.max_pixels, draft=self.shape.draft)
        return [self.shape.apply(view) for view in views_of(picture, self.settings.views)]

    def examples(self) -> list[np.ndarray]:
        """Two pictures of noise."""
        noise = np.random.default_rng(0).integers(0, 255, (2, self.shape.side, self.shape.side, 3), dtype=np.uint8)
        return list(noise)


class TimmEncoder(BackboneEncoder):
    """Any network of timm, by its name there."""

    Settings = TimmImage
    library = "timm"
