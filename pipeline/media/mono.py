"""Blocks of a clip, as they are decoded, to mono at one sample rate: memory holds the result and one block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import MediaError

if TYPE_CHECKING:
    import soxr

MAX_CHANNELS = 64
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
# Samples of all channels that one clip may make a decoder produce: some seconds of work, and an hour of 48 kHz stereo.
MAX_SAMPLES = 400_000_000
# A clip of at most so many samples is resampled in one go, which other threads need not wait for.
ONE_GO = 1 << 21
# Of the loudest channel's power; below it, -30 dB, their mean is what is left of channels that cancel each other.
CANCELLED = 1e-3


class Mono:
    """Takes one clip: `start` by its header, `add` block by block, `finish` for the samples."""

    def __init__(self, sample_rate_hz: int, max_seconds: float, channel: int | None = None) -> None:
        """channel: the one that is taken, None for the mean of all."""
        self.sample_rate_hz = sample_rate_hz
        self.max_seconds = max_seconds
        self.channel = channel
        self._powers: np.ndarray = np.zeros(1)
        self._power = 0.0
        self.rate_hz = self.channels = self.frames = self.wanted = 0
        self._blocks: list[np.ndarray] = []
        self._resampler: soxr.ResampleStream | None = None

    def start(self, rate_hz: int, channels: int, frames: int | None = None) -> None:
        """Takes the header: `frames` in the clip, None if unknown; then `wanted` are to be added.

        Raises MediaError if no clip has such a rate or number of channels, or if it would be too much to decode.
        """
        if not 0 < channels <= MAX_CHANNELS or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise MediaError(f"{channels} channels at {rate_hz} Hz is no clip")
        longest = int(self.max_seconds * rate_hz)
        self.rate_hz, self.channels = rate_hz, channels
        self.wanted = longest if frames is None else min(max(frames, 0), longest)
        if frames is not None:
            _check_work(self.wanted * channels)
        if rate_hz != self.sample_rate_hz and self.wanted > ONE_GO:
            import soxr

            self._resampler = soxr.ResampleStream(rate_hz, self.sample_rate_hz, 1, dtype="float32")

    def add(self, block: np.ndarray) -> None:
        """Takes a block, shape (frames, channels) float32. Raises MediaError if it is not finite or too much."""
        block = block[: self.wanted - self.frames]
        self.frames += len(block)
        _check_work(self.frames * self.channels)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
            mono = _average(block) if self.channel is None else block[:, self.channel].copy()
        _check_finite(mono)
        if self.channels > 1 and self.channel is None:
            with np.errstate(over="ignore"):
                self._powers = self._powers + [float(np.vdot(samples, samples)) for samples in block.T]
                self._power += float(np.vdot(mono, mono))
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono)
            _check_finite(mono)
        self._blocks.append(mono)

    def cancels(self) -> bool:
        """Whether the mean of the channels is silence while they are not."""
        return self._power < CANCELLED * float(self._powers.max())

    def of_one_channel(self) -> Mono:
        """What takes the first channel that is as loud as any, from the start."""
        first = int(np.argmax(self._powers > self._powers.max() / 2))
        return Mono(self.sample_rate_hz, self.max_seconds, first)

    def finish(self) -> np.ndarray:
        """The clip: shape (samples,), float32. Raises MediaError if it holds no sample or they are not finite."""
        if self._resampler is not None and self.frames:
            self._blocks.append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
            _check_finite(self._blocks[-1])
        samples = np.concatenate(self._blocks) if self._blocks else np.empty(0, np.float32)
        if self._resampler is None and self.rate_hz != self.sample_rate_hz and len(samples):
            import soxr

            samples = np.asarray(soxr.resample(samples, self.rate_hz, self.sample_rate_hz), dtype=np.float32)
            _check_finite(samples)
        if not len(samples):
            raise MediaError("not a readable clip (it holds no sample)")
        return samples


def _average(block: np.ndarray) -> np.ndarray:
    # NumPy's mean over a last axis of one or two takes several times as long.
    if block.shape[1] == 1:
        return block[:, 0].copy()
    if block.shape[1] == 2:
        return (block[:, 0] + block[:, 1]) / np.float32(2)
    return block.mean(axis=1, dtype=np.float32)


def _check_work(samples: int) -> None:
    if samples > MAX_SAMPLES:
        raise MediaError(f"{samples} samples in all channels, over the limit of {MAX_SAMPLES}")


def _check_finite(samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        raise MediaError("not a readable clip (samples are not finite)")
