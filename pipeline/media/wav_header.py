"""What a WAV's header says of its length, and what it does where the writer could not go back to fill it in."""

from __future__ import annotations

import struct

# A WAV's data of so many bytes or more have a length that nobody knew when the header was written.
UNKNOWN_BYTES = 0x7FFF0000
# Before its data.
MAX_CHUNKS = 1_000


def with_sizes(data: bytes) -> bytes:
    """A WAV of a stream, whose two sizes are 0 or unknown, with those that it has; else the data as they are."""
    start, size, _ = _data_chunk(data)
    (whole,) = struct.unpack_from("<I", data, 4) if start else (1,)
    if 0 < whole < UNKNOWN_BYTES or 0 < size < UNKNOWN_BYTES:
        return data
    sizes = (struct.pack("<I", min(end, 0xFFFFFFFF)) for end in (len(data) - 8, len(data) - start))
    return data[:4] + next(sizes) + data[8 : start - 4] + next(sizes) + data[start:]


def promised_frames(data: bytes) -> int:
    """Frames that a WAV's header promises, 0 if it is no WAV or its length was unknown."""
    _, size, frame_bytes = _data_chunk(data)
    return size // frame_bytes if frame_bytes and size < UNKNOWN_BYTES else 0


def _data_chunk(data: bytes) -> tuple[int, int, int]:
    """Where a WAV's samples start, their bytes as it says, and the bytes of a frame; zeros if it has none."""
    position, frame_bytes = 12, 0
    if not data.startswith(b"RIFF"):
        return 0, 0, 0
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            break
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind == b"fmt " and size >= 14 and position + 22 <= len(data):
            (frame_bytes,) = struct.unpack_from("<H", data, position + 20)
        if kind == b"data":
            return position + 8, size, frame_bytes
        position += 8 + size + size % 2
    return 0, 0, 0
