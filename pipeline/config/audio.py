"""Settings of audio encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.shared import LITE0, WEIGHTS_FROM, Array, MediaSettings, Network, Own


class AudioSettings(MediaSettings):
    """How a clip is read."""

    max_seconds: float = Field(60, gt=0, description="longer clips are cut")


class MelSettings(AudioSettings):
    """From samples to frames."""

    sample_rate_hz: int = Field(22_050, ge=4_000, description="clips are resampled to this rate")
    window_samples: int = Field(2048, ge=64, description="length of the analysis window")
    hop_samples: int = Field(512, ge=16, description="step between windows")
    window_shape: Literal["hann", "hamming"] = "hann"
    trim_silence_db: float = Field(0, ge=0, description="cut beginning and end this far below the peak; 0 cuts nothing")
    denoise: bool = Field(False, description="spectral gate: bands below their noise floor are silenced")

    @field_validator("hop_samples")
    @classmethod
    def _within_window(cls, hop: int, info: ValidationInfo) -> int:
        if hop > info.data.get("window_samples", hop):
            raise ValueError("at most window_samples, or sound between two windows is lost")
        return hop


class MfccAudio(MelSettings):
    """Statistics of mel-frequency cepstral coefficients."""

    encoder: Literal["mfcc"] = "mfcc"
    mel_bands: int = Field(64, ge=8, description="mel filters below the cepstrum")
    coefficients: int = Field(20, ge=2, description="cepstral coefficients kept")
    deltas: Literal[0, 1, 2] = Field(2, description="orders of time derivative added to the coefficients")
    statistics: tuple[Literal["mean", "std", "p10", "p25", "p50", "p75", "p90"], ...] = Field(
        ("mean", "std"), min_length=1, description="over time, for every coefficient"
    )
    normalise: Literal["none", "mean", "mean_variance"] = Field("none", description="cepstral normalisation of a clip")

    @field_validator("coefficients")
    @classmethod
    def _within_bands(cls, coefficients: int, info: ValidationInfo) -> int:
        if coefficients > info.data.get("mel_bands", coefficients):
            raise ValueError("at most mel_bands")
        return coefficients

    @field_validator("normalise")
    @classmethod
    def _leaves_something(cls, normalise: str, info: ValidationInfo) -> str:
        statistics = set(info.data.get("statistics", ()))
        flat = {"mean"} if normalise == "mean" else {"mean", "std"}
        if normalise != "none" and statistics and statistics <= flat and info.data.get("deltas", 0) == 0:
            raise ValueError(f"makes {' and '.join(sorted(statistics))} the same for every clip; add another statistic")
        return normalise


class LogmelAudio(Network, MelSettings):
    """The log-mel spectrogram as a picture, through an image network."""

    encoder: Literal["logmel_cnn"] = "logmel_cnn"
    library: Literal["timm", "torchvision"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="the library's name of the architecture")
    weights: str = Field(LITE0, description=WEIGHTS_FROM)
    mel_bands: int = Field(128, ge=8, description="rows of the picture")
    seconds: float = Field(3, gt=0, description="length of one picture; a longer clip is several, averaged")
    batch_rows: int = Field(32, ge=1, description="pictures in one batch")


class TransformersAudio(Network, AudioSettings):
    """A transformers audio model: AST, wav2vec 2.0, HuBERT, Whisper's encoder, CLAP."""

    encoder: Literal["transformers"] = "transformers"
    weights: str = Field("laion/clap-htsat-unfused", description=WEIGHTS_FROM)
    pooling: Literal["auto", "mean", "max", "attention", "joint"] = Field(
        "auto", description="over time; auto: the joint space where the model has one (CLAP), else mean"
    )
    seconds: float = Field(10, gt=0, description="length of one window; a longer clip is several, averaged")
    batch_rows: int = Field(8, ge=1, description="windows in one batch")


class ArrayAudio(Array):
    """Audio vectors that are given."""


class OwnAudio(Own, AudioSettings):
    """An audio encoder of the user's own."""
