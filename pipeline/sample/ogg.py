"""Makes an Ogg file reproducible: the encoder numbers its stream by chance, and every page carries that number."""

from __future__ import annotations

import struct
import zlib

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SERIAL = b"syn1"


def with_fixed_serial(data: bytes) -> bytes:
    """The same stream under a fixed serial number, its pages' checksums made again (RFC 3533, section 6)."""
    pages = []
    place = 0
    while place < len(data):
        segments = data[place + 26]
        size = 27 + segments + sum(data[place + 27 : place + 27 + segments])
        page = bytearray(data[place : place + size])
        page[14:18] = _SERIAL
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", _checksum(bytes(page)))
        pages.append(bytes(page))
        place += size
    return b"".join(pages)


def _checksum(page: bytes) -> int:
    """CRC-32 with Ogg's bit order, from zlib's, which reads and writes its bits the other way round."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
