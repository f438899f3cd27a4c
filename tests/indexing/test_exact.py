"""Exact search against its definition, and what counts as right."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.indexing.clusters import Indexed
from pipeline.indexing.exact import Queries, best_places, recalls


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("of_queries", [2, 512])
def test_the_best_places_are_those_of_the_product(block: int, of_queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.indexing.clusters.BLOCK_ROWS", block)
    monkeypatch.setattr("pipeline.indexing.exact.BLOCK_QUERIES", of_queries)
    random = np.random.default_rng(0)
    vectors, users = random.standard_normal((90, 6)).astype("f4"), random.standard_normal((5, 6)).astype("f4")
    rows = np.arange(10, 90, 2)
    taken = [np.zeros(0, np.int64), np.array([3]), np.array([39, 0, 3]), np.arange(38), np.arange(40)]
    items = Indexed(vectors, rows)
    places, scores = best_places(items, Queries(users, taken), 5)
    for user, own, found, best in zip(users, taken, places, scores, strict=True):
        products = vectors[rows] @ user
        left = [place for place in np.argsort(-products).tolist() if place not in own][:5]
        assert found.tolist() == left + [-1] * (5 - len(left))
        np.testing.assert_allclose(best[: len(left)], products[left], rtol=1e-5)
        assert np.isneginf(best[len(left) :]).all()


def test_small_scores_are_held_apart_as_large_ones_are() -> None:
    items = Indexed(np.linspace(1e-6, 1e-4, 100, dtype=np.float32)[:, None], np.arange(100))
    queries = Queries(np.ones((1, 1), np.float32), [np.zeros(0, np.int64)])
    places, best = best_places(items, queries, 10)
    assert recalls(items, queries, best, places).tolist() == [1]
    assert recalls(items, queries, best, places - 10).tolist() == [0]


def test_of_equal_items_any_is_right_and_nothing_else_is() -> None:
    items = Indexed(np.array([[3.0], [2], [2], [2], [1]], np.float32), np.arange(5))
    queries = Queries(np.ones((5, 1), np.float32), [np.zeros(0, np.int64)] * 4 + [np.arange(4)])
    _, best = best_places(items, queries, 2)
    answers = np.array([[0, 1], [0, 3], [0, 4], [-1, -1], [4, -1]])
    assert recalls(items, queries, best, answers).tolist() == [1, 1, 0.5, 0, 1]
    nobody = Queries(queries.vectors[:1], [np.arange(5)])
    assert recalls(items, nobody, best_places(items, nobody, 2)[1], np.array([[-1, -1]])).tolist() == [1]
