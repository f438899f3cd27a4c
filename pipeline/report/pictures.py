"""Items as small pictures: JPEG thumbnails as `data:` URIs, or a placeholder made from the title and the id."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from PIL import Image

from pipeline.errors import MediaError
from pipeline.media import open_image
from pipeline.media.stored import names_of, read_medium

TONES = 12
MAX_BYTES, MAX_PIXELS = 50_000_000, 50_000_000


@dataclass(frozen=True)
class Tile:
    """An item as a picture: a `data:` URI, or empty for a placeholder with initials on one of 12 tones."""

    picture: str
    initials: str
    tone: int


@dataclass(frozen=True)
class Size:
    """Longest side in pixels and JPEG quality of a thumbnail."""

    pixels: int
    quality: int


@dataclass(frozen=True)
class Format:
    """How large pictures may be: the first of `sizes` with which they take at most `most_bytes` of the page."""

    sizes: tuple[Size, ...]
    most_bytes: int


# On the page, a thumbnail of 160 pixels takes about 9 kB, of 96 pixels 4 kB, of 64 pixels 2 kB.
CARD = Format((Size(160, 76), Size(128, 70), Size(96, 70), Size(64, 60)), 600_000)
DOT = Format((Size(96, 70), Size(64, 70), Size(48, 60)), 500_000)
EXAMPLE = Format((Size(64, 70), Size(48, 60)), 150_000)


@dataclass(frozen=True)
class Studio:
    """Makes thumbnails from the media folder, and of pictures that the workspace stores, where that folder is known.

    A picture that cannot be read becomes a placeholder.
    """

    root: Path | None
    stored: Path | None = None

    def tiles(
        self, items: Mapping[str, tuple[str, str | None]], form: Format, uses: Mapping[str, int] | None = None
    ) -> dict[str, Tile]:
        """A tile for each item id; `items` maps it to its title and its picture's relative path.

        uses: how often the page shows each, once if None. Where even the smallest size takes too much, the last items
        are placeholders.
        """
        times = [1 if uses is None else uses[item_id] for item_id in items]
        with ThreadPoolExecutor(2) as pool:
            images = list(pool.map(lambda entry: self._open(entry[1], form.sizes[0]), items.values()))
        for size in form.sizes:
            pictures = [_encode(image, size) if image else "" for image in images]
            taken = list(accumulate(len(picture) * count for picture, count in zip(pictures, times, strict=True)))
            if not taken or taken[-1] <= form.most_bytes:
                break
        fitting = [picture if end <= form.most_bytes else "" for picture, end in zip(pictures, taken, strict=True)]
        return {
            item_id: Tile(picture, initials(title), tone(item_id))
            for (item_id, (title, _)), picture in zip(items.items(), fitting, strict=True)
        }

    def _open(self, relative: str | None, size: Size) -> Image.Image | None:
        if not relative:
            return None
        try:
            data = read_medium(self.root, self.stored, names_of(relative)[0], MAX_BYTES)
            image = open_image(data, MAX_PIXELS, draft=(2 * size.pixels,) * 2)
        except MediaError:
            return None
        return _reduced(image, size)


def _reduced(image: Image.Image, size: Size) -> Image.Image:
    image.thumbnail((size.pixels, size.pixels), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def _encode(image: Image.Image, size: Size) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(image, size)).decode("ascii")


def _jpeg(image: Image.Image, size: Size) -> bytes:
    buffer = io.BytesIO()
    _reduced(image, size).save(buffer, "JPEG", quality=size.quality, optimize=True)
    return buffer.getvalue()


def thumbnail(data: bytes, size: Size) -> bytes:
    """A picture as a JPEG of that size at most. Raises MediaError if it cannot be read."""
    return _jpeg(open_image(data, MAX_PIXELS, draft=(2 * size.pixels,) * 2), size)


def initials(title: str) -> str:
    """Returns one or two letters that stand for a title: `The Blue Hour` gives TB."""
    words = re.findall(r"\w+", title)
    return "".join(word[0] for word in words[:2]).upper() or "–"


def tone(item_id: str) -> int:
    """Returns the placeholder's colour, 0 to 11: the same for an id on every night."""
    return hashlib.sha256(item_id.encode("utf-8")).digest()[0] % TONES


def aspect(tiles: Mapping[str, Tile]) -> float:
    """Returns the usual width / height of the pictures, between 2:3 and 3:2, and 1 if there are none."""
    encoded = [tile.picture.split(",", 1)[1] for tile in list(tiles.values())[:60] if tile.picture]
    images = [Image.open(io.BytesIO(base64.b64decode(picture))) for picture in encoded]
    ratios = [image.width / image.height for image in images]
    return min(max(statistics.median(ratios), 2 / 3), 3 / 2) if ratios else 1.0
