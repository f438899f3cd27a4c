"""Audio as a picture: the log-mel spectrogram through an image network of timm or torchvision.

| clip | result |
|---|---|
| up to `seconds` | one picture; what is missing at its end is black |
| longer | pictures of `seconds` each, the last one ending with the clip; their vectors' mean |
| longer than `max_seconds` | its beginning |
| only zeros | missing, "silent clip" |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import LITE0, WEIGHTS_FROM, MelSettings, Network
from pipeline.encoders.audio.clips import windows
from pipeline.encoders.base import Input, Raw
from pipeline.encoders.engine.engines import Batch
from pipeline.encoders.engine.network import NetworkEncoder

if TYPE_CHECKING:
    import torch

    from pipeline.encoders.image.pixels import Preprocessing

VERSION = 2


class LogmelAudio(Network, MelSettings):
    """The log-mel spectrogram as a picture, through an image network."""

    encoder: Literal["logmel_cnn"] = "logmel_cnn"
    library: Literal["timm", "torchvision"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="the library's name of the architecture")
    weights: str = Field(LITE0, description=WEIGHTS_FROM)
    mel_bands: int = Field(128, ge=8, description="rows of the picture")
    seconds: float = Field(3, gt=0, description="length of one picture; a longer clip is several, averaged")
    batch_rows: int = Field(32, ge=1, description="pictures in one batch")


class LogmelEncoder(NetworkEncoder):
    """Encodes a clip: `decode` gives pictures, each (side, side) uint8, `embed` (n, d) float32, not of unit norm.

    White is the clip's loudest band, black 80 dB below it or less. A row is a mel band, the lowest first; a column is
    time. Resized to the side that the network was trained on, so that its filters meet edges of the size they know, and
    every architecture takes it: Hershey et al., "CNN architectures for large-scale audio classification" (2017).
    """

    Settings = LogmelAudio
    settings: LogmelAudio

    def __init__(self, settings: LogmelAudio) -> None:
        from pipeline.encoders.audio.mel import MelSpectrogram

        super().__init__(settings, ("logmel", VERSION), settings.batch_rows)
        self.model = f"{settings.model} ({settings.weights}) on log-mel pictures"
        self.columns = max(1, round(settings.seconds * settings.sample_rate_hz / settings.hop_samples))
        self._mel = MelSpectrogram(settings, settings.mel_bands)

    def load(self) -> None:
        """Computes the filters, then loads as every network. Raises WeightsError, ConfigError."""
        from pipeline.encoders.image.backbones import statistics_of

        self._mel.load()
        self.shape: Preprocessing = statistics_of(self.settings.library, self.settings.model)
        super().load()

    def build(self) -> torch.nn.Module:
        """Takes uint8 pixels [n × side × side × 3], gives [n × d]."""
        from pipeline.encoders.image.backbones import Normalised, build_backbone

        return Normalised(build_backbone(self.settings.library, self.settings.model, self.path), self.shape)

    def decode(self, raw: Raw) -> Input:
        """The clip's pictures, each (side, side) uint8. Raises MediaError if it cannot be read or holds only zeros."""
        from pipeline.encoders.audio.mel import RANGE_DB

        level = self._mel.decibels(raw)
        grey = 255 * (1 + level / np.float32(RANGE_DB))
        return [self._picture(grey[:, window]) for window in windows(grey.shape[1], self.columns)]

    def collate(self, parts: Sequence[np.ndarray]) -> Batch:
        """One array, (n, side, side, 3) uint8: three equal channels."""
        return (np.stack(parts)[..., None].repeat(3, axis=-1),)

    def examples(self) -> list[np.ndarray]:
        """Two pictures of noise."""
        return list(np.random.default_rng(0).integers(0, 255, (2, self.shape.side, self.shape.side), dtype=np.uint8))

    def _picture(self, grey: np.ndarray) -> np.ndarray:
        from PIL import Image

        filled = np.pad(grey, ((0, 0), (0, self.columns - grey.shape[1])))
        side = (self.shape.side, self.shape.side)
        return np.asarray(Image.fromarray(filled).resize(side, Image.Resampling.BILINEAR)).round().astype(np.uint8)
