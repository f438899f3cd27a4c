from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.sample.ornaments import draw_border
from pipeline.sample.palette import palette_of
from pipeline.sample.tastes import TRAITS

GREYS = tuple((level, level, level) for level in (20, 80, 130, 180, 235))
LENGTH, HEIGHT = 6.0, 60


def _printed(genre: str) -> np.ndarray:
    """The border in five greys, the same for every genre: shape (height, width)."""
    strip = Image.new("L", (round(LENGTH * HEIGHT), HEIGHT), 255)
    pen = ImageDraw.Draw(strip)
    for points, colour in draw_border(genre, GREYS, LENGTH):
        pen.polygon(np.round(points * HEIGHT).astype(int).ravel().tolist(), fill=colour[0])
    return np.asarray(strip, np.float64)


def test_genres_borders_differ_by_their_shapes_alone() -> None:
    for one, other in combinations(TRAITS["genre"], 2):
        assert np.abs(_printed(one) - _printed(other)).mean() > 10, (one, other)


@pytest.mark.parametrize("genre", TRAITS["genre"])
def test_a_border_covers_its_strip_in_the_inks_of_its_genre(genre: str) -> None:
    assert (_printed(genre) < 255).all()
    inks = palette_of(genre, "calm", np.random.default_rng(0)).border
    assert {colour for _, colour in draw_border(genre, inks, LENGTH)} <= set(inks)
