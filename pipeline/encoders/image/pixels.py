"""From a picture to what an image network takes: views, resizing, cropping, normalising."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

CROP_SHARE = 7 / 8
# A picture whose longer side is more than so many times its shorter one is never resized in full.
LONGEST_IN_FULL = 16


@dataclass(frozen=True)
class Preprocessing:
    """What a network's weights expect: the shorter side is resized to `resized`, the centre `side` × `side` kept.

    mean, std: of each channel, for values in [0, 1]. squash: both sides are resized to `resized`, whatever the shape.
    """

    resized: int
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    filter: Image.Resampling
    squash: bool = False

    @property
    def draft(self) -> tuple[int, int]:
        """The size below which a JPEG is not decoded: at twice the wanted one, the filter sees every frequency."""
        return 2 * self.resized, 2 * self.resized

    def apply(self, picture: Image.Image) -> np.ndarray:
        """The centre square, shape (side, side, 3), uint8.

        As torchvision's Resize and CenterCrop do it, to the bit. Of a very long picture the kept square alone is
        resized, which bounds the memory; each pixel has the same centre and scale as in the full resize.
        """
        width, height = self._scaled(picture)
        left, top = round((width - self.side) / 2), round((height - self.side) / 2)
        if max(width, height) <= LONGEST_IN_FULL * self.resized:
            resized = picture.resize((width, height), self.filter)
            return np.asarray(resized.crop((left, top, left + self.side, top + self.side)))
        across, down = picture.width / width, picture.height / height
        right, bottom = min((left + self.side) * across, picture.width), min((top + self.side) * down, picture.height)
        box = (left * across, top * down, right, bottom)
        return np.asarray(picture.resize((self.side, self.side), self.filter, box=box))

    def _scaled(self, picture: Image.Image) -> tuple[int, int]:
        """Width and height before the crop."""
        least = max(self.resized, self.side)
        if self.squash:
            return least, least
        longer = int(least * max(picture.size) / min(picture.size))
        return (least, longer) if picture.width <= picture.height else (longer, least)


def views_of(picture: Image.Image, kind: str) -> list[Image.Image]:
    """The views that are averaged: the picture; with its mirror image; its corners and centre with theirs.

    Ten crops as in Krizhevsky, Sutskever and Hinton (2012), of 7/8 of each side.
    """
    if kind == "centre":
        return [picture]
    pictures = [picture] if kind == "flip" else _crops(picture)
    return [view for crop in pictures for view in (crop, ImageOps.mirror(crop))]


def _crops(picture: Image.Image) -> list[Image.Image]:
    width, height = (max(1, round(length * CROP_SHARE)) for length in picture.size)
    right, down = picture.width - width, picture.height - height
    corners = [(0, 0), (right, 0), (0, down), (right, down), (right // 2, down // 2)]
    return [picture.crop((x, y, x + width, y + height)) for x, y in corners]
