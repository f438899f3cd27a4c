"""Pictures by a transformers vision model: CLIP, SigLIP, DINOv2, ViT and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipeline.encoders.base import Input, Raw
from pipeline.encoders.engine.engines import Batch
from pipeline.encoders.engine.network import RUNNING, NetworkEncoder
from pipeline.encoders.image.kinds.transformers import TransformersImage
from pipeline.encoders.image.pixels import views_of
from pipeline.encoders.weights import check, is_joint, locate, reason
from pipeline.errors import MediaError, WeightsError
from pipeline.media import open_image
from pipeline.workspace import digest

if TYPE_CHECKING:
    import torch

VERSION = 1
# Of a picture longer than so many times its shorter side, the middle is taken: resized whole it would fill the memory.
LONGEST = 16


class TransformerImageEncoder(NetworkEncoder):
    """Encodes a picture: `decode` gives what the weights' own processor makes of each view, `embed` (n, d) float32.

    The vector is the model's place in its joint space, its pooled output, or a mean over patches. Not of unit norm.
    """

    settings: TransformersImage

    def __init__(self, settings: TransformersImage) -> None:
        super().__init__()
        self.settings = settings
        self.folder = locate(settings)
        self.model = settings.weights
        self.batch_cost = settings.batch_rows
        self.window = 4 * settings.batch_rows
        weights = check(settings, self.folder)
        self.identity = digest("transformers image", VERSION, settings.model_dump(exclude=set(RUNNING)), weights)
        joint = settings.pooling == "joint" or (settings.pooling == "auto" and is_joint(self.folder))
        self.space = weights if joint else ""

    def build(self) -> torch.nn.Module:
        """Takes [n × 3 × h × w] floats, gives [n × d]. Raises WeightsError, ConfigError."""
        from pipeline.encoders.transformer_networks import PooledPixels, load_model

        network = load_model(self.folder, self.settings.weights)
        return PooledPixels(network, self.settings.pooling, self.settings.weights)

    def load(self) -> None:
        """Loads the image processor and the network. Raises WeightsError."""
        from transformers import AutoImageProcessor

        try:
            self.processor: Any = AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, ImportError, KeyError) as error:
            cause = reason(error)
            raise WeightsError(f"weights {self.model}: no image processor of transformers there ({cause})") from None
        super().load()

    def decode(self, raw: Raw) -> Input:
        """The views' pixels, each (3, h, w) float32. Raises MediaError if the picture cannot be read."""
        if not isinstance(raw, bytes):
            raise MediaError("no image")
        picture = _middle(open_image(raw, self.settings.max_pixels, draft=(1024, 1024)))
        return [self._pixels(view) for view in views_of(picture, self.settings.views)]

    def collate(self, parts: Sequence[np.ndarray]) -> Batch:
        """One array, (n, 3, h, w) float32."""
        return (np.stack(parts),)

    def examples(self) -> list[np.ndarray]:
        """Two pictures of noise."""
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
