"""What lists are worth is computed as defined, list by list."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from pipeline.evaluation.beyond_accuracy import ListMetrics
from pipeline.interactions import Interactions, unit_rows


def test_novelty_diversity_and_lift_are_their_definitions() -> None:
    generator = np.random.default_rng(0)
    users, items, cutoffs = 6, 12, (1, 3, 5)
    chosen = np.unique(generator.integers(0, [users, items - 3], (20, 2)), axis=0).astype(np.int32)
    n = len(chosen)
    known = Interactions(chosen[:, 0], chosen[:, 1], np.zeros(n), np.full(n, 2, np.float32), users, items)
    vectors = unit_rows(generator.standard_normal((items, 4)).astype(np.float32))
    vectors[5] = np.nan
    asked = np.unique(chosen[:, 0]).astype(np.int32)[:4]
    best = np.stack([generator.permutation(items)[:5] for _ in asked])
    filled = np.arange(5) < np.array([5, 5, 2, 4])[:, None]
    found = ListMetrics(known, asked, vectors, cutoffs)(asked, best, filled)
    share = np.bincount(chosen[:, 1], minlength=items) / users
    usual = np.mean([np.mean(share[chosen[chosen[:, 0] == user, 1]]) for user in asked])
    for k in cutoffs:
        for row in range(len(asked)):
            listed = best[row, :k][filled[row, :k]]
            novelty = np.mean([-math.log2(max(share[item], 1 / users)) for item in listed])
            pairs = list(combinations([item for item in listed if item != 5], 2))
            diversity = np.mean([1 - vectors[i] @ vectors[j] for i, j in pairs]) if pairs else 0
            assert found[f"novelty@{k}"][row] == pytest.approx(novelty)
            assert found[f"diversity@{k}"][row] == pytest.approx(diversity, abs=1e-6)
            assert found[f"popularity_lift@{k}"][row] == pytest.approx(share[listed].mean() / usual)


def test_lists_of_what_users_chose_have_a_lift_of_one() -> None:
    users, items = 5, 10
    pairs = [(user, item) for user in range(users) for item in (user, user + 1, 9)]
    user, item = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    known = Interactions(user, item, np.zeros(len(user)), np.ones(len(user), np.float32), users, items)
    metrics = ListMetrics(known, np.arange(users, dtype=np.int32), np.eye(items, dtype=np.float32), (3,))
    found = metrics(np.arange(users), item.reshape(users, 3).astype(np.int64), np.ones((users, 3), bool))
    assert found["popularity_lift@3"].mean() == pytest.approx(1)
    assert found["diversity@3"] == pytest.approx(1)


def test_without_a_log_nothing_is_known_and_nothing_breaks() -> None:
    nothing = Interactions(*np.zeros((2, 0), np.int32), np.zeros(0), np.zeros(0, np.float32), 2, 3)
    metrics = ListMetrics(nothing, np.zeros(0, np.int32), np.full((3, 2), np.nan, np.float32), (2,))
    found = metrics(np.array([0], np.int32), np.array([[0, 1]]), np.ones((1, 2), bool))
    assert {name: value.tolist() for name, value in found.items()} == {
        "novelty@2": [1.0],
        "diversity@2": [0.0],
        "popularity_lift@2": [0.0],
    }


def test_one_user_with_one_choice_is_all_that_is_usual() -> None:
    one = np.zeros(1, np.int32)
    known = Interactions(one, one, np.zeros(1), np.ones(1, np.float32), 1, 3)
    metrics = ListMetrics(known, one, np.eye(3, dtype=np.float32), (1, 2))
    found = metrics(one, np.array([[0, 2]]), np.ones((1, 2), bool))
    # Of one user, whoever chose it is everybody, and so is nobody, who counts as one.
    assert found["novelty@1"].tolist() == found["novelty@2"].tolist() == [0]
    assert found["popularity_lift@1"].tolist() == [1]
    assert found["popularity_lift@2"].tolist() == [0.5]


def test_a_history_of_one_choice_weighs_as_much_as_one_of_many() -> None:
    user, item = np.array([0, 1, 1, 1], np.int32), np.array([0, 0, 1, 2], np.int32)
    known = Interactions(user, item, np.zeros(4), np.ones(4, np.float32), 2, 3)
    metrics = ListMetrics(known, np.array([0, 1], np.int32), np.eye(3, dtype=np.float32), (1,))
    found = metrics(np.array([0], np.int32), np.array([[1]]), np.ones((1, 1), bool))
    # Shares are 1, ½ and ½: usual is the mean of 1 and of (1 + ½ + ½) / 3.
    assert found["popularity_lift@1"].tolist() == [pytest.approx(0.5 / ((1 + 2 / 3) / 2))]
