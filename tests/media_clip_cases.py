"""What each kind of clip must give, one case for each line of the table in `pipeline.media`."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from pipeline.errors import MediaError
from pipeline.media import open_audio
from pipeline.media.mono import Mono
from pipeline.media.mp3_frames import Header
from tests.media_files import CLIPS, clip, clips, containers, muxed, photo, saved, tone
from tests.media_picture_cases import refused

CLIP_FILES = clips()


def sound(data: bytes, rate_hz: int = 8_000, max_seconds: float = 60) -> np.ndarray:
    samples = open_audio(data, rate_hz, max_seconds)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    return samples


def any_clip() -> None:
    assert {name for name in CLIP_FILES if "long" not in name} == set(CLIPS)
    for name, data in CLIP_FILES.items():
        samples = sound(data, 16_000)
        expected = 3 if "long" in name else 0.3
        assert len(samples) == pytest.approx(expected * 16_000, rel=0.06), name
        assert dominant_hz(samples, 16_000) == pytest.approx(440, abs=8), name
        assert np.abs(samples[len(samples) // 3 : len(samples) // 2]).max() == pytest.approx(0.5, abs=0.05), name
    assert len(sound(CLIP_FILES["ogg long"], 8_000, 1)) == 8_000


def dominant_hz(samples: np.ndarray, rate_hz: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples, 1 << 17))) * rate_hz / (1 << 17))


def containers_decoded() -> None:
    pytest.importorskip("av")
    for name, data in containers(1.0).items():
        samples = sound(data, 16_000)
        assert len(samples) == pytest.approx(16_000, rel=0.1), name
        assert dominant_hz(samples, 16_000) == pytest.approx(440, abs=4), name
        assert len(sound(data, 16_000, 0.5)) == 8_000, name
    aac = muxed("adts", "aac", tone(1, 44_100))
    assert np.array_equal(sound(bytes(500) + aac), sound(aac))
    cut = muxed("mp4", "aac", tone(2, 44_100), movflags="faststart")
    refused(sound, cut[: len(cut) // 2], "truncated clip|not a readable clip")


def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    # As the import system marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "av", None)
    for head in (b"\0\0\0\x20ftypM4A ", b"\xff\xf1\x50\x80", b"\x1aE\xdf\xa3", bytes.fromhex("3026b2758e66cf11")):
        refused(sound, head + bytes(100), "needs the package av")


def channels() -> None:
    wave = tone(0.3, 8_000, 1)
    for count in (1, 2, 6, 64):
        mixed = wave * np.linspace(0, 2, count) if count > 1 else wave
        assert np.abs(sound(clip("WAV", "FLOAT", mixed)) - wave[:, 0]).max() < 1e-5, count
    for rate_hz in (1_000, 22_050, 768_000):
        assert len(sound(clip("WAV", samples=tone(0.3, rate_hz), rate_hz=rate_hz))) == 2_400


def cancelling() -> None:
    for seconds in (0.3, 60):
        for container, subtype in (("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("MP3", None)):
            wave = tone(seconds, 44_100)
            wave[:, 1] *= -1
            samples = sound(clip(container, subtype, wave, 44_100), 22_050)
            assert np.abs(samples[2_000:-2_000]).max() == pytest.approx(0.5, abs=0.1), (seconds, container, subtype)
    one = tone(0.3, channels=3)
    one[:, 0], one[:, 2] = 0, -one[:, 1]
    assert np.array_equal(sound(clip("WAV", "FLOAT", one)), one[:, 1].astype(np.float32))
    # Channels that differ by so much leave a mean that is theirs.
    near = tone(0.3) * [1, -0.9]
    assert np.abs(sound(clip("WAV", "FLOAT", near))).max() == pytest.approx(0.025, abs=1e-3)
    assert not sound(clip("WAV", samples=np.zeros((800, 2)))).any()


def zeros_first() -> None:
    tag = b"ID3\3\0\0" + bytes([0, 0, 0, 100]) + bytes(100)
    whole = sound(CLIP_FILES["mp3"])
    for start in (bytes(1), bytes(65_536), tag + bytes(4_096), bytes(500) + tag, tag + bytes(500) + tag):
        assert np.array_equal(sound(start + CLIP_FILES["mp3"]), whole)
    refused(sound, bytes(65_537) + CLIP_FILES["mp3"], "not a readable clip")
    refused(sound, bytes(500) + b"text", "not a readable clip")


def no_clip() -> None:
    refused(sound, clip("WAV", samples=tone(0.1, channels=65)), "65 channels at 8000 Hz is no clip")
    for rate_hz in (999, 768_001):
        refused(sound, clip("WAV", samples=tone(0.1), rate_hz=rate_hz), f"2 channels at {rate_hz} Hz is no clip")


def too_many_samples() -> None:
    with pytest.raises(MediaError, match="2949120000 samples in all channels, over the limit of 400000000"):
        Mono(8_000, 60).start(768_000, 64, 10**12)


def index_bombs() -> None:
    pytest.importorskip("av")
    for box, before in ((b"trun", 4), (b"stsz", 8)):
        data = muxed("mp4", "aac", tone(0.3, 44_100), movflags="frag_keyframe+empty_moov")
        place = data.index(box) + 4 + before
        refused(sound, data[:place] + b"\x00\xff\x7f\x00" + data[place + 4 :], "bomb .an index of 167")


def cut_clips() -> None:
    for name in ("wav 8", "wav 16", "wav 24", "wav 32", "wav float", "wav double", "mp3"):
        refused(sound, CLIP_FILES[name][: len(CLIP_FILES[name]) * 2 // 3], r"truncated clip: \d+ of 2400 samples")


def uncounted() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(3), 8_000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.9)
    data = buffer.getvalue()
    assert b"Info" not in data
    # A tag after the last frame makes libsndfile's guess too long.
    for part in (data, data[: len(data) // 2]):
        assert len(sound(part + b"TAG" + bytes(125))) == len(sound(part)) == pytest.approx(len(part) * 4, abs=600)
    counted = clip("MP3", samples=tone(3))
    frames = [match.start() for match in re.finditer(re.escape(counted[:2]), counted)]
    assert b"Xing" in counted[: frames[1]]
    assert 24_000 - 800 < len(sound(counted[: frames[-1]])) < 24_000
    refused(sound, counted[: frames[-2]], r"truncated clip: \d+ of 24000 samples")


def between_frames() -> None:
    # Noise after silence: its frames are longer, and the first one's length tells nothing of the whole.
    for rate_hz, channels in ((44_100, 2), (44_100, 1), (22_050, 2), (8_000, 1)):
        wave = tone(3, rate_hz, channels)
        wave[: rate_hz * 2] *= 1e-4
        wave[-rate_hz // 2 :] = np.random.default_rng(0).normal(0, 0.2, wave[-rate_hz // 2 :].shape)
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, rate_hz, format="MP3", bitrate_mode="VARIABLE", compression_level=0.1)
        data = buffer.getvalue()
        first = Header.at(data, 0)
        assert first is not None
        counted, frames = sound(data), data[first.size :]
        assert b"Xing" in data[: first.size]
        whole = sound(frames)
        # Without a count, nothing tells how many samples of the first frame are the encoder's delay.
        assert len(whole) == pytest.approx(len(counted), abs=8_000 * 3_000 / rate_hz)
        assert np.abs(whole[-2_000:]).std() > 0.01
        middle = first.size + frames.index(frames[:2], len(frames) // 2)
        for junk in (bytes(9_000), b"<html>" * 2_000, np.random.default_rng(1).bytes(9_000), b"\xff\xfb" * 4_000):
            for part, expected in ((frames, whole), (data, counted)):
                assert np.array_equal(sound(part + junk), expected), (rate_hz, junk[:9])
            assert len(sound(data[:middle] + junk + data[middle:])) == len(counted)


def streamed() -> None:
    unknown = (bytes(4), b"\xff\xff\xff\xff")
    for name in ("wav 8", "wav 16", "wav 24", "wav 32", "wav float", "wav double"):
        data = CLIP_FILES[name]
        place = data.index(b"data") + 4
        for whole in unknown:
            for size in unknown:
                endless = data[:4] + whole + data[8:place] + size + data[place + 4 :]
                assert np.array_equal(sound(endless), sound(data)), name
    # What follows the samples is none, where their size is known.
    assert np.array_equal(sound(data[:4] + bytes(4) + data[8:] + b"LIST\x40\0\0\0" + bytes(64)), sound(data))
    refused(sound, data[:place] + bytes(4), "it holds no sample")


def cut_flac() -> None:
    data = CLIP_FILES["flac long"]
    refused(sound, data[: len(data) // 2], "truncated clip|not a readable clip")
    assert len(sound(data[: len(data) // 2], 8_000, 0.5)) == 4_000


def cut_quietly() -> None:
    for name in ("aiff", "au", "w64", "rf64"):
        assert 1_000 < len(sound(CLIP_FILES[name][: len(CLIP_FILES[name]) * 2 // 3])) < 2_400, name
    refused(sound, CLIP_FILES["ogg vorbis"][:2_000], "not a readable clip")


def no_sample() -> None:
    refused(sound, clip("WAV", samples=tone(0)), "it holds no sample")
    refused(sound, clip("WAV", samples=tone(0.1)[:1], rate_hz=768_000), "it holds no sample")


def not_finite() -> None:
    for value in (np.nan, np.inf, 3e38):
        refused(sound, clip("WAV", "FLOAT", np.full((800, 2), value)), "samples are not finite")


def named_clips() -> None:
    for data, kind in (
        (b"", "an empty file"),
        (b"<!doctype html>", "an HTML page"),
        (saved(photo(), "JPEG"), "a picture"),
        (saved(photo(), "AVIF"), "a picture in AVIF"),
        (b"MThd\0\0\0\6", "a MIDI score"),
    ):
        refused(sound, data, rf"^not a readable clip \({kind}\)$")


def other_clips() -> None:
    # A demuxer that was guessed would open what these name.
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n"
    concat = b"ffconcat version 1.0\nfile /etc/hostname\n"
    for data in (playlist, concat, b"RIFF" + bytes(99)):
        refused(sound, data, "not a readable clip")


# In the order of the table.
CASES: list[Callable[..., None]] = [
    any_clip,
    containers_decoded,
    without_av,
    channels,
    cancelling,
    zeros_first,
    no_clip,
    too_many_samples,
    index_bombs,
    cut_clips,
    uncounted,
    between_frames,
    streamed,
    cut_flac,
    cut_quietly,
    no_sample,
    not_finite,
    named_clips,
    other_clips,
]
