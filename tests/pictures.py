"""Pictures that tests make: smooth colours of any size, and the bytes of a file."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Patches of colour, smooth as photographs are."""
    shape = (max(2, height // 9), max(2, width // 9), 3)
    patches = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    """A picture as a PNG file, which keeps every pixel."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# Landscape, portrait, tiny, longer than is resized in full.
ODD = [picture(317, 181, 1), picture(151, 340, 2), picture(13, 11, 3), picture(640, 100, 4)]
