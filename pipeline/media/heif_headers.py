"""What the boxes of an AVIF or a HEIC claim, bounded before a decoder sees the file.

The size that a box gives is no bound of the decoder's work: a picture coded at another size is decoded as it is coded,
then scaled. The headers of the coded pictures, which no box repeats, are therefore read too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.errors import MediaError
from pipeline.media.coded_sizes import av1_size, hevc_size, leb128

# Boxes, items and coded units together. A phone's photo of 50 million pixels in tiles has 600.
MAX_PARTS = 20_000
# Of boxes within boxes; a sequence has eight.
MAX_DEPTH = 16
# What stands before a container's boxes.
_CONTAINERS = {b"meta": 4, b"stsd": 8, b"av01": 78, **dict.fromkeys((b"iprp", b"ipco", b"moov", b"trak", b"mdia"), 0)}
_CONTAINERS |= {b"minf": 0, b"stbl": 0}
_AV1, _HEVC = _CODED = b"av01", b"hvc1"
_SEQUENCE_HEADER, _SPS = 1, 33
# A picture is coded in whole blocks, and cut to its size.
_BLOCK = 64
CheckSize = Callable[[int, int], None]


@dataclass
class Item:
    """One item of the file: its coding and where it lies. extents: (offset, length), in `idat` or in the file."""

    kind: bytes = b""
    in_idat: bool = False
    extents: tuple[tuple[int, int], ...] = ()


def check_boxes(data: bytes, check_size: CheckSize, max_exif_bytes: int) -> None:
    """Hands every size that boxes and coded pictures claim to `check_size`, which raises MediaError of one too large.

    Raises MediaError if there are more parts, frames or bytes of EXIF than an honest picture has; struct.error or
    IndexError where the header is cut off.
    """
    _Walk(data, check_size, max_exif_bytes).check()


def _refuse(what: str) -> MediaError:
    return MediaError(f"metadata or structure of a bomb ({what})")


class _Walk:
    """One pass over a file: boxes first, then the items and frames that they name."""

    def __init__(self, data: bytes, check_size: CheckSize, max_exif_bytes: int) -> None:
        self.data, self.check_size, self.max_exif_bytes = data, check_size, max_exif_bytes
        self.parts = 0
        self.items: dict[int, Item] = {}
        self.idat = b""
        self.nal_length_bytes = 4
        # Of each track's first frame.
        self.frame_bytes: list[int] = []
        self.frame_places: list[int] = []

    def check(self) -> None:
        for kind, start, end in self._boxes(0, len(self.data)):
            if reader := _READERS.get(kind):
                reader(self, self.data[start:end])
        if sum(self._bytes_of(item) for item in self.items.values()) > 2 * len(self.data):
            raise _refuse("items that hold more than the file")
        for item in self.items.values():
            self._check_item(item)
        for offset, length in zip(self.frame_places, self.frame_bytes, strict=False):
            self._check_av1(self.data[offset : offset + length])

    def _count(self, parts: int = 1) -> None:
        self.parts += parts
        if self.parts > MAX_PARTS:
            raise _refuse(f"more than {MAX_PARTS} boxes, items and coded units")

    def _boxes(self, at: int, end: int, depth: int = 1) -> Iterator[tuple[bytes, int, int]]:
        """Every box, those within others too: its kind, and where its content starts and ends."""
        while at + 8 <= end:
            self._count()
            if depth > MAX_DEPTH:
                raise _refuse(f"more than {MAX_DEPTH} boxes within each other")
            size, kind = struct.unpack_from(">I4s", self.data, at)
            start = at + 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", self.data, start)
                start += 8
            stop = min(at + size, end) if size else end
            if stop < start:
                return
            yield kind, start, stop
            if kind == b"iinf":
                yield from self._boxes(start + (6 if not self.data[start] else 8), stop, depth + 1)
            elif kind in _CONTAINERS:
                yield from self._boxes(start + _CONTAINERS[kind], stop, depth + 1)
            at = stop

    def _read_size(self, box: bytes) -> None:
        self.check_size(*struct.unpack_from(">II", box, 4))

    def _read_track(self, box: bytes) -> None:
        width, height = struct.unpack_from(">II", box, 88 if box[0] else 76)
        self.check_size(width >> 16, height >> 16)

    def _read_idat(self, box: bytes) -> None:
        self.idat = box

    def _read_av1_configuration(self, box: bytes) -> None:
        self._check_av1(box[4:])

    def _read_hevc_configuration(self, box: bytes) -> None:
        self.nal_length_bytes = 1 + (box[21] & 3)
        at = 23
        for _ in range(box[22]):
            (count,) = struct.unpack_from(">H", box, at + 1)
            at += 3
            self._count(count)
            for _ in range(count):
                (length,) = struct.unpack_from(">H", box, at)
                self._check_nal(box[at + 2 : at + 2 + length])
                at += 2 + length

    def _read_item_kind(self, box: bytes) -> None:
        if box[0] >= 2:
            (name,) = struct.unpack_from(">H" if box[0] == 2 else ">I", box, 4)
            at = 8 if box[0] == 2 else 10
            self.items.setdefault(name, Item()).kind = box[at : at + 4]

    def _read_item_places(self, box: bytes) -> None:
        version, sizes = box[0], struct.unpack_from(">BB", box, 4)
        offset_bytes, length_bytes, base_bytes = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
        index_bytes = sizes[1] & 15 if version else 0
        reader = _Fields(box, 6)
        for _ in range(reader.take(4 if version == 2 else 2)):
            item = self.items.setdefault(reader.take(4 if version == 2 else 2), Item())
            item.in_idat = bool(version) and reader.take(2) & 15 == 1
            reader.take(2)
            base = reader.take(base_bytes)
            count = reader.take(2)
            self._count(1 + count)
            extents = []
            for _ in range(count):
                reader.take(index_bytes)
                offset, length = base + reader.take(offset_bytes), reader.take(length_bytes)
                extents.append((offset, length or max(0, len(self.data) - offset)))
            item.extents = tuple(extents)

    def _read_frame_bytes(self, box: bytes) -> None:
        size, count = struct.unpack_from(">II", box, 4)
        self.frame_bytes.append(size or (struct.unpack_from(">I", box, 12)[0] if count else 0))

    def _read_frame_places(self, box: bytes) -> None:
        self.frame_places.append(struct.unpack_from(">I", box, 8)[0])

    def _read_far_frame_places(self, box: bytes) -> None:
        self.frame_places.append(struct.unpack_from(">Q", box, 8)[0])

    def _bytes_of(self, item: Item) -> int:
        end = len(self.idat if item.in_idat else self.data)
        return sum(max(0, min(length, end - offset)) for offset, length in item.extents)

    def _check_item(self, item: Item) -> None:
        source = self.idat if item.in_idat else self.data
        content = b"".join(source[offset : offset + length] for offset, length in item.extents)
        if item.kind in _CODED and len(content) < sum(length for _, length in item.extents):
            raise MediaError("truncated picture (a part of it lies behind its end)")
        if item.kind == b"Exif" and len(content) > self.max_exif_bytes:
            raise _refuse(f"more than {self.max_exif_bytes} bytes of EXIF")
        if item.kind == _AV1:
            self._check_av1(content)
        if item.kind == _HEVC:
            self._check_hevc(content)
        if item.kind == b"grid" and content:
            self.check_size(*struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4))

    def _check_av1(self, units: bytes) -> None:
        """Checks every sequence header among units, which say their own length."""
        at = 0
        while at < len(units):
            self._count()
            header = units[at]
            at += 2 if header & 4 else 1
            length = len(units) - at
            if header & 2:
                length, at = leb128(units, at)
            if header >> 3 & 15 == _SEQUENCE_HEADER:
                self._check_coded(*av1_size(units[at : at + length]))
            at += length

    def _check_hevc(self, units: bytes) -> None:
        """Checks every sequence parameter set among units, whose length stands before each."""
        at = 0
        while at + self.nal_length_bytes < len(units):
            self._count()
            start = at + self.nal_length_bytes
            at = start + int.from_bytes(units[at:start], "big")
            self._check_nal(units[start:at])

    def _check_nal(self, unit: bytes) -> None:
        if unit and unit[0] >> 1 & 63 == _SPS:
            self._check_coded(*hevc_size(unit))

    def _check_coded(self, width: int, height: int) -> None:
        self.check_size(max(1, width - _BLOCK + 1), max(1, height - _BLOCK + 1))


class _Fields:
    """Whole bytes of big-endian numbers, one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, count: int) -> int:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise IndexError
        return int.from_bytes(self.data[start : self.at], "big")


_READERS: dict[bytes, Callable[[_Walk, bytes], None]] = {
    b"ispe": _Walk._read_size,
    b"tkhd": _Walk._read_track,
    b"idat": _Walk._read_idat,
    b"av1C": _Walk._read_av1_configuration,
    b"hvcC": _Walk._read_hevc_configuration,
    b"infe": _Walk._read_item_kind,
    b"iloc": _Walk._read_item_places,
    b"stsz": _Walk._read_frame_bytes,
    b"stco": _Walk._read_frame_places,
    b"co64": _Walk._read_far_frame_places,
}
