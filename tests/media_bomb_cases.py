"""What each kind of picture that claims too much must give, one case for each line of the table in `pipeline.media`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from pipeline.media.image_headers import MAX_SCANS, MAX_SEGMENTS, check_header
from tests.media_files import HEIGHT, WIDTH, box, chunk, gif_outside, photo, png, png_with, rle_bmp, saved, scans, tiff
from tests.media_picture_cases import MAX_PIXELS, PICTURES, pixels, refused

BOMB = "metadata or structure of a bomb"


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


def coded_larger() -> None:
    def header(data: bytes, most: int = MAX_PIXELS) -> None:
        check_header(data, "AVIF", most)

    still, animated = PICTURES["avif"], saved(photo(300, 200), "AVIF", save_all=True, append_images=[photo(300, 200)])
    large, size = struct.pack(">II", 60_000, 60_000), struct.pack(">II", 300, 200)
    small = [
        data.replace(b"ispe\0\0\0\0" + size, b"ispe\0\0\0\0" + struct.pack(">II", 8, 8)) for data in (still, animated)
    ]
    assert small != [still, animated]
    refused(
        header, still.replace(b"ispe\0\0\0\0" + size, b"ispe\0\0\0\0" + large), "60000 × 60000 pixels, over the limit"
    )
    # After its matrix, whose last number is 1.
    track, shown = (struct.pack(">3I", 1 << 30, *(side << 16 for side in sides)) for sides in ((300, 200), (8, 8)))
    refused(
        header, animated.replace(track, struct.pack(">3I", 1 << 30, 60_000 << 16, 60_000 << 16)), "60000 × 60000 pixels"
    )
    # As coded, but for blocks of 64 that may be cut away: a picture's item, and the first frame of a track.
    frames = small[1].replace(track, shown).replace(b"iloc", b"free")
    for data in (small[0], frames):
        refused(lambda data: pixels(data, 237 * 137 - 1), data, "237 × 137 pixels, over the limit")
        header(data, 237 * 137)
    grid = box(b"infe", b"\2\0\0\0\0\1\0\0grid\0")
    place = struct.pack(">B3xBB5HII", 1, 0x44, 0, 1, 1, 1, 0, 1, 0, 8)
    content = struct.pack(">4BHH", 0, 0, 1, 1, 60_000, 60_000)
    boxes = box(b"iinf", bytes(5) + b"\1" + grid) + box(b"iloc", place) + box(b"idat", content)
    refused(header, box(b"ftyp", b"avif\0\0\0\0") + box(b"meta", bytes(4) + boxes), "60000 × 60000 pixels")


def too_long() -> None:
    for width, height, reason in (
        (65_535, 1, ""),
        (65_536, 1, "65536 × 1 pixels, over the limit of 65535 a side"),
        (1, 65_536, "1 × 65536 pixels, over the limit of 65535 a side"),
    ):
        for data in (png(np.zeros((height, width), np.uint8), 8, 0), tiff(width, height, {}, bytes(width * height))):
            if reason:
                refused(pixels, data, reason)
            else:
                assert pixels(data).shape == (height, width, 3)
    for channels, colour in ((3, 2), (4, 6)):
        deep = png(np.zeros((10, 10 * 2 * channels), np.uint8), 16, colour)
        least = 10 * 10 * 2 * channels // 4
        assert pixels(deep, max(100, least)).shape == (10, 10, 3)
        over = f"16 bits a channel of 10 × 10 pixels, over the limit of {4 * (least - 1)} bytes"
        refused(lambda data, most=least - 1: pixels(data, most), deep, over)


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
    start, parts = box(b"ftyp", b"avif\0\0\0\0"), "boxes, items and coded units"
    refused(pixels, start + box(b"free", b"") * 20_000, f"{BOMB} .more than 20000 {parts}")
    nested = b""
    for _ in range(16):
        nested = box(b"moov", nested)
    refused(pixels, start + nested, "^(?!.*within each other)")
    refused(pixels, start + box(b"moov", nested), f"{BOMB} .more than 16 boxes within each other")
    places = struct.pack(">B3xBBH", 0, 0x44, 0, 100) + b"".join(
        struct.pack(">3HII", n, 0, 1, 0, 9_999) for n in range(100)
    )
    refused(pixels, start + box(b"iloc", places) + bytes(9_999), f"{BOMB} .items that hold more than the file")
    exif = Image.Exif()
    exif[0x010E] = "x" * (2 << 20)
    refused(
        lambda data: check_header(data, "AVIF", MAX_PIXELS),
        saved(photo(), "AVIF", exif=exif),
        f"{BOMB} .more than 1048576 bytes of EXIF",
    )


def rle_bombs() -> None:
    assert pixels(PICTURES["bmp rle"])[..., 0].tolist() == [[128] * 8, [64] * 8]
    refused(pixels, rle_bmp(3_000, 3_000, b"\1\1\0\0"), f"{BOMB} .a run-length BMP")


# In the order of the table.
CASES: list[Callable[..., None]] = [
    too_many_pixels,
    coded_larger,
    too_long,
    jpeg_bombs,
    metadata_bombs,
    block_bombs,
    rle_bombs,
]
