from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fusion.shapley import shapley, shares_of_itself, subsets


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_values_are_the_mean_over_every_order_of_coming_and_add_up(count: int, seed: int) -> None:
    players = list(range(count))
    rng = np.random.default_rng(seed)
    game = {chosen: rng.standard_normal(2) for chosen in subsets(players)}
    found = shapley(players, game)
    orders = list(permutations(players))
    for player in players:
        gains = [
            game[frozenset(order[: order.index(player) + 1])] - game[frozenset(order[: order.index(player)])]
            for order in orders
        ]
        np.testing.assert_allclose(found[player], np.mean(gains, axis=0), atol=1e-9)
    np.testing.assert_allclose(sum(found.values()), game[frozenset(players)] - game[frozenset()], atol=1e-9)


def test_a_modality_that_adds_nothing_counts_nothing_and_equals_share_equally() -> None:
    game = {chosen: np.array(float(len(chosen - {2}))) for chosen in subsets([0, 1, 2])}
    found = shapley([0, 1, 2], game)
    assert [float(found[player]) for player in (0, 1, 2)] == pytest.approx([1, 1, 0])


def test_shares_of_an_items_own_vector_sum_to_one_and_leave_out_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    sides = rng.standard_normal((5, 3, 8)).astype(np.float32)
    mask = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], bool)

    def fuse(keep: np.ndarray) -> np.ndarray:
        summed = (sides * keep[..., None]).sum(axis=1)
        norm = np.linalg.norm(summed, axis=1, keepdims=True)
        return np.where(norm > 0, summed / np.maximum(norm, 1e-9), np.nan).astype(np.float32)

    shares = shares_of_itself(fuse, fuse(mask), mask)
    np.testing.assert_allclose(shares.sum(axis=1), mask.any(axis=1), atol=1e-5)
    assert np.abs(shares[~mask]).max() < 1e-6
