"""The coded log keeps its order, and the decayed mean is the weighted mean it says it is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.interactions import Interactions, decayed_mean


def log(rows: list[tuple[int, int, float, float]], n_users: int = 3, n_items: int = 4) -> Interactions:
    user, item, age, weight = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        user.astype(np.int32), item.astype(np.int32), age.astype(float), weight.astype(np.float32), n_users, n_items
    )


def test_decayed_mean_halves_with_every_half_life() -> None:
    vectors = np.eye(4, dtype=np.float32)
    users = decayed_mean(vectors, log([(0, 0, 20, 1), (0, 1, 10, 1), (0, 2, 0, 2)]), half_life_days=10)
    expected = np.array([0.25, 0.5, 2, 0]) / np.linalg.norm([0.25, 0.5, 2, 0])
    np.testing.assert_allclose(users[0], expected, rtol=1e-6)
    assert not users[1:].any()


def test_a_user_last_seen_thousands_of_half_lives_ago_keeps_a_vector() -> None:
    users = decayed_mean(np.eye(4, dtype=np.float32), log([(1, 3, 50_000, 1)]), half_life_days=1)
    np.testing.assert_array_equal(users[1], [0, 0, 0, 1])


def test_concat_sorts_by_user_then_oldest_first_then_item() -> None:
    both = log([(0, 1, 5, 1), (2, 2, 5, 1)]).concat(log([(0, 0, 9, 1), (0, 3, 5, 1), (0, 2, 5, 1)]))
    assert both.user.tolist() == [0, 0, 0, 0, 2]
    assert both.item.tolist() == [0, 1, 2, 3, 2]
    assert both.offsets().tolist() == [0, 4, 4, 5]


def test_logs_of_different_codes_do_not_join() -> None:
    with pytest.raises(ValueError, match="coded differently"):
        log([(0, 0, 0, 1)]).concat(log([(0, 0, 0, 1)], n_items=9))


def test_matrix_adds_up_repeats() -> None:
    matrix = log([(0, 1, 2, 1), (0, 1, 1, 3)]).matrix()
    assert matrix[0, 1] == 4
    assert matrix.nnz == 1


def test_a_sample_of_users_holds_all_that_they_chose_and_changes_with_the_seed_alone() -> None:
    user = np.repeat(np.arange(0, 40, 2, dtype=np.int32), 3)
    log = Interactions(user, np.tile(np.arange(3, dtype=np.int32), 20), np.zeros(60), np.ones(60, np.float32), 40, 3)
    assert log.sample_users(20, 0) is log
    samples = [log.sample_users(5, seed) for seed in (0, 0, 1)]
    for sample in samples:
        assert len(np.unique(sample.user)) == 5
        assert len(sample) == 15
        assert (sample.n_users, sample.n_items) == (40, 3)
    assert samples[0].user.tolist() == samples[1].user.tolist() != samples[2].user.tolist()
