"""transformers: AST, wav2vec 2.0, HuBERT, Whisper's encoder, CLAP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import WEIGHTS_FROM, AudioSettings, Network
from pipeline.encoders.kind import Kind


class TransformersAudio(Network, AudioSettings):
    """A transformers audio model: AST, wav2vec 2.0, HuBERT, Whisper's encoder, CLAP."""

    encoder: Literal["transformers"] = "transformers"
    weights: str = Field("laion/clap-htsat-unfused", description=WEIGHTS_FROM)
    pooling: Literal["auto", "mean", "max", "attention", "joint"] = Field(
        "auto", description="over time; auto: the joint space where the model has one (CLAP), else mean"
    )
    seconds: float = Field(10, gt=0, description="length of one window; a longer clip is several, averaged")
    batch_rows: int = Field(8, ge=1, description="windows in one batch")


class Transformers(Kind):
    """See `pipeline.encoders.audio.transformer`."""

    Settings = TransformersAudio
    implementation = "pipeline.encoders.audio.transformer:TransformerAudioEncoder"
