"""Pictures by a transformers vision model: CLIP, SigLIP, DINOv2, ViT and their kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import HUB_CLIP, WEIGHTS_FROM
from pipeline.encoders.base import Input, Raw
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.encoders.image.kinds.timm import ImageNetwork
from pipeline.errors import MediaError

if TYPE_CHECKING:
    import torch
    from PIL import Image

VERSION = 1
# Of a picture longer than so many times its shorter side, the middle is taken: resized whole it would fill the memory.
LONGEST = 16


class TransformersImage(ImageNetwork):
    """A transformers vision model: CLIP, SigLIP, DINOv2, ViT."""

    encoder: Literal["transformers"] = "transformers"
    weights: str = Field(HUB_CLIP, description=WEIGHTS_FROM)
    pooling: Literal["auto", "cls", "mean", "joint"] = Field(
        "auto", description="auto: the joint space where the model has one, else its pooled output, else cls"
    )


class TransformerImageEncoder(NetworkEncoder):
    """Encodes a picture: `decode` gives what the weights' own processor makes of each view, `embed` (n, d) float32.

    The vector is the model's place in its joint space, its pooled output, or a mean over patches. Not of unit norm.
    """

    Settings = TransformersImage
    settings: TransformersImage

    def __init__(self, settings: TransformersImage) -> None:
        super().__init__(settings, ("transformers image", VERSION), settings.batch_rows, settings.pooling)

    def build(self) -> torch.nn.Module:
        """Takes [n × 3 × h × w] floats, gives [n × d]. Raises WeightsError, ConfigError."""
        from pipeline.encoders.transformer_networks import PooledPixels, load_model

        network = load_model(self.folder, self.settings.weights)
        return PooledPixels(network, self.settings.pooling, self.settings.weights)

    def load(self) -> None:
        """Loads the image processor and the network. Raises WeightsError."""
        from transformers import AutoImageProcessor

        from pipeline.encoders.transformer_networks import load_part

        self.processor = load_part(AutoImageProcessor, self.folder, self.model, "image processor")
        super().load()

    def decode(self, raw: Raw) -> Input:
        """The views' pixels, each (3, h, w) float32. Raises MediaError if the picture cannot be read."""
        if not isinstance(raw, bytes):
            raise MediaError("no image")
        from pipeline.encoders.image.pixels import views_of
        from pipeline.media import open_image

        picture = _middle(open_image(raw, self.settings.max_pixels, draft=(1024, 1024)))
        return [self._pixels(view) for view in views_of(picture, self.settings.views)]

    def examples(self) -> list[np.ndarray]:
        """Two pictures of noise."""
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
        return [self._pixels(Image.fromarray(pixels)) for pixels in noise]

    def _pixels(self, picture: Image.Image) -> np.ndarray:
        pixels = self.processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return np.asarray(pixels, dtype=np.float32)


def _middle(picture: Image.Image) -> Image.Image:
    longest = LONGEST * min(picture.size)
    width, height = min(picture.width, longest), min(picture.height, longest)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
