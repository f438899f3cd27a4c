"""The frames of an MP3, one after the other, as ISO/IEC 11172-3 and 13818-3 lay them out.

libsndfile takes the length of an MP3 that does not say its number of frames from the first one's rate of bits: of one
whose rate varies it reads a part, and nothing tells. It also gives up on bytes that are no frame, such as a page that a
download ended with. So a stream is read as its frames alone, behind one that holds their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.media.mpeg import counts_frames, tag_bytes

# By whether it is MPEG 1, and by the header's index; 0: another rate, of which no header tells.
_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_LAYER_3 = 1
# Of a frame without a check sum that is long enough for what it holds, at any rate of samples.
_INDEX = 9


@dataclass(frozen=True)
class Header:
    """The four bytes that begin a frame. version: 3 of MPEG 1, 2 of MPEG 2, 0 of MPEG 2.5."""

    version: int
    rate_hz: int
    size: int
    mono: bool

    @staticmethod
    def at(data: bytes, place: int) -> Header | None:
        """The header at a place, None if there is none of layer III."""
        if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] & 0xE0 != 0xE0:
            return None
        version, layer = data[place + 1] >> 3 & 3, data[place + 1] >> 1 & 3
        index, rate = data[place + 2] >> 4, data[place + 2] >> 2 & 3
        if version == 1 or layer != _LAYER_3 or index in (0, 15) or rate == 3:
            return None
        rate_hz, bits = _RATES_HZ[version][rate], 1000 * _KILOBITS[version == 3][index]
        size = (144 if version == 3 else 72) * bits // rate_hz + (data[place + 2] >> 1 & 1)
        return Header(version, rate_hz, size, data[place + 3] >> 6 == 3)

    def goes_on(self, other: Header | None) -> bool:
        """Whether a later frame is of the same stream."""
        return other is not None and (other.version, other.rate_hz) == (self.version, self.rate_hz)


def counted(data: bytes) -> bytes:
    """An MP3 as its frames alone, the first of which says how many there are; all other data as they are.

    data: as `from_first_frame` gives them.
    """
    start = tag_bytes(data)
    first = Header.at(data, start)
    if first is None or not (first.goes_on(Header.at(data, start + first.size)) or start + first.size >= len(data)):
        return data
    frames = [data[begin:end] for begin, end in _frames(data, start, first)]
    if not counts_frames(data[start:]):
        frames.insert(0, _count(data[start : start + 4], first, len(frames)))
    return b"".join(frames)


def _frames(data: bytes, start: int, first: Header) -> Iterator[tuple[int, int]]:
    """Where each frame begins and ends; what stands between two is left out."""
    place = start
    while place >= 0:
        header = Header.at(data, place)
        if header and first.goes_on(header) and place + header.size <= len(data):
            yield place, place + header.size
            place += header.size
        else:
            place = _next(data, place + 1, first)


def _next(data: bytes, start: int, first: Header) -> int:
    """Where the next two frames begin, -1 if nowhere: one alone may be anything."""
    place = data.find(b"\xff", start)
    while place >= 0:
        header = Header.at(data, place)
        if header and first.goes_on(header) and first.goes_on(Header.at(data, place + header.size)):
            return place
        place = data.find(b"\xff", place + 1)
    return -1


def _count(header: bytes, first: Header, frames: int) -> bytes:
    """A frame of silence that holds a number of frames, as the Xing header has it. header: the first frame's."""
    begin = bytes([0xFF, header[1] | 1, _INDEX << 4 | header[2] & 0x0C, header[3]])
    own = Header.at(begin, 0)
    assert own is not None
    side = (17 if first.mono else 32) if first.version == 3 else (9 if first.mono else 17)
    held = begin + bytes(side) + b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return held.ljust(own.size, b"\0")
