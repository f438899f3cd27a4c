"""The page is small whatever it is of: pictures, points and words are bounded, and the bounds bind."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report import RunFiles, gather, render
from pipeline.report.item_map import MAX_ATTRIBUTES, MAX_POINTS
from pipeline.report.items import MAX_ATTRIBUTE_LETTERS
from pipeline.report.pictures import CARD, DOT, EXAMPLE, Format, Size, Studio

MOST_BYTES = 3_000_000
ITEMS = MAX_POINTS + 100


def noise(path: Path) -> None:
    """A picture that compresses badly."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=95)


def test_a_large_catalogue_of_long_titles_and_noisy_pictures_stays_below_three_megabytes(
    write_run: Callable[..., RunFiles],
) -> None:
    words = {f"column {place}": ["标题" * 200] * ITEMS for place in range(10)}
    titles = dict.fromkeys(range(ITEMS), "很长的标题" * 100)
    run = write_run(items=ITEMS, titles=titles, columns={"image": ["noise.jpg"] * ITEMS, **words})
    noise(run.media_root / "noise.jpg")
    report = gather(run)
    page = render(report)
    assert len(page.encode()) < MOST_BYTES
    points = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["map"]["points"]
    assert len(points) == MAX_POINTS < report.map.mappable
    pictures = [len(point["picture"]) for point in points]
    assert DOT.most_bytes - max(pictures) < sum(pictures) <= DOT.most_bytes
    assert 0 in pictures
    assert {len(point["title"]) for point in points} == {MAX_ATTRIBUTE_LETTERS}
    assert {len(point["attributes"]) for point in points} == {MAX_ATTRIBUTES}
    cards = [len(picture) for picture in re.findall(r'<img src="(data:[^"]*)"', page)]
    assert 0.5 * CARD.most_bytes < sum(cards) <= CARD.most_bytes + EXAMPLE.most_bytes


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    noise(tmp_path / "noise.jpg")
    return Studio(tmp_path)


def test_pictures_are_as_large_as_their_bytes_allow(studio: Studio) -> None:
    sizes = (Size(90, 70), Size(60, 70), Size(30, 70))
    items = {f"i{number}": ("A Title", "noise.jpg") for number in range(4)}
    whole = Format(sizes, 10**9)
    (one,) = {len(tile.picture) for tile in studio.tiles(items, whole).values()}
    (two,) = {len(tile.picture) for tile in studio.tiles(items, replace(whole, most_bytes=4 * one - 1)).values()}
    assert widths(studio, items, replace(whole, most_bytes=4 * one)) == [90] * 4
    assert widths(studio, items, replace(whole, most_bytes=4 * one - 1)) == [60] * 4
    assert widths(studio, items, replace(whole, most_bytes=3 * two)) == [30] * 4
    assert widths(studio, items, replace(whole, sizes=sizes[:2], most_bytes=3 * two)) == [60, 60, 60, 0]
    assert widths(studio, items, replace(whole, most_bytes=4 * one), {"i0": 5, "i1": 0, "i2": 0, "i3": 0})[0] == 60


def widths(
    studio: Studio, items: dict[str, tuple[str, str]], form: Format, uses: dict[str, int] | None = None
) -> list[int]:
    """Of each item's picture, 0 for a placeholder."""
    from base64 import b64decode

    tiles = studio.tiles(items, form, uses).values()
    files = [b64decode(tile.picture.partition(",")[2]) for tile in tiles]
    return [Image.open(io.BytesIO(data)).width if data else 0 for data in files]
