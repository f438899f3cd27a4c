"""From a clip's bytes to samples, and from samples to windows: what every audio encoder begins with."""

from __future__ import annotations

import numpy as np

from pipeline.config.shared import AudioSettings
from pipeline.encoders.base import Raw
from pipeline.errors import MediaError


def samples_of(raw: Raw, settings: AudioSettings, sample_rate_hz: int) -> np.ndarray:
    """A clip's samples, mono: shape (samples,), float32, full scale 1, at most `max_seconds` of them.

    Raises MediaError if the clip cannot be read or holds only zeros.
    """
    from pipeline.media import open_audio

    if not isinstance(raw, bytes):
        raise MediaError("no audio")
    samples = open_audio(raw, sample_rate_hz, settings.max_seconds)
    if not np.any(samples):
        raise MediaError("silent clip")
    return samples


def windows(total: int, length: int) -> list[slice]:
    """Cuts `total` positions into windows of `length`; the last one ends with the clip, over the one before it.

    So no window of a longer clip holds padding, which would count as much as sound in the clip's average.
    """
    if total <= length:
        return [slice(0, total)]
    starts = [*range(0, total - length, length), total - length]
    return [slice(start, start + length) for start in starts]
