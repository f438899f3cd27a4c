"""Intervals behave as intervals should, and a difference is told from chance as often as it may be."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from pipeline.evaluation import significance as intervals
from pipeline.evaluation.metrics import Scores
from pipeline.evaluation.significance import compare, summarise


def test_intervals_hold_the_mean_and_shrink_with_users_and_repeat_with_the_seed() -> None:
    widths = []
    for n_users in (50, 5000):
        generator = np.random.default_rng(1)
        scores = Scores(np.arange(n_users, dtype=np.int32), {"ndcg@10": generator.random(n_users)})
        row = summarise(scores, 500, seed=3)["ndcg@10"]
        assert row["low"] < row["mean"] < row["high"]
        assert row["users"] == n_users
        assert summarise(scores, 500, seed=3)["ndcg@10"] == row
        widths.append(row["high"] - row["low"])
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.25)
    # The spread of a mean of n uniform numbers is known.
    assert widths[1] == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / 5000), rel=0.15)


def test_draws_are_the_same_whether_they_are_kept_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Scores(np.arange(300, dtype=np.int32), {"ndcg@10": np.random.default_rng(0).random(300)})
    kept = summarise(scores, 200, seed=1)
    monkeypatch.setattr(intervals, "KEPT_DRAWS", 0)
    monkeypatch.setattr(intervals, "BLOCK_DRAWS", 7 * 300)
    assert summarise(scores, 200, seed=1)["ndcg@10"] == pytest.approx(kept["ndcg@10"])


@pytest.mark.parametrize("users", [1, 2])
def test_few_users_break_nothing(users: int) -> None:
    values = np.linspace(0.2, 0.4, users)
    row = summarise(Scores(np.arange(users, dtype=np.int32), {"ndcg@10": values}), 50, 0)["ndcg@10"]
    assert row["low"] <= row["mean"] <= row["high"]
    # One sign of two or four cannot be a surprise.
    assert compare({"a": values}, np.zeros(users), 200, 0)["a"]["p"] >= 0.4


def test_no_users_means_no_numbers() -> None:
    assert summarise(Scores(np.zeros(0, np.int32), {"ndcg@10": np.zeros(0)}, {"coverage@10": 0.0}), 10, 0) == {}


def test_p_is_the_share_of_all_sign_flips_that_reach_what_was_seen() -> None:
    difference = np.array([0.3, 0.1, -0.05, 0.2, 0.0, 0.15, 0.1, -0.1])
    flips = np.array([np.dot(signs, difference) for signs in product((-1, 1), repeat=len(difference))])
    exact = np.mean(np.abs(flips) >= abs(difference.sum()) - 1e-12)
    found = compare({"a": difference + 0.5}, np.full(8, 0.5), 20_000, 0)["a"]["p"]
    assert found == pytest.approx(exact, abs=0.01)


def test_equal_models_are_rarely_told_apart_and_a_better_one_is() -> None:
    generator = np.random.default_rng(0)
    ps = []
    for seed in range(200):
        one, other = generator.random((2, 60))
        ps.append(compare({"a": one}, other, 200, seed)["a"]["p"])
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.04)
    baseline = generator.random(400)
    better = baseline + generator.normal(0.05, 0.1, 400)
    told = compare({"better": better, "same": baseline}, baseline, 1000, 0)
    assert told["better"]["p"] < 0.01
    assert 0 < told["better"]["low"] < told["better"]["mean"] < told["better"]["high"]
    assert told["same"] == {"mean": 0, "low": 0, "high": 0, "p": 1, "users": 400}


def test_an_interval_is_from_the_2_5th_to_the_97_5th_percentile_of_the_means_of_resamples() -> None:
    values, samples = np.random.default_rng(3).random((37, 2)), 240
    scores = Scores(np.arange(37, dtype=np.int32), {"recall@5": values[:, 0], "mrr@5": values[:, 1]})
    generator = np.random.default_rng(7)
    means = [values[generator.integers(0, 37, 37)].mean(axis=0) for _ in range(samples)]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    found = summarise(scores, samples, seed=7)
    for at, name in enumerate(("recall@5", "mrr@5")):
        assert found[name] == {
            "mean": pytest.approx(values[:, at].mean()),
            "low": pytest.approx(low[at]),
            "high": pytest.approx(high[at]),
            "users": 37,
        }


def test_coverage_has_a_mean_and_no_interval() -> None:
    scores = Scores(np.arange(3, dtype=np.int32), {"ndcg@10": np.ones(3)}, {"coverage@10": 0.25})
    assert summarise(scores, 20, 0)["coverage@10"] == {"mean": 0.25, "users": 3}


def differences(users: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(2)
    return {"a": generator.normal(0.2, 1, users), "b": generator.normal(-0.3, 1, users), "even": np.zeros(users)}


@pytest.mark.parametrize("users", [3, 8, 9, 20])
def test_p_counts_random_signs_of_every_user(users: int) -> None:
    samples, models = 300, differences(users)
    found = compare(models, np.zeros(users), samples, seed=5)
    bits = np.random.default_rng(5).integers(0, 256, (samples, -(-users // 8)), dtype=np.uint8)
    signs = 1 - 2 * np.array([[int(bit) for byte in row for bit in f"{byte:08b}"][:users] for row in bits])
    for name, difference in models.items():
        flips = np.abs((signs * difference).sum(axis=1))
        reached = int((flips >= abs(difference.sum()) - 1e-9).sum())
        assert found[name]["p"] == pytest.approx((1 + reached) / (1 + samples))
        assert found[name] == pytest.approx(compare({name: difference}, np.zeros(users), samples, seed=5)[name])


def test_signs_drawn_in_several_blocks_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    models = differences(20)
    whole = compare(models, np.zeros(20), 2000, seed=5)
    monkeypatch.setattr(intervals, "BLOCK_DRAWS", 300 * 20)
    blocks = compare(models, np.zeros(20), 2000, seed=5)
    assert blocks["even"]["p"] == 1
    for name in models:
        assert blocks[name]["p"] == pytest.approx(whole[name]["p"], abs=0.05)
        assert blocks[name]["low"] == pytest.approx(whole[name]["low"])


def test_a_difference_is_told_from_rounding_by_its_own_size() -> None:
    small = np.array([0.3, 0.1, -0.05, 0.2, 0.02, 0.15, 0.1, -0.1]) * 1e-6
    alone = compare({"small": small}, np.zeros(8), 500, 0)["small"]["p"]
    assert compare({"small": small, "large": small * 1e15}, np.zeros(8), 500, 0)["small"]["p"] == alone < 1
    # Signs that give the sum itself reach it, whatever the order that it is added up in.
    thirds = np.full(8, 1e6 / 3)
    assert compare({"a": thirds}, np.zeros(8), 4000, 0)["a"]["p"] == pytest.approx(2 / 256, abs=0.004)
