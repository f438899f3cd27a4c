from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import MediaError
from pipeline.media import open_audio, open_image, read_media


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def clip(container: str, seconds: float = 1.0, channels: int = 2) -> bytes:
    samples = np.sin(np.arange(int(seconds * 8000)) / 9)[:, None].repeat(channels, 1) * 0.5
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8000, format=container)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG whose header promises side × side pixels and whose data are a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../secret", "path leaves the media root"),
        ("/etc/hostname", "path leaves the media root"),
        ("link", "path leaves the media root"),
        ("none.jpg", "file not found"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("big", "10 bytes, over the limit of 9"),
        ("a\0b", "cannot be read"),
    ],
)
def test_a_path_stays_below_its_root_and_a_size_below_its_limit(tmp_path: Path, path: str, reason: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "big").write_bytes(b"0123456789")
    os.mkfifo(root / "pipe")
    with pytest.raises(MediaError, match=reason):
        read_media(root, path, 9)


def test_pictures_of_any_mode_become_rgb_on_white() -> None:
    transparent = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert open_image(png(transparent), 64).getpixel((0, 0)) == (255, 255, 255)
    for mode in ("L", "P", "1", "LA", "I;16"):
        assert open_image(png(Image.new(mode, (8, 8))), 64).mode == "RGB"


def test_a_sixteen_bit_picture_keeps_its_brightness() -> None:
    grey = Image.fromarray(np.full((4, 4), 32_768, np.uint16))
    assert open_image(png(grey), 64).getpixel((0, 0)) == (127, 127, 127)


def test_a_turned_photo_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=exif)
    assert open_image(buffer.getvalue(), 1000).size == (10, 20)


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    with pytest.raises(MediaError, match="60000 × 60000 pixels, over the limit"):
        open_image(bomb(60_000), 50_000_000)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_clips_of_every_container_become_mono_at_the_wanted_rate(container: str) -> None:
    samples = open_audio(clip(container), 16_000, 60)
    assert samples.dtype == np.float32
    assert samples.shape == pytest.approx((16_000,), rel=0.1)


def test_a_long_clip_is_cut() -> None:
    assert len(open_audio(clip("WAV", 5), 8_000, 2)) == 16_000


def test_a_truncated_flac_and_an_empty_wav_are_named() -> None:
    with pytest.raises(MediaError, match=r"not a readable clip|truncated clip"):
        open_audio(clip("FLAC")[:400], 8_000, 60)
    with pytest.raises(MediaError, match="holds no sample"):
        open_audio(clip("WAV", 0), 8_000, 60)


SEEDS = [
    png(Image.new("RGB", (9, 7), "red")),
    clip("WAV", 0.05),
    clip("FLAC", 0.05),
    clip("OGG", 0.05),
    clip("MP3", 0.05),
]


def outcome(decode: Callable[[bytes], object], data: bytes) -> str:
    """What a decoder makes of some bytes: nothing else but a MediaError may come out of it."""
    try:
        return type(decode(data)).__name__
    except MediaError as error:
        return str(error)


@settings(max_examples=300, deadline=10_000)
@given(st.sampled_from(SEEDS), st.integers(0, 2000), st.binary(max_size=40))
def test_damaged_files_end_as_data_or_as_a_reason(seed: bytes, at: int, noise: bytes) -> None:
    at %= len(seed)
    for data in (seed[:at] + noise + seed[at + len(noise) :], seed[:at], noise):
        for decode in (lambda raw: open_image(raw, 10_000), lambda raw: open_audio(raw, 8_000, 1)):
            assert "\n" not in outcome(decode, data)
