"""The printed border of each genre, as coloured polygons in a strip one unit high (y downwards), painted in order.

Every genre repeats one ornament of its own in its own inks, whatever the motif, the mood and the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.sample.motifs import Points, Shape, disc
from pipeline.sample.palette import Colour

Inks = tuple[Colour, ...]


def draw_border(genre: str, inks: Inks, length: float) -> list[Shape]:
    """The shapes of a strip `length` units long, the ground first; points are float64, shape (corners, 2).

    inks: dark, main, second, accent and light, as `Palette.border` has them.
    """
    return [(_box(0, 0, length, 1), inks[_GROUNDS[genre]]), *_BORDERS[genre](inks, length)]


def _folk(inks: Inks, length: float) -> Iterator[Shape]:
    """Cross-stitch: lozenges between two rows of crosses."""
    for x in np.arange(0.5, length + 0.5, 1.0):
        yield _lozenge(x, 0.5, 0.4), inks[3]
        yield _lozenge(x, 0.5, 0.24), inks[2]
        yield _lozenge(x, 0.5, 0.1), inks[0]
    for x in np.arange(0.0, length + 0.25, 0.25):
        for y in (0.1, 0.9):
            for lean in (-0.08, 0.08):
                stitch = np.array([[-lean - 0.02, -0.08], [-lean + 0.02, -0.08], [lean, 0.08]])
                yield stitch + np.array([x, y]), inks[1]


def _jazz(inks: Inks, length: float) -> Iterator[Shape]:
    """Syncopated blades, long and short, from above and below."""
    for place, x in enumerate(np.arange(0, length, 0.3)):
        reach = (0.95, 0.55, 0.75, 0.4)[place % 4]
        yield np.array([[x, 0.0], [x + 0.28, 0.0], [x + 0.22, reach]]), inks[(1, 3, 2)[place % 3]]
        yield np.array([[x + 0.15, 1.0], [x + 0.38, 1.0], [x + 0.3, reach - 0.15]]), inks[4]


def _soul(inks: Inks, length: float) -> Iterator[Shape]:
    """Rising suns, side by side."""
    for x in np.arange(0.75, length + 0.75, 1.5):
        for ray in np.linspace(-np.pi, 0, 10)[:-1]:
            edge = np.array([[np.cos(ray), np.sin(ray)], [np.cos(ray + 0.18), np.sin(ray + 0.18)]])
            yield np.vstack([[[x, 1.0]], [x, 1.0] + edge * [0.74, 0.95]]), inks[3]
        yield disc(x, 1.0, 0.42), inks[2]
        yield disc(x, 1.0, 0.24), inks[4]


def _reggae(inks: Inks, length: float) -> Iterator[Shape]:
    """Three bands, red over gold over green."""
    for place, ink in enumerate((3, 2, 1)):
        yield _box(0, 0.06 + 0.3 * place, length, 0.28), inks[ink]


def _rock(inks: Inks, length: float) -> Iterator[Shape]:
    """Lightning, and the shards between."""
    bolt = np.array([[0.45, 0.0], [0.1, 0.58], [0.36, 0.5], [0.2, 1.0], [0.72, 0.36], [0.44, 0.42], [0.68, 0.0]])
    shard = np.array([[0.75, 1.0], [1.0, 0.45], [1.02, 1.0]])
    for place, x in enumerate(np.arange(0, length, 0.9)):
        across = np.array([x, 0.0])
        yield bolt + across, inks[1 if place % 2 else 3]
        yield shard + across, inks[2]


def _electronic(inks: Inks, length: float) -> Iterator[Shape]:
    """Columns of lamps, as a level meter has them."""
    for place, x in enumerate(np.arange(0.04, length, 0.26)):
        lit = (2, 5, 3, 6, 4, 1, 5, 3, 2)[place % 9]
        for lamp in range(lit):
            yield _box(x, 0.85 - 0.15 * lamp, 0.2, 0.1), inks[3 if lamp > 3 else 2]


def _samba(inks: Inks, length: float) -> Iterator[Shape]:
    """The waves of a promenade paved in two stones, and a coral one."""
    x = np.linspace(0, length, round(24 * length))
    wave = 0.16 * np.sin(2 * np.pi * x / 1.1)
    for place, ink in enumerate((1, 3, 2)):
        top, thick = 0.1 + 0.3 * place, 0.17
        yield np.column_stack([np.r_[x, x[::-1]], np.r_[top + wave, top + thick + wave[::-1]]]), inks[ink]


def _minimal(inks: Inks, length: float) -> Iterator[Shape]:
    """A hairline and one dot."""
    yield _box(0, 0.48, length, 0.03), inks[0]
    yield disc(0.62 * length, 0.495, 0.13), inks[0]


def _box(x: float, y: float, width: float, height: float) -> Points:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def _lozenge(x: float, y: float, reach: float) -> Points:
    return np.array([[x - reach, y], [x, y - reach], [x + reach, y], [x, y + reach]])


# genre -> which ink is behind its ornament
_GROUNDS = {"folk": 4, "jazz": 0, "soul": 1, "reggae": 0, "rock": 0, "electronic": 0, "samba": 4, "minimal": 4}
_BORDERS: dict[str, Callable[[Inks, float], Iterator[Shape]]] = {
    "folk": _folk,
    "jazz": _jazz,
    "soul": _soul,
    "reggae": _reggae,
    "rock": _rock,
    "electronic": _electronic,
    "samba": _samba,
    "minimal": _minimal,
}
