"""Colours of a sleeve: five printed inks chosen by genre, then shifted by mood."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Palette:
    """`paper` is behind everything, `ink` is read on it, `inks` fill the shapes.

    `border` holds the genre's dark, main, second, accent and light, in this order.
    """

    paper: Colour
    ink: Colour
    inks: tuple[Colour, ...]
    border: tuple[Colour, ...]


# dark, main, second, accent, light
_INKS = {
    "folk": ("#33301c", "#7a7a35", "#b98b3e", "#9c4a2a", "#efe6c9"),
    "jazz": ("#0e1c3f", "#1f57b8", "#6fa8dc", "#f0862a", "#f4efe2"),
    "soul": ("#3d0a35", "#b3196b", "#f27aa5", "#f6b63c", "#fde6ea"),
    "reggae": ("#10231a", "#15904c", "#f5c518", "#d52b1e", "#f8efcf"),
    "rock": ("#111112", "#c4161c", "#6d6d70", "#e8d3b0", "#f1efe9"),
    "electronic": ("#150a38", "#5a2ae0", "#18cfe4", "#ff3d9e", "#e8e4ff"),
    "samba": ("#04494f", "#0bb0a6", "#7fe0cf", "#ff6a45", "#fff0da"),
    "minimal": ("#25272b", "#868d94", "#c3c8cc", "#3d4a57", "#f4f4f1"),
}
# mood -> (saturation factor, brightness factor, colour mixed in, its share)
_SHIFTS = {
    "calm": (0.58, 1.05, "#e6ece8", 0.36),
    "joyful": (1.2, 1.14, "#ffdc5e", 0.15),
    "melancholy": (0.6, 0.7, "#2b3d5c", 0.3),
    "fierce": (1.25, 0.88, "#1f0303", 0.16),
    "dreamy": (0.85, 1.15, "#d8c6f2", 0.36),
}
# mood -> which ink is the paper, and which are read on it
_GROUNDS = {"calm": (4, 0), "joyful": (2, 0), "melancholy": (0, 4), "fierce": (0, 4), "dreamy": (4, 0)}


def palette_of(genre: str, mood: str, rng: np.random.Generator) -> Palette:
    """The palette of a genre in a mood, with a little variation from record to record."""
    hue, light = rng.normal(0, 0.012), rng.normal(1, 0.04)
    inks = [_shift(_rgb(code), mood, hue, light) for code in _INKS[genre]]
    paper, ink = _GROUNDS[mood]
    if mood == "fierce" and rng.random() < 0.3:
        paper = 1
    shapes = [colour for level, colour in enumerate(inks) if level != paper]
    return Palette(inks[paper], inks[ink], tuple(shapes[i] for i in rng.permutation(len(shapes))), tuple(inks))


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share of another in it."""
    return _clip(np.array(colour) * (1 - share) + np.array(other) * share)


def brightness(colour: Colour) -> float:
    """Luma from 0 to 255, by the weights of ITU-R BT.601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _shift(rgb: Colour, mood: str, hue: float, light: float) -> Colour:
    saturation, brightness, tint, share = _SHIFTS[mood]
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))
    shifted = colorsys.hsv_to_rgb((h + hue) % 1, min(s * saturation, 1), min(v * brightness * light, 1))
    return mix(_clip(np.array(shifted) * 255), _rgb(tint), share)


def _rgb(code: str) -> Colour:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def _clip(channels: NDArray[np.float64]) -> Colour:
    red, green, blue = (round(float(channel)) for channel in np.clip(channels, 0, 255))
    return red, green, blue
