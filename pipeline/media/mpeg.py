"""Streams of MPEG frames, MP3 and AAC: where the first one begins."""

from __future__ import annotations

import re

# Before the first frame: players look for it further on, and a download that was cut begins with more.
MAX_ZEROS = 65_536
# Of the first frame; the number of frames begins at most so far from its start.
COUNT_BYTES = 44
_COUNT = re.compile(rb"Xing|Info|VBRI")


def from_first_frame(data: bytes) -> bytes:
    """A stream from its first frame, or the tag before it, on, if zeros stand there; else the data as they are."""
    start = tag_bytes(data)
    ahead = data[start : start + MAX_ZEROS]
    start += len(ahead) - len(ahead.lstrip(b"\0"))
    frame = data[start : start + 3]
    zeros = ahead.startswith(b"\0")
    return data[start:] if zeros and (is_frame(frame) or is_adts(frame) or frame == b"ID3") else data


def tag_bytes(data: bytes) -> int:
    """Bytes of the ID3 tag that the data begin with, 0 if there is none."""
    if not data.startswith(b"ID3") or len(data) <= 10:
        return 0
    return 10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(data[6:10]))


def is_frame(data: bytes) -> bool:
    """Whether a frame of MPEG layer I to III starts the data: eleven bits set, then a layer that is not reserved."""
    return len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0 and bool(data[1] & 0x06)


def counts_frames(data: bytes) -> bool:
    """Whether the first frame is one that holds the number of all."""
    start = tag_bytes(data)
    return bool(_COUNT.search(data, start, start + COUNT_BYTES))


def is_adts(data: bytes) -> bool:
    """Whether a frame of AAC starts the data: twelve bits set, then the layer that is reserved."""
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0
