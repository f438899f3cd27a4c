"""The k best are those of a full sort, whatever ties, and ties are broken by a fixed hash."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import top_k as module
from pipeline.evaluation.top_k import tie_break, top_k

MASK = (1 << 64) - 1


def mixed(user: int, item: int) -> int:
    """SplitMix64's finaliser of the pair, in Python's whole numbers (Steele, Lea and Flood 2014)."""
    key = ((user << 32) + item + 0x9E3779B97F4A7C15) & MASK
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & MASK
    return key ^ (key >> 31)


def by_sorting(scores: np.ndarray, k: int, users: np.ndarray, items: np.ndarray) -> list[list[int]]:
    """Columns of each row, by the score and then by the hash of the user's and the item's code."""
    rows = []
    for row, user in zip(scores, users.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda at: (-row[at], mixed(user, int(items[at]))))
        rows.append(order[:k])
    return rows


def test_ties_are_broken_by_the_published_hash() -> None:
    users, items = np.array([0, 1, 7, 2**31 - 1], np.int32), np.array([0, 1, 5, 2**31 - 1])
    keys = tie_break(users[:, None], items[None])
    assert keys.tolist() == [[mixed(user, item) for item in items.tolist()] for user in users.tolist()]
    assert int(tie_break(np.int32(7), np.array([5]))[0]) == mixed(7, 5)


@pytest.mark.parametrize(("m", "levels"), [(1, 1), (7, 3), (60, 1), (60, 5), (300, 40), (1100, 3), (1100, 1 << 20)])
def test_the_k_best_are_the_head_of_a_sort(m: int, levels: int) -> None:
    generator = np.random.default_rng(m + levels)
    scores = (generator.integers(0, levels, (12, m)) - levels // 2).astype(np.float32) / 8
    scores[2, 1:] = scores[3] = -np.inf
    scores[4] = -1 - scores[4]
    users, items = generator.permutation(100)[:12].astype(np.int32), np.sort(generator.permutation(5000)[:m])
    for k in (1, 3, m, m + 5):
        found = top_k(scores.copy(), k, users, items)
        assert found.dtype == np.int64
        assert found.tolist() == by_sorting(scores, k, users, items)


def test_items_are_the_columns_where_nothing_else_is_said() -> None:
    users = np.arange(3, dtype=np.int32)
    assert top_k(np.zeros((3, 9)), 4, users).tolist() == by_sorting(np.zeros((3, 9)), 4, users, np.arange(9))


def test_zero_is_zero_whatever_its_sign() -> None:
    scores = np.where(np.arange(40) % 3 == 0, -0.0, 0.0).astype(np.float32)[None]
    user = np.array([4], np.int32)
    assert top_k(scores, 10, user).tolist() == by_sorting(np.zeros((1, 40)), 10, user, np.arange(40))


def test_scores_are_told_apart_to_their_last_digit() -> None:
    scores = np.float32(1e-12) * np.random.default_rng(0).permutation(50).astype(np.float32)[None]
    found = top_k(scores, 50, np.zeros(1, np.int32))
    assert found.tolist() == [np.argsort(-scores[0]).tolist()]


def test_no_columns_no_list() -> None:
    assert top_k(np.zeros((2, 0), np.float32), 5, np.arange(2, dtype=np.int32)).shape == (2, 0)


def test_a_crowd_is_more_than_eight_contenders_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in which many tie are picked one by one, which costs the more of them there are; few are sorted together."""
    picked: list[int] = []
    pick = module._top_of_row

    def counted(scores: np.ndarray, k: int, user: np.int32, items: np.ndarray) -> np.ndarray:
        picked.append(int(user))
        return pick(scores, k, user, items)

    monkeypatch.setattr(module, "_top_of_row", counted)
    scores = np.zeros((2, 30), np.float32)
    scores[0, :8], scores[1, :9] = 1, 1
    users = np.arange(2, dtype=np.int32)
    assert top_k(scores, 1, users).tolist() == by_sorting(scores, 1, users, np.arange(30))
    assert picked == [1]


@pytest.mark.parametrize(("m", "k", "bound"), [(255, 3, 252), (1023, 1, 1022), (1024, 1, 1023), (5120, 64, 5056)])
def test_the_bound_is_reached_by_at_least_k(m: int, k: int, bound: int) -> None:
    """Columns hold their own number: a group is every 256th, so that the greatest lie in groups of their own."""
    lower = module._lower_bound(np.arange(m, dtype=np.float32)[None], k)
    assert lower.tolist() == [bound]
