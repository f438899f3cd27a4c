"""What each kind of picture must give, one case for each line of the table in `pipeline.media`."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import MediaError
from pipeline.media import open_image, read_media
from pipeline.media.image_headers import MAX_SCANS, MAX_SEGMENTS
from tests.media_files import (
    HEIGHT,
    WIDTH,
    chunk,
    clip,
    gif_outside,
    oriented,
    photo,
    pictures,
    png,
    png_with,
    rle_bmp,
    saved,
    scans,
    tiff,
)

MAX_PIXELS = 50_000_000
PICTURES = pictures()
BOMB = "metadata or structure of a bomb"
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
    for path in ("../secret", "none.jpg", "."):
        with pytest.raises(MediaError):
            read_media(tmp_path / "root", path, 9)


def any_picture() -> None:
    for name, data in PICTURES.items():
        assert pixels(data).dtype == int, name
    for name in ("jpeg", "png", "webp", "bmp", "tiff raw", "tiff tiff_lzw", "tiff jpeg"):
        assert np.abs(pixels(PICTURES[name]) - np.asarray(photo()).astype(int)).mean() < 4, name


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
        lossy = pixels(saved(picture, "JPEG", quality=95, exif=oriented(value)))
        assert lossy.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(lossy - np.asarray(upright)).mean() < 3, value
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
    for container in ("GIF", "WEBP", "PNG", "TIFF"):
        data = saved(red, container, save_all=True, append_images=[blue])
        assert np.abs(pixels(data)[4, 4] - [200, 10, 10]).max() <= 4, container


def cut_pictures() -> None:
    for name in ("jpeg", "jpeg progressive", "png", "png interlaced", "png 16", "webp", "webp animated", "gif", "bmp"):
        for part in (0.5, 0.7):
            refused(pixels, PICTURES[name][: int(part * len(PICTURES[name]))], TRUNCATED)


def cut_tiffs() -> None:
    for name in (name for name in PICTURES if name.startswith("tiff")):
        refused(pixels, PICTURES[name][: len(PICTURES[name]) // 2], f"{TRUNCATED}|{UNREADABLE}")


def too_many_pixels() -> None:
    jpeg = saved(photo(), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    webp = saved(photo(), "WEBP", lossless=True)
    sixty = "60000 × 60000 pixels, over the limit of 50000000"
    refused(pixels, png_with(claimed=60_000), sixty)
    refused(pixels, tiff(60_000, 60_000, {}), sixty)
    refused(pixels, gif_outside(60_000), sixty)
    refused(pixels, jpeg[:frame] + b"\xea\x60\xea\x60" + jpeg[frame + 4 :], sixty)
    refused(pixels, webp[:21] + b"\xff\xff\xff\x0f" + webp[25:], "16384 × 16384 pixels, over the limit")
    refused(pixels, rle_bmp(60_000, -60_000, b""), sixty)
    refused(pixels, tiff(8, 8, {322: (4, [60_000]), 323: (4, [60_000])}), sixty)
    refused(lambda data: pixels(data, WIDTH * HEIGHT - 1), PICTURES["png"], "64 × 48 pixels, over the limit of 3071")
    assert pixels(PICTURES["png"], WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)


def jpeg_bombs() -> None:
    own = scans(0).count(b"\xff\xda")
    assert pixels(scans(MAX_SCANS - own)).shape == (HEIGHT, WIDTH, 3)
    refused(pixels, scans(MAX_SCANS - own + 1), f"{BOMB} .more than 64 scans")
    comments = b"\xff\xd8" + b"\xff\xfe\0\2" * MAX_SEGMENTS
    refused(pixels, comments + PICTURES["jpeg"][2:], f"{BOMB} .more than 1000 segments")
    refused(pixels, PICTURES["jpeg"][:20] + bytes(100_000) + PICTURES["jpeg"][20:], BOMB)
    # A phone puts a video behind its photo, in which the marker's two bytes turn up by chance.
    assert pixels(PICTURES["jpeg"] + b"\xff\xda" * 1_000).shape == (HEIGHT, WIDTH, 3)


def metadata_bombs() -> None:
    zeros = zlib.compress(bytes(2 << 20))
    for data in (b"iCCPx\0\0" + zeros, b"zTXtx\0\0" + zeros, b"iTXtx\0\1\0\0\0" + zeros):
        for place in ({"before": chunk(data[:4], data[4:])}, {"after": chunk(data[:4], data[4:])}):
            if data[:4] != b"iCCP" or "before" in place:
                refused(pixels, png_with(**place), f"{BOMB} .compressed text or profile")
    refused(pixels, png_with(chunk(b"eXIf", bytes(2 << 20))), f"{BOMB} .more than 1048576 bytes of EXIF")
    segment = b"\xff\xe1\xff\xffExif\0\0".ljust(65_537, b"\0")
    refused(pixels, b"\xff\xd8" + segment * 20 + PICTURES["jpeg"][2:], f"{BOMB} .more than 1048576 bytes of EXIF")
    webp = PICTURES["webp lossless"]
    exif = saved(photo(), "WEBP", exif=b"Exif\0\0" + bytes(2 << 20))
    refused(pixels, exif, f"{BOMB} .more than 1048576 bytes of EXIF")
    # An honest profile is no bomb.
    assert pixels(png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3_000))))).shape == (4, 4, 3)
    assert pixels(webp).shape == (HEIGHT, WIDTH, 3)


def block_bombs() -> None:
    refused(pixels, png_with(chunk(b"teSt", b"") * 600), f"{BOMB} .more than 500 chunks of metadata")
    refused(pixels, png_with(chunk(b"IDAT", b"") * 110_000), f"{BOMB} .more than 100000 chunks")
    gif = PICTURES["gif"]
    screen = 13 + (6 << (gif[10] & 7))
    for extension in (b"\x21\xfe\1x\0", b"\x21\xff\1x\0", b"\x21\xf9\0\0", b"\0"):
        refused(pixels, gif[:screen] + extension * 110_000 + gif[screen:], f"{BOMB} .more than 100000 blocks")
    refused(pixels, tiff(8, 8, {273: (4, [8] * 500_000)}), f"{BOMB} .more than 400000 numbers")
    refused(pixels, tiff(8, 8, {tag: (3, [1]) for tag in range(1_000, 6_000)}), f"{BOMB} .more than 4096 tags")


def rle_bombs() -> None:
    assert pixels(PICTURES["bmp rle"])[..., 0].tolist() == [[128] * 8, [64] * 8]
    refused(pixels, rle_bmp(3_000, 3_000, b"\1\1\0\0"), f"{BOMB} .a run-length BMP")


def misnamed(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(PICTURES["png"])
    assert np.array_equal(pixels(read_media(tmp_path, "picture.jpg", 10_000)), np.asarray(photo()))


def other_pictures() -> None:
    for data in (b"", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", clip("WAV"), PICTURES["png"][1:]):
        refused(pixels, data, UNREADABLE)
    damaged = PICTURES["png"][:60] + b"\0\0\0\0" + PICTURES["png"][64:]
    refused(pixels, damaged, f"{UNREADABLE}|{TRUNCATED}")


# In the order of the table.
CASES: list[Callable[..., None]] = [
    outside,
    any_picture,
    turned,
    modes,
    on_white,
    deep_grey,
    integers,
    floats,
    first_frame,
    cut_pictures,
    cut_tiffs,
    too_many_pixels,
    jpeg_bombs,
    metadata_bombs,
    block_bombs,
    rle_bombs,
    misnamed,
    other_pictures,
]
