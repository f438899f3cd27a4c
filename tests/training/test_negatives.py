"""Triples: a negative was never chosen, is drawn by the law that was asked for, and every pair is passed once."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StepFailed
from pipeline.training.negatives import Chosen, Triples
from tests.logs import of_table

USERS, ITEMS = 50, 40


@pytest.fixture
def chosen() -> np.ndarray:
    """A dense log, with users from nearly none to all but two, in which most draws collide."""
    generator = np.random.default_rng(0)
    table = generator.random((USERS, ITEMS)) < np.linspace(0.05, 0.95, USERS)[:, None]
    table[0] = True
    table[1] = np.arange(ITEMS) >= 2
    return table


@pytest.mark.parametrize("power", [0.0, 0.75])
@pytest.mark.parametrize("bitmap_bytes", [1 << 20, 0])
def test_a_negative_is_never_chosen_and_every_interaction_is_passed_once(
    chosen: np.ndarray, power: float, bitmap_bytes: int
) -> None:
    triples = Triples(of_table(chosen), 64, power, seed=0, bitmap_bytes=bitmap_bytes)
    for _ in range(3):
        batches = list(triples.epoch())
        assert {len(batch.user) for batch in batches[:-1]} == {64}
        user, positive, negative = (
            np.concatenate([getattr(batch, part) for batch in batches]) for part in ("user", "positive", "negative")
        )
        assert user.dtype == positive.dtype == negative.dtype == np.int32
        assert not chosen[user, negative].any()
        passed = np.zeros_like(chosen, dtype=int)
        np.add.at(passed, (user, positive), 1)
        # User 0 chose everything: nothing can rank lower.
        np.testing.assert_array_equal(passed[1:], chosen[1:])
        assert not passed[0].any()
        assert len(user) == len(triples)


def test_bitmap_and_search_agree(chosen: np.ndarray) -> None:
    user, item = (codes.ravel().astype(np.int32) for codes in np.indices(chosen.shape))
    for bitmap_bytes in (0, 1 << 20):
        np.testing.assert_array_equal(Chosen(of_table(chosen), bitmap_bytes)(user, item), chosen.ravel())


@pytest.mark.parametrize("power", [0.0, 1.0, 0.5])
def test_negatives_follow_popularity_to_the_power(power: float) -> None:
    chosen = np.zeros((200, 6), bool)
    for item, often in enumerate((100, 40, 10, 4, 1)):
        chosen[:often, item] = True
    triples = Triples(of_table(chosen), 64, power, seed=0)
    drawn = np.bincount(triples.negatives(np.full(100_000, 199, np.int32)), minlength=6) / 100_000
    popularity = chosen.sum(axis=0)
    expected = np.ones(6) if power == 0 else popularity.astype(float) ** power
    np.testing.assert_allclose(drawn, expected / expected.sum(), atol=0.01)


def test_the_last_resort_draws_by_the_same_law() -> None:
    """One user chose all but the two rarest items, which a thousand draws by popularity would hardly find."""
    chosen = np.ones((3000, 4), bool)
    chosen[3:, 2] = False
    chosen[2:, 3] = False
    chosen[0, 2:] = False
    triples = Triples(of_table(chosen), 64, 1.0, seed=0)
    drawn = triples.negatives(np.zeros(400, np.int32))
    assert set(drawn.tolist()) == {2, 3}
    assert (drawn == 2).mean() == pytest.approx(2 / 3, abs=0.08)


def test_the_same_seed_gives_the_same_triples_and_another_does_not(chosen: np.ndarray) -> None:
    runs = [
        np.concatenate([batch.negative for batch in Triples(of_table(chosen), 64, 0.0, seed).epoch()])
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_log_without_any_negative_is_refused() -> None:
    with pytest.raises(StepFailed, match="nothing to rank lower"):
        Triples(of_table(np.ones((3, 4), bool)), 64, 0.0, seed=0)
