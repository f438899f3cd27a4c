from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.encoders import make
from pipeline.encoders.audio.kinds.mfcc import MfccAudio, MfccEncoder, derivative
from pipeline.encoders.audio.mel import MelSpectrogram, decibels, mel_filters
from pipeline.errors import ConfigError
from pipeline.media import open_audio
from tests.conftest import python
from tests.sounds import sound, wav

RATE_HZ = 22_050
STATISTICS = ("mean", "std", "p10", "p25", "p50", "p75", "p90")


def encoder_of(**settings: object) -> MfccEncoder:
    encoder = make(Config.model_validate({"extract": {"audio": settings}}), "audio")
    assert isinstance(encoder, MfccEncoder)
    encoder.load()
    return encoder


def by_librosa(samples: np.ndarray, settings: MfccAudio) -> np.ndarray:
    """The vector that librosa and NumPy give, with the scalings that the encoder documents."""
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=settings.sample_rate_hz,
        n_fft=settings.window_samples,
        hop_length=settings.hop_samples,
        window=settings.window_shape,
        n_mels=settings.mel_bands,
    )
    cepstrum = librosa.feature.mfcc(S=librosa.power_to_db(power, ref=np.max), n_mfcc=settings.coefficients)
    cepstrum[0] /= np.sqrt(settings.mel_bands)
    if settings.normalise != "none":
        cepstrum -= cepstrum.mean(axis=1, keepdims=True)
    if settings.normalise == "mean_variance":
        cepstrum /= cepstrum.std(axis=1, keepdims=True)
    orders = [cepstrum]
    for _ in range(settings.deltas):
        orders.append(4 * librosa.feature.delta(orders[-1], width=9, mode="nearest"))
    frames = np.concatenate(orders)
    found = {"mean": frames.mean(axis=1), "std": frames.std(axis=1)}
    found |= {name: np.percentile(frames, int(name[1:]), axis=1) for name in STATISTICS[2:]}
    return np.concatenate([found[name] for name in settings.statistics])


@pytest.mark.parametrize(
    "settings",
    [
        MfccAudio(),
        MfccAudio(statistics=STATISTICS, deltas=1),
        MfccAudio(window_shape="hamming", sample_rate_hz=16_000, window_samples=400, hop_samples=160, mel_bands=26),
        MfccAudio(normalise="mean"),
        MfccAudio(normalise="mean_variance", coefficients=13, mel_bands=40),
    ],
    ids=["default", "percentiles", "hamming", "mean", "mean and variance"],
)
def test_statistics_are_those_of_librosa(settings: MfccAudio) -> None:
    encoder = encoder_of(**settings.model_dump())
    for seconds in (0.4, 1.1, 6.0):
        clip = wav(sound(seconds, rate_hz=44_100), 44_100)
        samples = open_audio(clip, settings.sample_rate_hz, 60)
        ours = encoder.embed([encoder.decode(clip)])[0]
        np.testing.assert_allclose(ours, by_librosa(samples, settings), atol=1e-3)


def test_statistics_of_real_cries_are_those_of_librosa(data_folder: Path) -> None:
    encoder = encoder_of()
    for file in sorted((data_folder / "creatures" / "audio").glob("*"))[::40]:
        raw = file.read_bytes()
        ours = encoder.embed([encoder.decode(raw)])[0]
        np.testing.assert_allclose(ours, by_librosa(open_audio(raw, RATE_HZ, 60), encoder.settings), atol=1e-3)


@pytest.mark.parametrize(("rate_hz", "window", "bands"), [(22_050, 2048, 64), (44_100, 1024, 40), (8_000, 512, 26)])
def test_filters_are_those_of_librosa(rate_hz: int, window: int, bands: int) -> None:
    theirs = librosa.filters.mel(sr=rate_hz, n_fft=window, n_mels=bands)
    np.testing.assert_allclose(mel_filters(rate_hz, window, bands), theirs, atol=1e-8)


def test_decibels_are_those_of_librosa() -> None:
    power = 10 ** np.random.default_rng(0).uniform(-14, 2, (8, 30)).astype(np.float32)
    np.testing.assert_allclose(decibels(power), librosa.power_to_db(power, ref=np.max), atol=1e-4)


@pytest.mark.parametrize(("frames", "width"), [(1, 0), (2, 0), (3, 3), (4, 3), (8, 7), (9, 9), (40, 9)])
def test_a_short_clip_has_slopes_over_the_frames_it_has(frames: int, width: int) -> None:
    values = np.random.default_rng(0).standard_normal((5, frames)).astype(np.float32)
    theirs = librosa.feature.delta(values, width=width, mode="nearest") if width else np.zeros_like(values)
    np.testing.assert_allclose(derivative(values), theirs, atol=1e-5)


def test_loudness_does_not_count_and_what_is_beyond_max_seconds_does_not() -> None:
    encoder = encoder_of(max_seconds=1)
    loud = encoder.decode(wav(sound(1)))[0]
    np.testing.assert_allclose(encoder.decode(wav(0.1 * sound(1)))[0], loud, atol=1e-3)
    longer = np.concatenate([sound(1), sound(1, 5)])
    np.testing.assert_array_equal(encoder.decode(wav(longer))[0], loud)


def test_trimming_leaves_what_the_clip_was_before_silence_was_added() -> None:
    quiet = np.zeros(2 * RATE_HZ, np.float32)
    steady = 0.5 * np.sin(np.arange(RATE_HZ) / 5).astype(np.float32)
    padded = wav(np.concatenate([quiet, steady, quiet]))

    def median(raw: bytes, trim_silence_db: float) -> np.ndarray:
        return encoder_of(trim_silence_db=trim_silence_db, statistics=["p50"], deltas=0).decode(raw)[0]

    np.testing.assert_allclose(median(padded, 40), median(wav(steady), 0), atol=1)
    assert np.abs(median(padded, 0) - median(wav(steady), 0)).max() > 10


def test_denoising_brings_a_noisy_clip_nearer_to_the_clean_one() -> None:
    at = np.arange(2 * RATE_HZ) / RATE_HZ
    calls = 0.5 * np.sin(2 * np.pi * 1_000 * at) * (np.sin(9 * at) > 0.3)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(at))
    clean, noisy = wav(calls.astype(np.float32)), wav((calls + noise).astype(np.float32))

    def distance(denoise: bool) -> float:
        mel = MelSpectrogram(MfccAudio(denoise=denoise), 64)
        return float(np.abs(mel.decibels(noisy) - MelSpectrogram(MfccAudio(), 64).decibels(clean)).mean())

    assert distance(True) < 0.5 * distance(False)


@pytest.mark.parametrize("samples", [np.full(RATE_HZ, 0.3), np.eye(1, RATE_HZ)[0], np.sin(np.arange(RATE_HZ) / 5)])
def test_denoising_a_clip_without_quiet_parts_leaves_a_vector(samples: np.ndarray) -> None:
    encoder = encoder_of(denoise=True, normalise="mean_variance")
    vector = encoder.decode(wav(samples.astype(np.float32)))[0]
    assert np.isfinite(vector).all()
    assert np.any(vector)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"normalise": "mean", "statistics": ["mean"], "deltas": 0}, "makes mean the same for every clip"),
        ({"normalise": "mean_variance", "deltas": 0}, "makes mean and std the same for every clip"),
        ({"coefficients": 70}, "at most mel_bands"),
        ({"hop_samples": 4096}, "at most window_samples"),
    ],
)
def test_settings_that_leave_nothing_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MfccAudio.model_validate(settings)


def test_bands_too_narrow_for_the_window_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"extract\.audio\.mel_bands: of 64 bands, number 1 lies between") as caught:
        encoder_of(window_samples=128, hop_samples=64)
    assert "\n" not in str(caught.value)


def test_the_key_follows_what_changes_the_vector_and_nothing_else() -> None:
    assert encoder_of().key == encoder_of(max_error_rate=0.9, max_bytes=1).key
    assert encoder_of().key != encoder_of(coefficients=13).key


def test_neither_torch_nor_librosa_is_imported() -> None:
    program = (
        "import io, sys, numpy, soundfile; from pipeline.encoders.audio.kinds.mfcc import MfccAudio, MfccEncoder;"
        "b = io.BytesIO(); e = MfccEncoder(MfccAudio()); e.load();"
        "soundfile.write(b, numpy.sin(numpy.arange(9000.0)), 44100, format='WAV'); e.embed([e.decode(b.getvalue())]);"
        "print([name for name in ('torch', 'librosa', 'numba') if name in sys.modules])"
    )
    assert python(program).stdout.strip() == "[]"
