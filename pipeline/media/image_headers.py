"""What a picture's header claims, bounded before a decoder sees the file.

A decoder trusts a header: it allocates the pixels it promises, runs every scan, unpacks every tag. Each format's header
is walked here first, in time proportional to the blocks it may hold, and what no honest picture needs is refused.
"""

from __future__ import annotations

import re
import struct

from pipeline.errors import MediaError
from pipeline.media.first_bytes import heif_format, kind_of
from pipeline.media.heif_headers import check_boxes

# Pillow and its filters work by rows: of one pixel each, 50 million take 10 s and 1 GB. No JPEG, GIF or WebP is longer.
MAX_SIDE = 65_535
# Of a pixel that `max_pixels` allows: a PNG of 16 bits a channel and alpha has eight, which take twice as long.
PNG_PIXEL_BYTES = 4
# Each scan passes over every coefficient of the picture, about 30 ms at 50 million pixels, and may take 75 bytes of the
# file. Encoders write 1 to 20 scans; 64 bound the worst picture to seconds.
MAX_SCANS = 64
# A file below 50 MB holds 800 full segments; Pillow walks them in Python.
MAX_SEGMENTS = 1_000
# Pillow looks for the next marker byte by byte in Python.
MAX_JUNK_BYTES = 65_536
# Chunks of a PNG and blocks of a GIF before its first frame, each some microseconds of Python in Pillow.
MAX_BLOCKS = 100_000
# A compressed profile or text unpacks to as much as 1 MiB from 1 kB.
MAX_PNG_METADATA_CHUNKS = 500
# A camera's EXIF stays below 64 KiB; Pillow unpacks each number of it into a Python object.
MAX_EXIF_BYTES = 1 << 20
# Numbers in a TIFF's tags: one offset and one length for each strip, and a palette of 3 × 65,536.
MAX_TIFF_VALUES = 400_000
MAX_TIFF_TAGS = 4_096
# Pillow decodes run-length BMP in Python: bytes read plus pixels written.
MAX_RLE_WORK = 8_000_000

_JPEG_MARKER = re.compile(rb"(\xff+)([^\x00\xff])")
JPEG_AFTER_SCAN = re.compile(rb"(\xff+)([^\x00\x01\xff\xd0-\xd7])")
JPEG_BARE = frozenset([0x01, *range(0xD0, 0xD9)])
JPEG_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_KNOWN = frozenset([*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE])
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_PNG_CHANNELS = {2: 3, 4: 2, 6: 4}
_TIFF_SIZES = {1: 1, 2: 1, 6: 1, 7: 1, 3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4, 5: 8, 10: 8, 12: 8, 16: 8}
_TIFF_OPAQUE = (1, 2, 7)
_TIFF_POINTERS = (34665, 34853, 40965)
_SIZES = ((256, 257), (322, 323))  # of the picture, of a tile


def picture_format(data: bytes) -> str:
    """Pillow's name of the format that the first bytes announce. Raises MediaError if it is none of them."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if name := heif_format(data):
        return name
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    raise MediaError(f"not a readable picture ({kind_of(data)})")


def check_header(data: bytes, name: str, max_pixels: int) -> None:
    """Bounds what the header of a picture of format `name` makes a decoder do.

    Raises MediaError if it claims more than `max_pixels` or more metadata, blocks or scans than an honest picture has.
    """
    try:
        _CHECKS[name](data, max_pixels)
    except (struct.error, IndexError):
        raise MediaError(f"truncated picture (in the {name} header)") from None


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises MediaError if a picture of this size has more than `max_pixels`, or a longer side than any should."""
    if width * height > max_pixels:
        raise MediaError(f"{width} × {height} pixels, over the limit of {max_pixels}")
    if max(width, height) > MAX_SIDE:
        raise MediaError(f"{width} × {height} pixels, over the limit of {MAX_SIDE} a side")


def _refuse(what: str) -> MediaError:
    return MediaError(f"metadata or structure of a bomb ({what})")


def _check_jpeg(data: bytes, max_pixels: int) -> None:
    position, exif_bytes = 2, 0
    for _ in range(MAX_SEGMENTS):
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            raise MediaError("truncated picture (a JPEG without a scan)")
        if match.end() - position > MAX_JUNK_BYTES:
            raise _refuse(f"more than {MAX_JUNK_BYTES} bytes between segments")
        marker, start = match[2][0], match.end()
        if marker in JPEG_BARE:
            position = start
            continue
        if marker not in _JPEG_KNOWN:
            raise MediaError(f"not a readable picture (JPEG marker {marker:#04x} before a scan)")
        (length,) = struct.unpack_from(">H", data, start)
        if marker == _SOS:
            return _check_scans(data, match.start())
        if marker in JPEG_FRAME:
            height, width = struct.unpack_from(">HH", data, start + 3)
            check_size(width, height, max_pixels)
        if marker == _APP1 and data.startswith(b"Exif", start + 2):
            exif_bytes += length
        if exif_bytes > MAX_EXIF_BYTES:
            raise _refuse(f"more than {MAX_EXIF_BYTES} bytes of EXIF")
        position = start + length
    raise _refuse(f"more than {MAX_SEGMENTS} segments")


def _check_scans(data: bytes, position: int) -> None:
    # A video behind a phone's photo holds the two bytes by chance: only a high count is worth a walk.
    if data.count(b"\xff\xda", position) <= MAX_SCANS:
        return
    scans = 0
    for _ in range(MAX_SEGMENTS):
        match = JPEG_AFTER_SCAN.search(data, position)
        if match is None or match[2][0] == _EOI:
            return
        scans += match[2][0] == _SOS
        if scans > MAX_SCANS:
            raise _refuse(f"more than {MAX_SCANS} scans")
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    raise _refuse(f"more than {MAX_SEGMENTS} segments")


def _check_png(data: bytes, max_pixels: int) -> None:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    check_size(width, height, max_pixels)
    if width * height * depth * _PNG_CHANNELS.get(colour, 1) > 8 * PNG_PIXEL_BYTES * max_pixels:
        many = f"{depth} bits a channel of {width} × {height} pixels"
        raise MediaError(f"{many}, over the limit of {PNG_PIXEL_BYTES * max_pixels} bytes")
    position, metadata = 8, 0
    for _ in range(MAX_BLOCKS):
        if position + 8 > len(data):
            if data.find(b"IDAT") < 0:
                raise MediaError("truncated picture (a PNG without pixels)")
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        metadata += kind not in (b"IDAT", b"fdAT", b"fcTL")
        if metadata > MAX_PNG_METADATA_CHUNKS:
            raise _refuse(f"more than {MAX_PNG_METADATA_CHUNKS} chunks of metadata")
        if kind == b"eXIf" and length > MAX_EXIF_BYTES:
            raise _refuse(f"more than {MAX_EXIF_BYTES} bytes of EXIF")
        if kind == b"IEND":
            return
        position += 12 + length
    raise _refuse(f"more than {MAX_BLOCKS} chunks")


def _check_gif(data: bytes, max_pixels: int) -> None:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    check_size(width, height, max_pixels)
    position, blocks = 13 + (6 << (flags & 7) if flags & 128 else 0), 0
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x2C:
            left, top, wide, high = struct.unpack_from("<4H", data, position + 1)
            return check_size(max(width, left + wide), max(height, top + high), max_pixels)
        if data[position] == 0x21:
            position, count = _skip_extension(data, position + 1)
            blocks += count
        else:
            position += 1
        blocks += 1
        if blocks > MAX_BLOCKS:
            raise _refuse(f"more than {MAX_BLOCKS} blocks before the first frame")


def _skip_extension(data: bytes, position: int) -> tuple[int, int]:
    """Where an extension ends, as Pillow reads it, and its number of blocks: other readings could hide a frame."""
    label, first = data[position], data[position + 1]
    netscape = label == 255 and data.startswith(b"NETSCAPE2.0", position + 2)
    position += 2 + first
    if label == 254 and not first:
        return position, 1
    if netscape:
        position += 1 + data[position]
    blocks = 1
    while position < len(data) and blocks <= MAX_BLOCKS:
        size = data[position]
        position, blocks = position + 1 + size, blocks + 1
        if not size:
            break
    return position, blocks


def _check_webp(data: bytes, max_pixels: int) -> None:
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise MediaError("truncated picture (a WebP shorter than its header says)")
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    check_size(width, height, max_pixels)


def _check_bmp(data: bytes, max_pixels: int) -> None:
    (header,) = struct.unpack_from("<I", data, 14)
    if header < 40:
        return
    width, height = struct.unpack_from("<ii", data, 18)
    (compression,) = struct.unpack_from("<I", data, 30)
    check_size(abs(width), abs(height), max_pixels)
    if compression in (1, 2) and len(data) + abs(width * height) > MAX_RLE_WORK:
        raise _refuse(f"a run-length BMP of more than {MAX_RLE_WORK} bytes and pixels")


def _check_heif(data: bytes, max_pixels: int) -> None:
    check_boxes(data, lambda width, height: check_size(width, height, max_pixels), MAX_EXIF_BYTES)


def _check_tiff(data: bytes, max_pixels: int) -> None:
    order, big = "<" if data.startswith(b"II") else ">", data[2] == 43
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    tags = _tags(data, first, order, big)
    for width, height in _SIZES:
        check_size(tags.get(width, 0), tags.get(height, 0), max_pixels)
    for pointer in _TIFF_POINTERS:
        if pointer in tags:
            _tags(data, tags[pointer], order, big)


def _tags(data: bytes, offset: int, order: str, big: bool) -> dict[int, int]:
    """First value of each single-valued tag of one directory. Raises MediaError if all hold too many numbers."""
    if offset + 8 > len(data):
        return {}
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    if count > MAX_TIFF_TAGS:
        raise _refuse(f"more than {MAX_TIFF_TAGS} tags")
    start, tags, numbers = offset + (8 if big else 2), {}, 0
    for at in range(start, min(start + count * entry.size, len(data) - entry.size + 1), entry.size):
        tag, kind, values, raw = entry.unpack_from(data, at)
        numbers += 0 if kind in _TIFF_OPAQUE else values
        if values == 1 and (size := _TIFF_SIZES.get(kind, 9)) <= len(raw):
            tags[tag] = int.from_bytes(raw[:size], "little" if order == "<" else "big")
    if numbers > MAX_TIFF_VALUES:
        raise _refuse(f"more than {MAX_TIFF_VALUES} numbers in its tags")
    return tags


_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II\x2a\x00", "TIFF"),
    (b"MM\x00\x2a", "TIFF"),
    (b"II\x2b\x00", "TIFF"),
)
_CHECKS = {
    "JPEG": _check_jpeg,
    "PNG": _check_png,
    "GIF": _check_gif,
    "WEBP": _check_webp,
    "BMP": _check_bmp,
    "TIFF": _check_tiff,
    "AVIF": _check_heif,
    "HEIF": _check_heif,
}
