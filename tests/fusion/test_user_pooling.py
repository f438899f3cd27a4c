from __future__ import annotations

import numpy as np
import pytest

from pipeline.fusion import user_pooling
from pipeline.fusion.user_attention import HistoryAttention
from pipeline.fusion.user_pooling import Pooling
from pipeline.interactions import Interactions, unit_rows

ITEMS = unit_rows(np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32))
# Users 0 and 1 have a history, 2 has none; 0 and 2 have a profile.
LOG = Interactions(
    np.array([0, 0, 1], np.int32), np.array([1, 2, 3], np.int32), np.array([5.0, 0, 0]), np.ones(3, np.float32), 3, 6
)
PROFILES = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]], np.float32)


def test_a_profile_has_its_share_of_the_users_vector_and_none_at_weight_zero() -> None:
    history = Pooling(180).users(ITEMS, LOG)
    mixed = Pooling(180, None, PROFILES, 0.3).users(ITEMS, LOG)
    np.testing.assert_allclose(mixed[0], unit_rows(0.7 * history[:1] + 0.3 * PROFILES[:1])[0], atol=1e-6)
    np.testing.assert_array_equal(mixed[1], history[1])
    np.testing.assert_array_equal(Pooling(180, None, PROFILES, 0.0).users(ITEMS, LOG), history)


def test_a_profile_alone_is_all_of_a_user_unless_profiles_count_for_nothing() -> None:
    without = ITEMS.copy()
    without[[1, 2]] = 0
    for attention in (None, HistoryAttention(180)):
        np.testing.assert_array_equal(Pooling(180, attention, PROFILES, 0.5).users(ITEMS, LOG)[2], PROFILES[2])
        np.testing.assert_array_equal(Pooling(180, attention, PROFILES, 0.5).users(without, LOG)[0], PROFILES[0])
        assert not Pooling(180, attention, PROFILES, 0.0).users(ITEMS, LOG)[2].any()


def test_every_vector_has_unit_norm() -> None:
    for attention in (None, HistoryAttention(180)):
        users = Pooling(180, attention, PROFILES, 0.5).users(ITEMS, LOG)
        np.testing.assert_allclose(np.linalg.norm(users[:2], axis=1), 1, atol=1e-5)


def test_a_users_vector_rests_on_the_history_given_and_nothing_later() -> None:
    attention = HistoryAttention(180)
    attention.rest.data.fill_(-1.0)
    earlier = LOG.subset(LOG.age_days > 1)
    for pooling in (Pooling(180, None, PROFILES, 0.2), Pooling(180, attention, PROFILES, 0.2)):
        others = LOG.subset((LOG.age_days > 1) | (LOG.user == 1))
        np.testing.assert_allclose(pooling.users(ITEMS, earlier)[0], pooling.users(ITEMS, others)[0], atol=1e-6)
        assert not np.allclose(pooling.users(ITEMS, earlier)[0], pooling.users(ITEMS, LOG)[0])


def test_some_users_at_a_time_are_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_pooling, "BLOCK_ROWS", 2)
    for attention in (None, HistoryAttention(180)):
        pooling = Pooling(180, attention, PROFILES, 0.3)
        ranges, vectors = zip(*pooling.blocks(ITEMS, LOG), strict=True)
        assert [len(users) for users in ranges] == [len(block) for block in vectors] == [1, 2]
        np.testing.assert_allclose(np.concatenate(vectors), pooling.users(ITEMS, LOG), atol=1e-6)
    nobody = LOG.of_users(range(0))
    assert [(users, block.shape) for users, block in Pooling(180).blocks(ITEMS, nobody)] == [(range(0), (0, 4))]
