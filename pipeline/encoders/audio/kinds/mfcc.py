"""Audio by MFCC statistics: how a clip sounds on average, and how much that varies. Needs neither torch nor librosa.

| clip | result |
|---|---|
| any that `pipeline.media` opens | statistics over its own frames, whatever lies beside it in a batch |
| shorter than one window | filled up with zeros |
| shorter than nine frames | derivatives over fewer; zero below three |
| longer than `max_seconds` | its beginning |
| only zeros | missing, "silent clip" |
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.shared import BOUNDS, MelSettings
from pipeline.encoders.base import Encoder, Input, Raw
from pipeline.workspace import digest

VERSION = 3
DELTA_FRAMES = 9
# A slope over nine frames is about a quarter as large as what it is the slope of.
DELTA_SCALE = 4
CONSTANT = 1e-6


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


class MfccEncoder(Encoder):
    """Statistics over time of mel-frequency cepstral coefficients and their time derivatives.

    Davis and Mermelstein, "Comparison of parametric representations" (1980). The mel power is taken in decibels
    relative to the clip's loudest band, so that loudness does not count. Everything happens in `decode`, in threads: it
    gives the finished statistics, shape (width,) float32, one statistic after the other, each over the coefficients and
    then their derivatives. Each order of derivative is scaled to the coefficients' own size, so that after the unit
    norm of a shard no order vanishes.
    """

    Settings = MfccAudio
    window = batch_cost = 512
    model = "MFCC statistics"

    def __init__(self, settings: MfccAudio) -> None:
        import scipy.fft

        from pipeline.encoders.audio.mel import MelSpectrogram

        super().__init__()
        self.settings = settings
        self.width = len(settings.statistics) * settings.coefficients * (1 + settings.deltas)
        self.identity = digest("mfcc", VERSION, settings.model_dump(exclude=set(BOUNDS)))
        self._mel = MelSpectrogram(settings, settings.mel_bands)
        cosines = scipy.fft.dct(np.eye(settings.mel_bands), type=2, norm="ortho", axis=0)[: settings.coefficients]
        # The first coefficient is a sum over all bands, the others differences: its share would drown them.
        cosines[0] /= np.sqrt(settings.mel_bands)
        self._cosines = cosines.astype(np.float32)

    def load(self) -> None:
        """Computes the filters; there are no weights. Raises ConfigError if a mel band would hold nothing."""
        self._mel.load()

    def decode(self, raw: Raw) -> Input:
        """The clip's statistics, a single part. Raises MediaError if it cannot be read or holds only zeros."""
        frames = self.frames(self._mel.decibels(raw))
        return [np.concatenate([_statistic(frames, name) for name in self.settings.statistics]).astype(np.float32)]

    def frames(self, decibels: np.ndarray) -> np.ndarray:
        """Cepstrum and derivatives of each frame: (bands, frames) to (coefficients × (1 + deltas), frames) float32."""
        orders = [self._normalised(self._cosines @ decibels)]
        for _ in range(self.settings.deltas):
            orders.append(DELTA_SCALE * derivative(orders[-1]))
        return np.concatenate(orders)

    def _normalised(self, cepstrum: np.ndarray) -> np.ndarray:
        """Cepstral mean (and variance) normalisation over the clip: Atal (1974); Viikki and Laurila (1998)."""
        if self.settings.normalise == "none":
            return cepstrum
        centred: np.ndarray = cepstrum - cepstrum.mean(axis=1, keepdims=True)
        if self.settings.normalise == "mean":
            return centred
        deviation = centred.std(axis=1, keepdims=True)
        # A coefficient that never moves is rounding errors, which must not be blown up to unit variance.
        return centred / np.where(deviation > CONSTANT, deviation, np.inf)


def derivative(frames: np.ndarray) -> np.ndarray:
    """Slope of a least-squares line over nine frames, fewer in a short clip, the edges repeated beyond the ends.

    As `librosa.feature.delta(frames, width=9, mode="nearest")`; zeros for fewer than three frames.
    """
    from scipy.ndimage import convolve1d

    width = min(DELTA_FRAMES, frames.shape[1] - 1 + frames.shape[1] % 2)
    if width < 3:
        return np.zeros_like(frames)
    steps = np.arange(width // 2, -(width // 2) - 1, -1, dtype=np.float64)
    slope: np.ndarray = convolve1d(frames, steps / np.square(steps).sum(), axis=1, mode="nearest")
    return slope


def _statistic(frames: np.ndarray, name: str) -> np.ndarray:
    if name == "mean":
        return frames.mean(axis=1, dtype=np.float64)
    if name == "std":
        return frames.std(axis=1, dtype=np.float64)
    return np.percentile(frames, int(name.removeprefix("p")), axis=1)
