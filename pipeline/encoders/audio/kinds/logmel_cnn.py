"""logmel_cnn: the log-mel spectrogram as a picture, through an image network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import LITE0, WEIGHTS_FROM, MelSettings, Network
from pipeline.encoders.kind import Kind


class LogmelAudio(Network, MelSettings):
    """The log-mel spectrogram as a picture, through an image network."""

    encoder: Literal["logmel_cnn"] = "logmel_cnn"
    library: Literal["timm", "torchvision"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="the library's name of the architecture")
    weights: str = Field(LITE0, description=WEIGHTS_FROM)
    mel_bands: int = Field(128, ge=8, description="rows of the picture")
    seconds: float = Field(3, gt=0, description="length of one picture; a longer clip is several, averaged")
    batch_rows: int = Field(32, ge=1, description="pictures in one batch")


class LogmelCnn(Kind):
    """See `pipeline.encoders.audio.logmel`."""

    Settings = LogmelAudio
    implementation = "pipeline.encoders.audio.logmel:LogmelEncoder"
