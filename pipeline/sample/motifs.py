"""The six motifs of the sleeves, as coloured polygons in a unit square (y downwards), painted in order.

Each motif is drawn with a `Feel`, which the mood sets: how many shapes, how unruly, how tilted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.sample.palette import Colour, Palette, mix

Points = NDArray[np.float64]
Shape = tuple[Points, Colour]

_STEM = np.array([0.006, 0.0])


@dataclass(frozen=True, slots=True)
class Feel:
    """How a mood draws: `count` scales the number of shapes, `unrest` their jitter (0 to 1), `tilt` is in degrees."""

    count: float
    unrest: float
    tilt: float


FEELS = {
    "calm": Feel(0.6, 0.0, 0),
    "joyful": Feel(1.5, 0.35, 0),
    "melancholy": Feel(0.8, 0.1, 0),
    "fierce": Feel(1.2, 1.0, 16),
    "dreamy": Feel(0.9, 0.25, -7),
}


def draw_motif(motif: str, palette: Palette, feel: Feel, rng: np.random.Generator) -> list[Shape]:
    """The shapes of one motif; points are float64, shape (corners, 2), and may lie outside the square."""
    turn = np.deg2rad(feel.tilt * rng.choice([-1.0, 1.0]))
    return [(_rotate(points, turn), colour) for points, colour in _MOTIFS[motif](palette, feel, rng)]


def disc(x: float, y: float, width: float, height: float | None = None) -> Points:
    """An ellipse around (x, y) with these half-axes."""
    angle = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    return np.column_stack([x + width * np.cos(angle), y + (height or width) * np.sin(angle)])


def _circles(palette: Palette, feel: Feel, rng: np.random.Generator) -> Iterator[Shape]:
    inks = cycle(palette.inks)
    if rng.random() < 0.5:
        x, y = 0.5 + rng.uniform(-0.18, 0.18, 2)
        rings = round(7 * feel.count) + 1
        for radius in np.linspace(0.47, 0.05, rings):
            wobble = feel.unrest * rng.normal(0, 0.02, 2)
            yield disc(x + wobble[0], y + wobble[1], radius), next(inks)
        return
    for size in sorted(rng.uniform(0.06, 0.26, round(11 * feel.count) + 2), reverse=True):
        x, y = rng.uniform(0.05, 0.95, 2)
        ink = next(inks)
        yield disc(x, y, size), ink
        yield disc(x, y, size * 0.62), palette.paper
        yield disc(x, y, size * 0.34), mix(ink, palette.ink, 0.25)


def _stripes(palette: Palette, feel: Feel, rng: np.random.Generator) -> Iterator[Shape]:
    number = round(9 * feel.count) + 3
    edges = np.cumsum(rng.uniform(0.5, 1.5 + feel.unrest, number))
    edges = -0.4 + 1.8 * (edges - edges[0]) / (edges[-1] - edges[0])
    lean = rng.choice([0.0, 0.0, 0.5]) + feel.unrest * rng.uniform(0.2, 0.6)
    inks = cycle((*palette.inks, palette.paper))
    upright = rng.random() < 0.5
    for left, right in pairwise(edges):
        band = np.array([[left, -0.4], [right, -0.4], [right - lean, 1.4], [left - lean, 1.4]])
        yield (band if upright else band[:, ::-1]), next(inks)


def _mountains(palette: Palette, feel: Feel, rng: np.random.Generator) -> Iterator[Shape]:
    ranges = round(3 * feel.count) + 2
    far, near = palette.inks[0], palette.inks[1]
    for depth in range(ranges):
        share = depth / max(ranges - 1, 1)
        base = 0.42 + 0.42 * share
        peaks = int(rng.integers(3, 6)) + round(2 * feel.unrest)
        x = np.linspace(-0.4, 1.4, 2 * peaks + 1) + rng.normal(0, 0.03, 2 * peaks + 1)
        heights = rng.uniform(0.14, 0.3 + 0.14 * feel.unrest, 2 * peaks + 1) * np.tile([0.15, 1.0], peaks + 1)[:-1]
        ridge = np.column_stack([x, base - heights])
        colour = mix(mix(far, palette.paper, 0.45 * (1 - share)), near, share)
        yield np.vstack([ridge, [[1.4, 1.5], [-0.4, 1.5]]]), colour
        for peak in range(1, 2 * peaks, 2):
            top, foot = ridge[peak], ridge[peak + 1]
            shade = np.array([top, foot, [top[0] + 0.2 * (foot[0] - top[0]), foot[1]]])
            yield shade, mix(colour, palette.ink, 0.28)


def _face(palette: Palette, feel: Feel, rng: np.random.Generator) -> Iterator[Shape]:
    skin, hair, *rest = palette.inks
    middle = np.array([0.5 + rng.uniform(-0.06, 0.06), 0.52])
    size = np.array([rng.uniform(0.2, 0.25), rng.uniform(0.29, 0.34)])
    neck = np.array([[-0.09, 0.2], [0.09, 0.2], [0.34, 0.75], [-0.34, 0.75]])
    head = disc(0, 0, 1)
    lit = head[head[:, 0] >= -1e-9]
    yield from ((points * size + middle, hair) for points in _hair(feel, rng))
    yield neck + middle, mix(skin, palette.ink, 0.25)
    yield head * size + middle, skin
    yield lit[np.argsort(lit[:, 1])] * size + middle, mix(skin, rest[0], 0.55)
    glance, glasses = rng.uniform(-0.08, 0.08), rng.random() < 0.25
    brow = np.array([[-0.3, -0.28], [0.0, -0.42 - 0.1 * feel.unrest], [0.3, -0.28], [0.0, -0.34]])
    for side in np.array([[-0.45, 0.0], [0.45, 0.0]]):
        if glasses:
            yield (disc(0, -0.12, 0.4, 0.3) + side) * size + middle, palette.ink
        yield (disc(0, -0.12, 0.3 if glasses else 0.26, 0.2 if glasses else 0.1) + side) * size + middle, palette.paper
        yield (disc(glance, -0.12, 0.1, 0.07) + side) * size + middle, palette.ink
        yield (brow + side) * size + middle, hair
    nose = np.array([[0.0, -0.12], [0.14, 0.3], [-0.06, 0.3]])
    yield nose * size + middle, mix(skin, palette.ink, 0.35)
    yield disc(0, 0.55, rng.uniform(0.28, 0.42), 0.09) * size + middle, rest[-1]


def _hair(feel: Feel, rng: np.random.Generator) -> Iterator[Points]:
    """Curls, long hair, a brush of spikes or a hat, around a head that is a unit disc."""
    style = int(rng.integers(4))
    if style == 0:
        for angle in np.linspace(-np.pi, 0, round(6 * feel.count) + 3):
            angle += rng.normal(0, 0.15 * feel.unrest)
            yield disc(np.cos(angle), 0.75 * np.sin(angle), rng.uniform(0.45, 0.7), rng.uniform(0.3, 0.48))
    elif style == 1:
        yield disc(0, -0.1, 1.22, 1.16)
        fall = rng.uniform(0.7, 1.5)
        yield np.array([[-1.22, -0.1], [1.22, -0.1], [1.34, fall], [-1.34, fall]])
    elif style == 2:
        for angle in np.linspace(-np.pi, 0, round(8 * feel.count) + 5):
            tip = np.array([np.cos(angle), np.sin(angle)])
            across = 0.22 * tip[::-1] * [-1, 1]
            yield np.array([0.7 * tip - across, rng.uniform(1.25, 1.55) * tip, 0.7 * tip + across])
    else:
        yield np.array([[-0.95, -0.45], [-0.8, -1.45], [0.8, -1.45], [0.95, -0.45]])
        yield disc(0, -0.62, 1.6, 0.17)


def _grid(palette: Palette, feel: Feel, rng: np.random.Generator) -> Iterator[Shape]:
    number = int(rng.integers(4, 6)) + round(3 * (feel.count - 0.6))
    step = 1 / number
    rounded = rng.random() < 0.35
    inks = (*palette.inks, palette.paper)
    for row in range(-2, number + 2):
        for column in range(-2, number + 2):
            corner = np.array([column, row]) * step + 0.06 * step
            corner = corner + feel.unrest * rng.normal(0, 0.05 * step, 2)
            side = 0.88 * step
            square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side + corner
            ink = inks[int(rng.integers(len(inks)))]
            yield square, ink
            if rounded:
                yield square.mean(0) + (square - square.mean(0)) * 0.5, inks[int(rng.integers(len(inks)))]


def _leaves(palette: Palette, feel: Feel, rng: np.random.Generator) -> Iterator[Shape]:
    inks = cycle(palette.inks)
    for _ in range(round(4 * feel.count) + 1):
        root = np.array([rng.uniform(0.1, 0.9), rng.uniform(0.95, 1.1)])
        rise = rng.uniform(0.6, 0.95)
        bend = rng.normal(0, 0.12 + 0.15 * feel.unrest)
        ink = next(inks)
        along = np.linspace(0, 1, 9)
        stem = root + np.column_stack([bend * along**2, -rise * along])
        yield np.vstack([stem - _STEM, stem[::-1] + _STEM]), mix(ink, palette.ink, 0.4)
        for place in range(2, 9):
            size = 0.24 * (1.15 - 0.6 * along[place]) * rng.uniform(0.85, 1.15)
            for side in (-1, 1):
                angle = -np.pi / 2 + side * (0.9 + rng.normal(0, 0.25 * feel.unrest))
                yield _leaf(stem[place], size, angle), ink if side < 0 else mix(ink, palette.ink, 0.18)


def _leaf(base: Points, size: float, angle: float) -> Points:
    along = np.linspace(0, 1, 10)
    edge = 0.2 * np.sin(np.pi * along**0.8)
    blade = np.column_stack([np.r_[along, along[::-1]], np.r_[edge, -edge[::-1]]]) * size
    cosine, sine = np.cos(angle), np.sin(angle)
    return blade @ np.array([[cosine, sine], [-sine, cosine]]) + base


def _rotate(points: Points, turn: float) -> Points:
    cosine, sine = np.cos(turn), np.sin(turn)
    return (points - 0.5) @ np.array([[cosine, sine], [-sine, cosine]]) + 0.5


_MOTIFS: dict[str, Callable[[Palette, Feel, np.random.Generator], Iterator[Shape]]] = {
    "circles": _circles,
    "stripes": _stripes,
    "mountains": _mountains,
    "face": _face,
    "grid": _grid,
    "leaves": _leaves,
}
