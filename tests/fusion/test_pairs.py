from __future__ import annotations

import numpy as np

from pipeline.fusion.learn import CoChoices, hidden, two_alone
from pipeline.interactions import Interactions
from tests.logs import log_of


def drawn(log: Interactions, window: int, usable: np.ndarray) -> set[frozenset[int]]:
    pairs = CoChoices(log, window, usable).draw(2000, np.random.default_rng(0))
    return {frozenset(pair) for pair in pairs.tolist()}


def test_every_pair_of_one_user_within_the_window_is_drawn_and_no_other() -> None:
    log = log_of([0, 1, 2, 3], [4, 5])
    assert drawn(log, 2, np.ones(10, bool)) == {frozenset(p) for p in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (4, 5))}


def test_items_that_may_not_be_seen_are_in_no_pair() -> None:
    usable = np.ones(10, bool)
    usable[1] = False
    assert drawn(log_of([0, 1, 2], [1, 4]), 1, usable) == {frozenset((0, 2))}


def test_an_item_chosen_twice_is_no_pair_with_itself_and_nothing_gives_nothing() -> None:
    assert drawn(log_of([3, 3]), 5, np.ones(10, bool)) == set()
    assert drawn(log_of([3]), 5, np.ones(10, bool)) == set()


def test_pairs_are_counted_without_listing_them() -> None:
    log = log_of(list(range(10)), [0, 1, 2])
    assert CoChoices(log, 3, np.ones(10, bool)).count == (9 + 8 + 7) + (2 + 1)


def test_hiding_modalities_leaves_every_item_something() -> None:
    mask = np.random.default_rng(1).random((500, 3)) < 0.6
    kept = hidden(mask, 0.7, np.random.default_rng(0))
    assert not (kept & ~mask).any()
    assert (kept.any(axis=1) == mask.any(axis=1)).all()
    assert kept.sum() < mask.sum()


def test_two_modalities_alone_are_two_that_the_item_has() -> None:
    mask = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool).repeat(50, axis=0)
    one, other = two_alone(mask, np.random.default_rng(0))
    for drawn_mask in (one, other):
        assert (drawn_mask.sum(axis=1) == 1).all()
        assert not (drawn_mask & ~mask).any()
    assert not (one & other).any()
