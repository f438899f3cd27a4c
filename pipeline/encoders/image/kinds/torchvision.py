"""torchvision: any of its classification networks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.config.shared import WEIGHTS_FROM
from pipeline.encoders.image.kinds.timm import BackboneEncoder, BackboneImage
from pipeline.errors import WeightsError

TORCHVISION = "torchvision:"


class TorchvisionImage(BackboneImage):
    """Any classification network of torchvision."""

    encoder: Literal["torchvision"] = "torchvision"
    model: str = Field("resnet50", description="torchvision's name of the architecture")
    weights: str = Field("torchvision:DEFAULT", description=f"torchvision:ENTRY (downloaded), or {WEIGHTS_FROM}")
    preprocessing: str = Field("DEFAULT", description="entry of the architecture's weights whose preprocessing holds")


class TorchvisionEncoder(BackboneEncoder):
    """Any classification network of torchvision (VGG, ResNet, Inception, EfficientNet, ConvNeXt, ViT, Swin, …).

    `torchvision:ENTRY` downloads that entry of the architecture's weights, `torchvision:DEFAULT` the best one.
    """

    Settings = TorchvisionImage
    library = "torchvision"
    settings: TorchvisionImage

    def locate(self) -> Path:
        """As every encoder, and `torchvision:ENTRY` from where torchvision publishes it."""
        self.entry = self.settings.preprocessing
        if not self.settings.weights.startswith(TORCHVISION):
            return super().locate()
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
