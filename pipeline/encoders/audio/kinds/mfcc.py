"""mfcc: statistics of mel-frequency cepstral coefficients."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.shared import MelSettings
from pipeline.encoders.kind import Kind


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


class Mfcc(Kind):
    """See `pipeline.encoders.audio.mfcc`."""

    Settings = MfccAudio
    implementation = "pipeline.encoders.audio.mfcc:MfccEncoder"
