"""Nearest items by an index are those of brute force, but for the share that its recall leaves."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.interactions import Floats, unit_rows
from pipeline.recommend import nearest as module
from pipeline.recommend.nearest import RECALL, nearest


def clustered(rows: int, width: int = 16, clusters: int = 40) -> Floats:
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((clusters, width), np.float32)
    noise = generator.standard_normal((rows, width), np.float32)
    return unit_rows(centres[generator.integers(0, clusters, rows)] + 0.7 * noise)


def by_definition(unit: Floats, count: int) -> list[set[int]]:
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return [set(row.tolist()) for row in np.argsort(-cosines, axis=1)[:, :count]]


@pytest.mark.parametrize("rows", [12, 1024, 1025])
def test_a_small_catalogue_is_searched_exactly(rows: int) -> None:
    unit = clustered(rows)
    assert [set(row.tolist()) for row in nearest(unit, 5)] == by_definition(unit, 5)


def test_the_index_takes_over_above_the_limit_and_reaches_its_recall() -> None:
    unit = clustered(4000)
    near = nearest(unit, 10, exact_rows=3999)
    assert near.shape == (4000, 10)
    assert not (near == np.arange(4000)[:, None]).any()
    shares = [len(own & set(row.tolist())) / 10 for own, row in zip(by_definition(unit, 10), near, strict=True)]
    assert RECALL - 0.03 < np.mean(shares) < 1
    assert (nearest(unit, 10, exact_rows=3999) == near).all()
    assert [set(row.tolist()) for row in nearest(unit, 10, exact_rows=4000)] == by_definition(unit, 10)


def test_rows_that_are_all_alike_are_not_their_own_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index then answers with any of them, and a row need not be among its own answers."""
    monkeypatch.setattr(module, "SAMPLE", 4)
    near = nearest(np.tile(clustered(1), (300, 1)), 3, exact_rows=10)
    assert near.shape == (300, 3)
    assert not (near == np.arange(300)[:, None]).any()


def test_where_the_probed_cells_hold_too_few_the_rest_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recall of nothing is reached at once, by the fewest cells."""
    monkeypatch.setattr(module, "RECALL", 0.0)
    monkeypatch.setattr(module, "FEWEST_PROBES", 1)
    near = nearest(clustered(400), 60, exact_rows=10)
    assert (near == -1).any()
    assert (near >= 0).any(axis=1).mean() > 0.9
