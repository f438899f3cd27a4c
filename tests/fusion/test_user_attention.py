"""What attention over histories promises: it starts as the decayed mean, learns from training alone, repeatably."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ShardCorrupt
from pipeline.fusion.user_attention import HistoryAttention, fit, pool
from pipeline.interactions import Floats, Interactions, decayed_mean, unit_rows
from pipeline.training.context import Context

ITEMS, WIDTH, USERS, LENGTH = 300, 12, 160, 12
HALF_LIFE = 50.0


def vectors(seed: int = 0) -> Floats:
    """Unit vectors around six directions; the first three items have none."""
    generator = np.random.default_rng(seed)
    centres = 2.5 * np.eye(6, WIDTH)[np.arange(ITEMS) % 6]
    found = unit_rows((centres + 0.5 * generator.standard_normal((ITEMS, WIDTH))).astype(np.float32))
    found[:3] = 0
    return found


def log_of(rows: list[tuple[int, int, float]], weight: float = 1) -> Interactions:
    user, item, age = (np.array(column) for column in zip(*rows, strict=True))
    order = np.lexsort((item, -age, user))
    weights = np.full(len(rows), weight, np.float32)
    return Interactions(user[order].astype(np.int32), item[order].astype(np.int32), age[order], weights, USERS, ITEMS)


def drifting(seed: int = 0) -> Interactions:
    """Users who take to another direction halfway, all within days: age says nothing of it, the order does."""
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        first, second = generator.permutation(6)[:2]
        for step in range(LENGTH):
            liked = np.flatnonzero(np.arange(ITEMS) % 6 == (first if step < LENGTH // 2 else second))
            rows.append((user, int(generator.choice(liked)), (LENGTH - step) / 24))
    return log_of(rows)


def test_it_starts_as_the_decayed_mean_whatever_the_length_weights_and_ties_of_a_history() -> None:
    generator = np.random.default_rng(1)
    sizes = [0, 1, 2, 7, 300]
    rows = [
        (user, int(item), float(age))
        for user, size in enumerate(sizes)
        for item, age in zip(generator.integers(0, ITEMS, size), generator.integers(0, 200, size), strict=True)
    ]
    log = log_of(rows)
    weighted = Interactions(
        log.user, log.item, log.age_days, 0.5 + generator.random(len(log)).astype(np.float32), USERS, ITEMS
    )
    for history in (log, weighted):
        found = pool(HistoryAttention(HALF_LIFE), vectors(), history)
        np.testing.assert_allclose(found, decayed_mean(vectors(), history, HALF_LIFE), atol=1e-5)


def test_on_held_out_users_it_is_never_worse_than_the_mean_and_better_where_taste_moves() -> None:
    fitted = fit(vectors(), drifting(), HALF_LIFE, Context())
    assert fitted.epoch > 0
    assert fitted.best > 1.1 * fitted.mean
    generator = np.random.default_rng(2)
    aimless = log_of([(u, int(generator.integers(ITEMS)), float(s)) for u in range(USERS) for s in range(5)])
    unlearned = fit(vectors(), aimless, HALF_LIFE, Context())
    assert unlearned.best >= unlearned.mean


def test_the_latest_choices_come_to_count_more_where_taste_moves() -> None:
    """Two choices of one direction and then two of another: the learned vector lies nearer the latter."""
    attention = fit(vectors(), drifting(), HALF_LIFE, Context()).attention
    history = log_of([(0, 6, 0.4), (0, 12, 0.3), (0, 7, 0.2), (0, 13, 0.1)])
    learned, mean = pool(attention, vectors(), history)[0], decayed_mean(vectors(), history, HALF_LIFE)[0]
    assert learned @ vectors()[19] > mean @ vectors()[19] + 0.1


def test_the_same_seed_gives_the_same_numbers_whatever_else_ran_and_another_seed_others() -> None:
    found = []
    for seed in (0, 0, 1):
        attention = fit(vectors(), drifting(), HALF_LIFE, Context(seed)).attention
        found.append([value.item() for value in attention.parameters()])
        torch.rand(5)
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_an_item_without_a_vector_and_a_user_without_a_history_count_for_nothing() -> None:
    attention = fit(vectors(), drifting(), HALF_LIFE, Context()).attention
    plain = log_of([(0, 9, 2.0), (0, 10, 1.0)])
    blank = log_of([(0, 9, 2.0), (0, 10, 1.0), (0, 1, 0.5), (1, 2, 0.0)])
    users = pool(attention, vectors(), blank)
    np.testing.assert_array_equal(users[0], pool(attention, vectors(), plain)[0])
    assert not users[1:].any()
    np.testing.assert_allclose(np.linalg.norm(users[0]), 1, atol=1e-5)


def test_a_log_too_short_to_hold_anyone_out_leaves_the_mean() -> None:
    fitted = fit(vectors(), log_of([(0, 9, 2.0), (0, 10, 1.0), (1, 11, 1.0)]), HALF_LIFE, Context())
    assert (fitted.epoch, fitted.best) == (0, 0.0)
    history = log_of([(0, 9, 2.0), (0, 10, 1.0)])
    mean = decayed_mean(vectors(), history, HALF_LIFE)
    np.testing.assert_allclose(pool(fitted.attention, vectors(), history), mean, atol=1e-6)


def test_what_was_saved_is_read_again_and_anything_else_is_one_sentence(tmp_path: Path) -> None:
    attention = fit(vectors(), drifting(), HALF_LIFE, Context()).attention
    attention.save(tmp_path / "users.safetensors")
    again = HistoryAttention.load(tmp_path / "users.safetensors")
    assert again.half_life_days == HALF_LIFE
    np.testing.assert_array_equal(pool(again, vectors(), drifting()), pool(attention, vectors(), drifting()))
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    for name in ("broken.safetensors", "absent.safetensors"):
        with pytest.raises(ShardCorrupt, match=r"no attention over histories .* run the night again") as caught:
            HistoryAttention.load(tmp_path / name)
        assert "\n" not in str(caught.value)
