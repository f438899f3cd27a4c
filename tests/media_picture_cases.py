"""What each kind of picture must give, one case for each line of the table in `pipeline.media`."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import MachineError, MediaError
from pipeline.media import open_image, read_media
from tests.media_files import (
    HEIGHT,
    WIDTH,
    box,
    chunk,
    clip,
    heic,
    heics,
    oriented,
    photo,
    pictures,
    png,
    saved,
)
from tests.pictures import picture

MAX_PIXELS = 50_000_000
PICTURES = pictures()
TRUNCATED = "truncated picture"
UNREADABLE = "not a readable picture"


def pixels(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    picture = open_image(data, max_pixels)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def refused(decode: Callable[[bytes], object], data: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        decode(data)


def outside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for path in ("../secret", "none.jpg", ".", "https://cdn.example.com/7.jpg"):
        with pytest.raises(MediaError):
            read_media(tmp_path / "root", path, 9)


def any_picture() -> None:
    for name, data in PICTURES.items():
        assert pixels(data).dtype == int, name
    for name in ("jpeg", "png", "webp", "bmp", "tiff raw", "tiff tiff_lzw", "tiff jpeg", "avif animated"):
        assert np.abs(pixels(PICTURES[name]) - np.asarray(photo()).astype(int)).mean() < 4, name


def any_heic() -> None:
    pytest.importorskip("pillow_heif")
    files = heics()
    assert np.abs(pixels(files["heic"]) - np.asarray(photo()).astype(int)).mean() < 4
    assert np.abs(pixels(files["heic tiles"]) - np.asarray(photo(500, 300)).astype(int)).mean() < 4
    assert pixels(files["heic alpha"])[:, 0].min() > 240
    assert pixels(files["heic exif"]).shape == (WIDTH, HEIGHT, 3)
    for data in files.values():
        refused(pixels, data[: len(data) * 2 // 3], f"{TRUNCATED}|{UNREADABLE}")
    thumbnail = heic(photo(500, 300), thumbnails=[256])
    assert open_image(thumbnail, MAX_PIXELS, draft=(64, 64)).size == (500, 300)
    # The size as coded, in whole blocks.
    lying = files["heic"].replace(struct.pack(">II", 64, 64), struct.pack(">II", 8, 8))
    lying = lying.replace(struct.pack(">II", WIDTH, HEIGHT), struct.pack(">II", 8, 8))
    refused(lambda data: pixels(data, 2), lying, "over the limit of 2")


def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    # As the import system marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brands in (b"heic\0\0\0\0", b"mif1\0\0\0\0heic"):
        with pytest.raises(MachineError, match="a picture in HEIC needs the package pillow-heif"):
            open_image(box(b"ftyp", brands) + bytes(100), MAX_PIXELS)


def turned() -> None:
    upright = photo()
    turns = Image.Transpose
    stored = [None, turns.FLIP_LEFT_RIGHT, turns.ROTATE_180, turns.FLIP_TOP_BOTTOM]
    stored += [turns.TRANSPOSE, turns.ROTATE_90, turns.TRANSVERSE, turns.ROTATE_270]
    for value, turn in enumerate(stored, start=1):
        picture = upright if turn is None else upright.transpose(turn)
        for container in ("PNG", "TIFF"):
            shown = pixels(saved(picture, container, exif=oriented(value)))
            assert np.array_equal(shown, np.asarray(upright)), (container, value)
        for container in ("JPEG", "AVIF"):
            lossy = pixels(saved(picture, container, quality=95, exif=oriented(value)))
            assert lossy.shape == (HEIGHT, WIDTH, 3)
            assert np.abs(lossy - np.asarray(upright)).mean() < 3, (container, value)
    assert pixels(saved(upright, "JPEG", exif=b"Exif\0\0garbage")).shape == (HEIGHT, WIDTH, 3)


def modes() -> None:
    grey = np.asarray(photo(mode="L")).astype(int)
    for mode in ("L", "LA"):
        assert np.array_equal(pixels(saved(photo(mode=mode), "PNG")), np.stack([grey] * 3, axis=-1)), mode
    assert set(np.unique(pixels(PICTURES["png 1"]))) == {0, 255}
    palette = photo().quantize(16)
    assert np.array_equal(pixels(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))
    # Full ink of one colour and none of the others.
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for container in ("JPEG", "TIFF"):
        assert np.abs(pixels(saved(cyan, container))[8, 8] - [0, 255, 255]).max() <= 2, container
    inverted = saved(cyan, "JPEG")
    assert b"Adobe" in inverted
    lab = Image.new("LAB", (4, 4), (255, 128, 128))
    assert pixels(saved(lab, "TIFF")).shape == (4, 4, 3)


def on_white() -> None:
    clear, half = Image.new("RGBA", (4, 4), (0, 0, 0, 0)), Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert pixels(saved(clear, "PNG")).min() == 255
    assert set(np.unique(pixels(saved(half, "PNG")))) == {127}
    assert set(np.unique(pixels(saved(Image.new("LA", (4, 4), (0, 128)), "PNG")))) == {127}
    assert pixels(saved(clear, "WEBP", lossless=True)).min() == 255
    assert pixels(saved(clear, "AVIF")).min() == 255
    palette = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    for container in ("PNG", "GIF"):
        shown = pixels(saved(palette, container, transparency=2))
        assert shown.tolist() == [[[10, 20, 30], [40, 50, 60]], [[255] * 3, [100, 110, 120]]], container
    colour = np.array([[200, 10, 20, 1, 2, 3]], np.uint8)
    keyed = png(colour, 8, 2, chunk(b"tRNS", bytes([0, 200, 0, 10, 0, 20])))
    assert pixels(keyed).tolist() == [[[255] * 3, [1, 2, 3]]]
    deep = np.array([[200, 9, 10, 9, 20, 9, 1, 9, 2, 9, 3, 9]], np.uint8)
    assert pixels(png(deep, 16, 2, chunk(b"tRNS", bytes([200, 9, 10, 9, 20, 9])))).tolist() == [[[255] * 3, [1, 2, 3]]]
    grey = png(np.array([[200, 9, 100, 0]], np.uint8), 16, 0, chunk(b"tRNS", bytes([200, 9])))
    assert pixels(grey).tolist() == [[[255] * 3, [99] * 3]]


def deep_grey() -> None:
    values = np.array([[0, 256, 257], [32_768, 65_278, 65_535]], np.uint16)
    for data in (saved(Image.fromarray(values), "PNG"), saved(Image.fromarray(values), "TIFF")):
        assert pixels(data)[..., 0].tolist() == [[0, 0, 1], [127, 254, 255]]


def integers() -> None:
    for values, shown in (([[-5, 32_768, 65_535]], [0, 127, 255]), ([[-5, 500_000, 1_000_000]], [0, 127, 255])):
        assert pixels(saved(Image.fromarray(np.array(values, np.int32)), "TIFF"))[0, :, 0].tolist() == shown


def floats() -> None:
    for values, shown in (
        ([[-1, 0, 0.5, 1, np.nan]], [0, 0, 127, 255, 0]),
        ([[0, 1, 2, 200.5, np.inf, -np.inf]], [0, 1, 2, 200, 255, 0]),
        ([[0, 257, 32_768, 65_535]], [0, 1, 127, 255]),
        ([[0, 500_000, 1_000_000]], [0, 127, 255]),
    ):
        data = saved(Image.fromarray(np.array(values, np.float32)), "TIFF")
        assert pixels(data)[0, :, 0].tolist() == shown


def first_frame() -> None:
    red, blue = Image.new("RGB", (8, 8), (200, 10, 10)), Image.new("RGB", (8, 8), (10, 10, 200))
    for container in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        data = saved(red, container, save_all=True, append_images=[blue])
        assert np.abs(pixels(data)[4, 4] - [200, 10, 10]).max() <= 4, container


def cut_pictures() -> None:
    for name in (
        "jpeg",
        "jpeg progressive",
        "png",
        "png interlaced",
        "png 16",
        "webp",
        "webp animated",
        "gif",
        "bmp",
        "avif",
        "avif animated",
    ):
        for part in (0.5, 0.7):
            refused(pixels, PICTURES[name][: int(part * len(PICTURES[name]))], TRUNCATED)


def endless_jpegs() -> None:
    patches = picture(96, 80)
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 4}, {"optimize": True, "quality": 30}):
        data = saved(patches, "JPEG", **options)
        whole = pixels(data)
        for end in (data[:-1], data[:-2], data[:-2] + bytes(4_096)):
            assert np.array_equal(pixels(end), whole), options
        for cut in (*range(4, 60, 7), len(data) // 2):
            refused(pixels, data[:-cut], TRUNCATED)
    # What fills up a file is no scan; between two scans nothing is cut that began.
    progressive = saved(patches, "JPEG", progressive=True)
    refused(pixels, progressive[:-40] + bytes(4_096), TRUNCATED)
    places = [match.start() for match in re.finditer(rb"\xff[\xc4\xda]", progressive)]
    for place in places[places.index(progressive.index(b"\xff\xda")) + 1 :]:
        refused(pixels, progressive[:place], TRUNCATED)
    # Between two intervals of a scan.
    intervals = saved(patches, "JPEG", restart_marker_blocks=4)
    for match in re.finditer(rb"\xff[\xd0-\xd7]", intervals):
        refused(pixels, intervals[: match.start()], TRUNCATED)


def cut_tiffs() -> None:
    for name in (name for name in PICTURES if name.startswith("tiff")):
        refused(pixels, PICTURES[name][: len(PICTURES[name]) // 2], f"{TRUNCATED}|{UNREADABLE}")


def misnamed(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(PICTURES["png"])
    assert np.array_equal(pixels(read_media(tmp_path, "picture.jpg", 10_000)), np.asarray(photo()))


def named_pictures() -> None:
    for data, kind in (
        (b"", "an empty file"),
        (bytes(99), "a file of zeros"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><p><svg>", "an HTML page"),
        (b"<html>", "an HTML page"),
        (b"<?xml version='1.0'?><!-- by hand --><svg/>", "an SVG drawing"),
        (b"<Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript drawing"),
        (box(b"ftyp", b"isom\0\0\2\0isomavc1mp41"), "a video or a sound in MP4"),
        (b"\x1aE\xdf\xa3" + bytes(99), "a video or a sound in WebM or Matroska"),
        (b"RIFF\0\1\0\0AVI LIST", "a video"),
        (clip("WAV"), "a sound"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"plain text", "its first bytes are of no known format"),
    ):
        refused(pixels, data, rf"^{UNREADABLE} \({kind}")


def other_pictures() -> None:
    refused(pixels, PICTURES["png"][1:], UNREADABLE)
    damaged = PICTURES["png"][:60] + b"\0\0\0\0" + PICTURES["png"][64:]
    refused(pixels, damaged, f"{UNREADABLE}|{TRUNCATED}")


# In the order of the table.
CASES: list[Callable[..., None]] = [
    outside,
    any_picture,
    any_heic,
    without_heif,
    turned,
    modes,
    on_white,
    deep_grey,
    integers,
    floats,
    first_frame,
    endless_jpegs,
    cut_pictures,
    cut_tiffs,
    misnamed,
    named_pictures,
    other_pictures,
]
