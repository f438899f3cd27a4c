"""JPEGs that lack nothing but their end marker, which cameras and cut downloads leave behind."""

from __future__ import annotations

import io
import random
import re
import struct

from PIL import Image

from pipeline.media.image_headers import JPEG_AFTER_SCAN, JPEG_BARE, JPEG_FRAME, MAX_SEGMENTS

_SOS = 0xDA
_END = b"\xff\xd9"
# Nothing that a scan ends with: what fills up a file.
_FILLING = re.compile(rb"\0{16,}\Z")


def _tail(number: int) -> bytes:
    """Chance, in intervals; libjpeg leaves out those before a marker that is one or two ahead of what it looks for."""
    chance = random.Random(number)
    markers = (bytes((0xFF, 0xD0 + (3 * number + place) % 8)) for place in range(8))
    return b"".join(chance.randbytes(1_024).replace(b"\xff", b"") + marker for marker in markers)


# What a scan that is cut off would read on. One cut in thousands, within the last block, gives all the same pixels.
_TAILS = tuple(_tail(number) for number in range(3))


def completed(data: bytes) -> bytes | None:
    """A JPEG with the end marker that it lacks, None if more is missing.

    A scan that is whole gives the same pixels whatever follows it; one that is cut off takes what follows for its own
    bits. A progressive JPEG may also lack whole scans: each coefficient must have been refined to its last bit.
    """
    # Zeros would be read as a scan's bits too, and half a marker as one with what follows.
    whole = _FILLING.sub(b"", data).removesuffix(b"\xff")
    if not _every_coefficient(whole):
        return None
    first, *others = _TAILS
    pixels = _pixels(whole + first + _END)
    return whole + _END if all(_pixels(whole + other + _END) == pixels for other in others) else None


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        return picture.tobytes()


def _every_coefficient(data: bytes) -> bool:
    """Whether scans begin for all 64 coefficients of each component, down to the last bit."""
    left: dict[int, set[int]] = {}
    at = 2
    for _ in range(MAX_SEGMENTS):
        match = JPEG_AFTER_SCAN.search(data, at)
        if match is None or match.end() + 2 > len(data):
            break
        marker, start = match[2][0], match.end()
        (length,) = struct.unpack_from(">H", data, start)
        segment = data[start + 2 : start + length]
        if marker in JPEG_FRAME:
            left = {segment[6 + 3 * place]: set(range(64)) for place in range(segment[5])}
        elif marker == _SOS:
            first, last, bits = segment[-3:]
            for place in range(segment[0] if not bits & 15 else 0):
                left[segment[1 + 2 * place]] -= set(range(first, last + 1))
        at = start if marker in JPEG_BARE else start + length
    return bool(left) and not any(left.values())
