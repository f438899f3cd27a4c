"""Log-mel spectrograms of single clips, as librosa computes them, without what importing it costs (seconds a process).

    samples ── trim ──► frames × window ── FFT ──► power ── mel filters ──► gate ──► decibels below the clip's peak

The FFT is SciPy's in single precision: it releases the interpreter's lock, so that decoding threads share the work. On
clips of about a second that is faster than a batched STFT of torch, and no clip depends on what lies beside it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.sparse
from scipy.ndimage import convolve1d

from pipeline.config.shared import MelSettings
from pipeline.encoders.audio.clips import samples_of
from pipeline.encoders.base import Raw
from pipeline.errors import ConfigError

Bands = npt.NDArray[np.float32]
# Frames that are transformed at once: they and their spectrum stay in a core's cache.
FRAMES_AT_ONCE = 32
SMALLEST_POWER = 1e-10
RANGE_DB = 80.0
# Slaney's mel scale: linear below 1 kHz, 27 steps an octave of e^1.8567 above.
LINEAR_HZ, BREAK_HZ, LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27
GATE_DEVIATIONS = 1.5
GATE_QUIET_SHARE = 0.1
GATE_SMOOTH_BANDS, GATE_SMOOTH_SECONDS = 2, 0.05


class MelSpectrogram:
    """Turns a clip into decibels, shape (bands, frames); one object serves any number of threads."""

    def __init__(self, settings: MelSettings, bands: int) -> None:
        self.settings = settings
        self.bands = bands

    def load(self) -> None:
        """Computes filters and window ahead of the threads. Raises ConfigError if a band would hold nothing."""
        narrow = int(np.argmin(np.diff(self.filters.indptr)))
        if self.filters.indptr[narrow] == self.filters.indptr[narrow + 1]:
            raise ConfigError(
                f"extract.audio.mel_bands: of {self.bands} bands, number {narrow + 1} lies between two frequencies of "
                f"a window of {self.settings.window_samples} samples; take fewer bands or a larger window_samples"
            )
        if self.settings.trim_silence_db:
            import librosa.effects  # noqa: F401

    @cached_property
    def filters(self) -> scipy.sparse.csr_array:
        """Triangular filters, shape (bands, 1 + window / 2), float32, almost all of it zero."""
        return scipy.sparse.csr_array(
            mel_filters(self.settings.sample_rate_hz, self.settings.window_samples, self.bands)
        )

    @cached_property
    def window(self) -> npt.NDArray[np.float32]:
        """The periodic analysis window."""
        shape = {"hann": np.hanning, "hamming": np.hamming}[self.settings.window_shape]
        return shape(self.settings.window_samples + 1)[:-1].astype(np.float32)

    def decibels(self, raw: Raw) -> Bands:
        """A clip's mel power in decibels below its loudest band: shape (bands, frames), -80 to 0.

        A clip shorter than one window is filled up with zeros. Raises MediaError if it cannot be read or is silent.
        """
        samples = self._trimmed(samples_of(raw, self.settings, self.settings.sample_rate_hz))
        if len(samples) < self.settings.window_samples:
            samples = np.pad(samples, (0, self.settings.window_samples - len(samples)))
        power = self.power(samples)
        return decibels(self._gated(power) if self.settings.denoise else power)

    def power(self, samples: np.ndarray) -> Bands:
        """Mel power of samples, shape (bands, frames): frame t is centred on sample t × hop, zeros beyond the ends."""
        length, hop = self.settings.window_samples, self.settings.hop_samples
        padded = np.pad(samples, length // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
        power = np.empty((self.bands, len(frames)), np.float32)
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            chunk = slice(start, start + FRAMES_AT_ONCE)
            spectrum = scipy.fft.rfft(frames[chunk] * self.window, axis=1, overwrite_x=True)
            squared = np.square(spectrum.real)
            squared += np.square(spectrum.imag)
            power[:, chunk] = self.filters @ squared.T
        return power

    def _trimmed(self, samples: np.ndarray) -> np.ndarray:
        settings = self.settings
        if not settings.trim_silence_db:
            return samples
        import librosa.effects

        trimmed: np.ndarray = librosa.effects.trim(
            samples,
            top_db=settings.trim_silence_db,
            frame_length=settings.window_samples,
            hop_length=settings.hop_samples,
        )[0]
        return trimmed

    def _gated(self, power: Bands) -> Bands:
        """Stationary spectral gate: Sainburg, "noisereduce" (2019), doi:10.5281/zenodo.3243139, on mel bands.

        A band's noise floor is mean + 1.5 standard deviations of its decibels over the clip's quietest tenth; what is
        below is silenced, with a mask smoothed over neighbouring bands and 50 ms. Where nothing stands out, all stays.
        """
        level = 10 * np.log10(np.maximum(power, SMALLEST_POWER))
        quiet = np.argsort(power.sum(axis=0), kind="stable")[: max(1, round(GATE_QUIET_SHARE * power.shape[1]))]
        noise = level[:, quiet]
        threshold = noise.mean(axis=1, keepdims=True) + GATE_DEVIATIONS * noise.std(axis=1, keepdims=True)
        mask = (level > threshold).astype(np.float32)
        if not mask.any():
            return power
        frames = round(GATE_SMOOTH_SECONDS * self.settings.sample_rate_hz / self.settings.hop_samples)
        for axis, reach in ((0, GATE_SMOOTH_BANDS), (1, frames)):
            triangle = 1 + reach - np.abs(np.arange(-reach, reach + 1.0))
            mask = convolve1d(mask, triangle / triangle.sum(), axis=axis, mode="nearest")
        gated: Bands = power * np.square(mask)
        return gated


def decibels(power: Bands) -> Bands:
    """Power in decibels relative to its largest value, from -80 to 0; `librosa.power_to_db(power, ref=np.max)`."""
    level = 10 * np.log10(np.maximum(power, SMALLEST_POWER))
    level -= level.max()
    return np.maximum(level, -RANGE_DB, out=level)


def mel_filters(sample_rate_hz: int, window_samples: int, bands: int) -> npt.NDArray[np.float32]:
    """Triangles evenly spaced on the mel scale, each of unit area: shape (bands, 1 + window / 2).

    Slaney, "Auditory Toolbox" (1998); the same as `librosa.filters.mel`.
    """
    edges = _to_hz(np.linspace(0, _to_mel(sample_rate_hz / 2), bands + 2))
    frequencies = np.fft.rfftfreq(window_samples, 1 / sample_rate_hz)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    area = (edges[2:] - edges[:-2])[:, None] / 2
    return (np.maximum(0, np.minimum(rising, falling)) / area).astype(np.float32)


def _to_mel(hertz: float) -> float:
    if hertz < BREAK_HZ:
        return hertz / LINEAR_HZ
    return float(BREAK_HZ / LINEAR_HZ + np.log(hertz / BREAK_HZ) / LOG_STEP)


def _to_hz(mel: np.ndarray) -> np.ndarray:
    break_mel = BREAK_HZ / LINEAR_HZ
    return np.where(mel < break_mel, mel * LINEAR_HZ, BREAK_HZ * np.exp(LOG_STEP * (mel - break_mel)))
