"""Pictures through any network of timm or torchvision: before the classifier, or at layers by name.

| picture | result |
|---|---|
| any that `pipeline.media` opens | upright RGB, the weights' own resize and centre crop, one vector |
| the same file in any batch | the same vector, to 1e-5 in fp32 |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.encoders.base import Input, Raw
from pipeline.encoders.engine.engines import Batch
from pipeline.encoders.engine.network import RUNNING, NetworkEncoder
from pipeline.encoders.image.kinds.timm import TimmImage
from pipeline.encoders.image.kinds.torchvision import TorchvisionImage
from pipeline.encoders.image.pixels import Preprocessing, views_of
from pipeline.encoders.weights import check, locate
from pipeline.errors import MediaError, WeightsError
from pipeline.media import open_image
from pipeline.workspace import digest

if TYPE_CHECKING:
    import torch

VERSION = 3
TORCHVISION = "torchvision:"


class BackboneEncoder(NetworkEncoder):
    """Encodes a picture: `decode` gives each view's (side, side, 3) uint8 pixels, `embed` (n, d) float32.

    The vector is the network's output before its classifier, or its layers' maps, averaged or flat, in the order
    given. It is not of unit norm.
    """

    library: str
    settings: TimmImage | TorchvisionImage
    entry = "DEFAULT"

    def __init__(self, settings: TimmImage | TorchvisionImage) -> None:
        super().__init__()
        self.settings = settings
        self.path = self.locate()
        self.model = f"{settings.model} ({settings.weights})"
        self.batch_cost = settings.batch_rows
        self.window = 4 * settings.batch_rows
        meaning = settings.model_dump(exclude=set(RUNNING))
        self.identity = digest(self.library, VERSION, meaning, check(settings, self.path))

    def locate(self) -> Path:
        """Where the weights are. Raises WeightsError."""
        return locate(self.settings)

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
        picture = open_image(raw, self.settings.max_pixels, draft=self.shape.draft)
        return [self.shape.apply(view) for view in views_of(picture, self.settings.views)]

    def collate(self, parts: Sequence[np.ndarray]) -> Batch:
        """One array, (n, side, side, 3) uint8."""
        return (np.stack(parts),)

    def examples(self) -> list[np.ndarray]:
        """Two pictures of noise."""
        noise = np.random.default_rng(0).integers(0, 255, (2, self.shape.side, self.shape.side, 3), dtype=np.uint8)
        return list(noise)


class TimmEncoder(BackboneEncoder):
    """Any network of timm, by its name there."""

    library = "timm"


class TorchvisionEncoder(BackboneEncoder):
    """Any classification network of torchvision (VGG, ResNet, Inception, EfficientNet, ConvNeXt, ViT, Swin, …).

    `torchvision:ENTRY` downloads that entry of the architecture's weights, `torchvision:DEFAULT` the best one.
    """

    library = "torchvision"
    settings: TorchvisionImage

    def locate(self) -> Path:
        """As every encoder, and `torchvision:ENTRY` from where torchvision publishes it."""
        self.entry = self.settings.preprocessing
        if not self.settings.weights.startswith(TORCHVISION):
            return locate(self.settings)
        entry = self.settings.weights.removeprefix(TORCHVISION)
        if self.entry == "DEFAULT":
            self.entry = entry
        return _downloaded(self.settings.model, entry)


def _downloaded(model: str, entry: str) -> Path:
    import torch

    from pipeline.encoders.image.backbones import weights_entry

    url = str(weights_entry(model, entry).url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if file.is_file():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(file), file.stem.rsplit("-", 1)[-1], progress=False)
    except Exception as error:  # urllib and the digest check raise many kinds
        raise WeightsError(
            f"weights torchvision:{entry} of {model}: cannot be downloaded ({type(error).__name__}); fetch {file.name} "
            "elsewhere and give it as path:FILE"
        ) from None
    return file
