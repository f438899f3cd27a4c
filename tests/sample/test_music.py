from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from pipeline.sample.music import clip_of, suffix_of
from pipeline.sample.ogg import with_fixed_serial
from pipeline.sample.tastes import TRAITS, draw_record


def _heard(number: int) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(clip_of(draw_record(0, number), 0)), always_2d=True)


def test_clips_come_in_four_formats_several_rates_and_one_or_two_channels() -> None:
    heard = [_heard(number) for number in range(1, 41)]
    assert {suffix_of(draw_record(0, number), 0) for number in range(1, 200)} == {"wav", "flac", "ogg", "mp3"}
    assert {rate for _, rate in heard} == {22_050, 32_000, 44_100}
    assert {samples.shape[1] for samples, _ in heard} == {1, 2}
    assert all(2.9 < len(samples) / rate < 4 for samples, rate in heard)


def test_clips_are_audible_and_do_not_clip() -> None:
    for number in range(1, 21):
        samples, _ = _heard(number)
        assert np.sqrt(np.mean(samples**2)) > 0.03
        assert np.abs(samples).max() < 1


def _decibels(traits: dict[str, str], low_hz: float, high_hz: float) -> float:
    """What lies between two frequencies, of all that is heard: the mean over twelve records of these traits."""
    shares = []
    for number in range(1, 13):
        clip = clip_of(replace(draw_record(0, number), **traits), 0)
        samples, rate = soundfile.read(io.BytesIO(clip), always_2d=True)
        power = np.abs(np.fft.rfft(samples.mean(1))) ** 2
        hertz = np.fft.rfftfreq(len(samples), 1 / rate)
        shares.append(power[(hertz >= low_hz) & (hertz < high_hz)].sum() / power.sum())
    return float(10 * np.log10(np.mean(shares)))


def test_decades_differ_as_their_recordings_did() -> None:
    lows, highs = (
        {era: _decibels({"era": era}, *band) for era in TRAITS["era"]} for band in ((20.0, 250.0), (5000.0, 10_000.0))
    )
    assert highs["1960s"] < highs["1970s"] < min(highs["1980s"], highs["1990s"]) - 3
    assert lows["1980s"] < lows["1970s"] - 3
    assert lows["1980s"] < lows["1990s"] - 3


def test_moods_differ_in_brightness() -> None:
    bright = {mood: _decibels({"mood": mood}, 2500.0, 10_000.0) for mood in TRAITS["mood"]}
    assert bright["melancholy"] < bright["calm"] < bright["dreamy"] < bright["joyful"]
    assert bright["melancholy"] < bright["fierce"] - 6


@pytest.fixture
def ogg() -> bytes:
    samples = 0.2 * np.random.default_rng(0).normal(size=30_000)
    output = io.BytesIO()
    soundfile.write(output, samples, 22_050, format="OGG", subtype="VORBIS")
    return output.getvalue()


def test_an_ogg_stream_is_renumbered_without_touching_what_is_heard(ogg: bytes) -> None:
    fixed = with_fixed_serial(ogg)
    assert with_fixed_serial(fixed) == fixed
    assert len(fixed) == len(ogg)
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(fixed))[0], soundfile.read(io.BytesIO(ogg))[0])


def test_page_checksums_are_those_the_encoder_would_write(ogg: bytes) -> None:
    serial = ogg[14:18]
    fixed = with_fixed_serial(ogg).replace(b"syn1", serial)
    page = bytearray(fixed[:58])
    page[22:26] = bytes(4)
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    assert struct.pack("<I", register) == ogg[22:26]
