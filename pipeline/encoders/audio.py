"""Audio by MFCC statistics (librosa): how a clip sounds on average, and how much that varies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.config import AudioEncoder
from pipeline.encoders.base import Encoder, Text
from pipeline.errors import MediaError
from pipeline.media import open_audio
from pipeline.workspace import digest

VERSION = 1


class MfccAudio(Encoder):
    """Mean and standard deviation over time of mel-frequency cepstral coefficients and their time derivatives.

    Davis and Mermelstein, "Comparison of parametric representations" (1980). The mel power is taken in decibels
    relative to the clip's loudest band, so that loudness does not count. `decode` gives the finished statistics, shape
    (2 × coefficients × (1 + deltas),) float32; each order of derivative is scaled to the coefficients' own size, so
    that after the unit norm of a shard no order vanishes.
    """

    window = 512
    model = "librosa MFCC statistics"

    def __init__(self, settings: AudioEncoder) -> None:
        self.settings = settings
        self.batch_cost = self.window
        self.width = 2 * settings.coefficients * (1 + settings.deltas)
        self.key = digest("mfcc", VERSION, settings.model_dump(exclude={"max_bytes", "max_error_rate"}))

    def load(self) -> None:
        """Nothing to load: the transform has no weights."""

    def decode(self, raw: bytes | Text) -> np.ndarray:
        """The clip's statistics. Raises MediaError if it cannot be read or holds only zeros."""
        if not isinstance(raw, bytes):
            raise MediaError("no audio")
        samples = open_audio(raw, self.settings.sample_rate_hz, self.settings.max_seconds)
        if not np.any(samples):
            raise MediaError("silent clip")
        return self._statistics(samples)

    def embed(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Stacks the statistics: (n, width) float32."""
        return np.stack(batch).astype(np.float32)

    def _statistics(self, samples: np.ndarray) -> np.ndarray:
        import librosa

        settings = self.settings
        samples = np.pad(samples, (0, max(0, settings.window_samples - len(samples))))
        power = librosa.feature.melspectrogram(
            y=samples,
            sr=settings.sample_rate_hz,
            n_fft=settings.window_samples,
            hop_length=settings.hop_samples,
            n_mels=settings.mel_bands,
        )
        cepstrum = librosa.feature.mfcc(S=librosa.power_to_db(power, ref=np.max), n_mfcc=settings.coefficients)
        # The first coefficient is a sum over all bands, the others differences: its share would drown them.
        cepstrum[0] /= np.sqrt(settings.mel_bands)
        orders = [cepstrum]
        for _ in range(settings.deltas):
            orders.append(4 * _derivative(orders[-1]))
        frames = np.concatenate(orders)
        return np.concatenate([frames.mean(axis=1), frames.std(axis=1)]).astype(np.float32)


def _derivative(frames: np.ndarray) -> np.ndarray:
    """Slope of a least-squares line over nine frames (fewer in a short clip)."""
    width = min(9, frames.shape[1] - 1 + frames.shape[1] % 2)
    if width < 3:
        return np.zeros_like(frames)
    import librosa

    slope: np.ndarray = librosa.feature.delta(frames, width=width, mode="nearest")
    return slope
