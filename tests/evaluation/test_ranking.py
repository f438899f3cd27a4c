"""A re-ordered list comes before all else, in its own order, whatever part of the items is ranked."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from pipeline.evaluation import metrics, ranking
from pipeline.evaluation.ranking import Best, BestOfProducts, InnerProduct, best_of
from pipeline.evaluation.scorers import RandomScorer, Remembered, Reordered, SparseScorer
from pipeline.interactions import Floats, Int32s, Interactions

USERS, ITEMS, LISTED = 40, 6_000, 30


def scorer(width: int) -> InnerProduct:
    generator = np.random.default_rng(width)
    items = generator.standard_normal((ITEMS, width)).astype(np.float32)
    # Few items have long vectors, so that most products are never made.
    items *= np.geomspace(5, 0.05, ITEMS, dtype=np.float32)[:, None]
    return InnerProduct(generator.standard_normal((USERS, width)).astype(np.float32), items)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_lists_are_those_of_the_first_stage_with_their_best_in_another_order(share: float) -> None:
    first, generator = scorer(8), np.random.default_rng(0)
    users = np.arange(0, USERS, 2, dtype=np.int32)
    whole = first(np.arange(USERS, dtype=np.int32))
    lists = np.argsort(-whole[users], axis=1)[:, :LISTED]
    lists = np.take_along_axis(lists, generator.permuted(np.tile(np.arange(LISTED), (len(users), 1)), axis=1), axis=1)
    lists[3, 20:] = -1
    reordered = Reordered(first, users, lists)
    columns = np.flatnonzero(generator.random(ITEMS) < share)
    hidden = np.sort(generator.integers(USERS, size=4000)), generator.integers(len(columns), size=4000)
    everyone = np.arange(USERS, dtype=np.int32)
    codes, scores = best_of(reordered, columns).of(everyone, hidden, 50)
    dense = reordered(everyone)[:, columns]
    dense[hidden] = -np.inf
    np.testing.assert_array_equal(codes, columns[np.argsort(-dense, axis=1, kind="stable")[:, :50]])
    assert (scores > -np.inf).all()
    for row, user in enumerate(users):
        own = [item for item in lists[row] if item >= 0 and item in columns]
        gone = columns[hidden[1][hidden[0] == user]]
        shown = [item for item in own if item not in gone][:50]
        assert codes[user, : len(shown)].tolist() == shown


def test_fewer_items_than_places_leave_places_empty() -> None:
    first = InnerProduct(np.ones((1, 2), np.float32), np.ones((4, 2), np.float32))
    reordered = Reordered(first, np.array([0], np.int32), np.array([[3, 1]]))
    codes, scores = best_of(reordered, np.arange(4)).of(np.array([0], np.int32), (np.array([0]), np.array([1])), 10)
    assert codes[0, 0] == 3
    assert np.isfinite(scores[0]).sum() == 3
    assert set(codes[0, :3].tolist()) == {0, 2, 3}


@pytest.mark.parametrize("head", [1, 3, 8])
def test_lists_by_norm_are_those_of_the_full_product_whatever_is_hidden(
    monkeypatch: pytest.MonkeyPatch, head: int
) -> None:
    monkeypatch.setattr(ranking, "HEAD", head)
    monkeypatch.setattr(ranking, "WIDTH", 2 * head)
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 60)
    monkeypatch.setattr(ranking, "FEWEST_ROWS", 1)
    for seed in range(12):
        generator = np.random.default_rng(seed)
        users, items = (generator.integers(-2, 3, (n, 3)).astype(np.float32) for n in (9, 30))
        users[0] = 0
        # All that a user has no liking for: the best of its scores is below 0.
        users[1], items[:, 0] = [-2, 0, 0], np.abs(items[:, 0]) + 0.5
        items *= 2.0 ** generator.integers(0, 5, (30, 1))
        columns = np.flatnonzero(generator.random(30) < 0.9)
        product, codes = InnerProduct(users, items), generator.permutation(9).astype(np.int32)
        scores = product(codes)[:, columns]
        # The first user of the block has seen nothing; the others what they would like best, and more.
        seen = [np.argsort(-row)[: generator.integers(0, 12)] for row in scores]
        seen[0] = seen[0][:0] if seed % 2 else np.arange(len(columns))[::2]
        hidden = np.repeat(np.arange(9), [len(row) for row in seen]), np.concatenate(seen).astype(np.int64)
        for depth in (1, 4, 40):
            whole, plain = Best(product, columns).of(codes, hidden, depth)
            best = BestOfProducts(product, columns)
            before = best.of(codes, hidden, depth)
            best.let_go()
            lists, found = best.of(codes, hidden, depth)
            np.testing.assert_array_equal(before[0], lists)
            np.testing.assert_array_equal(np.where(found > -np.inf, lists, -1), np.where(plain > -np.inf, whole, -1))
            np.testing.assert_allclose(found, plain, rtol=1e-5)


def test_items_whose_norms_no_bound_reaches_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "HEAD", 16)
    items = np.random.default_rng(0).standard_normal((1_000, 4)).astype(np.float32)
    items *= (2.0 ** -np.arange(1_000))[:, None].astype(np.float32)
    best = BestOfProducts(InnerProduct(items[:3] / items[:3, :1], items), np.arange(1_000))
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
    best.of(np.arange(3, dtype=np.int32), nothing, 2)
    assert best._copied == 16


def test_blocks_of_users_side_by_side_give_the_same_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    monkeypatch.setattr(ranking, "FEWEST_ROWS", 1)
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 7 * ITEMS)
    pairs = np.arange(USERS, dtype=np.int32), generator.integers(0, ITEMS, USERS).astype(np.int32)
    log = Interactions(*pairs, np.zeros(USERS), np.ones(USERS, np.float32), USERS, ITEMS)
    nothing = log.subset(np.zeros(USERS, bool))
    scores = []
    for threads in (1, 3):
        monkeypatch.setattr(metrics, "product_threads", lambda threads=threads: threads)
        scores.append(metrics.rank(scorer(8), metrics.Task(nothing, log), (1000,)))
    np.testing.assert_array_equal(scores[0].users, np.arange(USERS))
    np.testing.assert_array_equal(scores[1].users, np.arange(USERS))
    for name, values in scores[0].values.items():
        np.testing.assert_array_equal(values, scores[1].values[name])


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_lists_of_sparse_scores_are_those_of_all_scores(share: float) -> None:
    generator = np.random.default_rng(3)
    users, hidden_of = np.arange(20, dtype=np.int32), generator.random((20, 60)) < 0.2
    # Some users have fewer positive scores than a list has places; some scores are negative, and many tie.
    dense = generator.integers(-1, 4, (20, 60)) * (generator.random((20, 60)) < np.linspace(0, 1, 20)[:, None])
    dense = dense.astype(np.float32)
    columns = np.flatnonzero(generator.random(60) < share)
    sparse = SparseScorer(lambda rows: sp.csr_matrix(dense)[rows])
    lists = [
        best(scorer, columns).of(users[::-1], np.nonzero(hidden_of[:, columns]), depth)
        for depth in (5, 70)
        for best, scorer in ((best_of, sparse), (Best, lambda rows: dense[rows]))
    ]
    for (codes, scores), (plain, expected) in zip(lists[::2], lists[1::2], strict=True):
        np.testing.assert_array_equal(scores, expected)
        np.testing.assert_array_equal(codes[scores > -np.inf], plain[scores > -np.inf])


def test_random_lists_are_uniform_distinct_and_hold_nothing_hidden() -> None:
    users, columns = np.arange(3000, dtype=np.int32), np.arange(5, 45)
    hidden = np.repeat(users.astype(np.int64), 2), np.tile([0, 7], 3000)
    # A user to whom nearly all is hidden has a list of what is left.
    hidden = np.append(hidden[0], np.zeros(36, np.int64)), np.append(hidden[1], np.delete(np.arange(38), [0, 7]))
    codes, scores = best_of(RandomScorer(0, 50), columns).of(users, hidden, 4)
    assert all(len(set(row)) == 4 for row in codes[1:].tolist())
    assert set(codes[0][scores[0] > -np.inf].tolist()) == {43, 44}
    counts = np.bincount(codes[1:].ravel(), minlength=50)
    assert counts[[*range(5), 5, 12, *range(45, 50)]].sum() == 0
    shown = counts[np.setdiff1d(columns, [5, 12])]
    assert abs(shown - 4 * 2999 / 38).max() < 5 * (4 * 2999 / 38) ** 0.5
    again, _ = best_of(RandomScorer(0, 50), columns).of(users[::-1], (np.zeros(0, int), np.zeros(0, int)), 4)
    other, _ = best_of(RandomScorer(1, 50), columns).of(users[::-1], (np.zeros(0, int), np.zeros(0, int)), 4)
    assert (again != other).mean() > 0.9


@pytest.mark.parametrize(("share", "length"), [(1.0, 20), (0.5, 20), (0.5, 80)])
def test_remembered_lists_are_those_made_anew_whatever_else_is_hidden(share: float, length: int) -> None:
    generator = np.random.default_rng(5)
    users = np.arange(20, dtype=np.int32)
    vectors = InnerProduct(*generator.integers(-2, 3, (2, 60, 3)).astype(np.float32))
    columns = np.flatnonzero(generator.random(60) < share)
    first = generator.random((20, len(columns))) < 0.2
    more, other = first | (generator.random(first.shape) < 0.3), generator.random(first.shape) < 0.2
    remembered = Remembered(vectors, length)
    assert remembered.best(columns) is remembered.best(columns.copy())
    assert remembered.best(columns) is not remembered.best(columns[1:])
    # Begun with some of the users; then less is asked, more is hidden, something is shown again, and all is asked.
    for asked, hidden, depth in (
        (12, first, 10),
        (20, first, 20),
        (20, more, 18),
        (20, other, 10),
        (20, more, 21),
        (20, more, 70),
    ):
        rows = np.nonzero(hidden[:asked])
        codes, scores = remembered.best(columns).of(users[:asked], rows, depth)
        plain, expected = best_of(vectors, columns).of(users[:asked], rows, depth)
        np.testing.assert_array_equal(scores, expected)
        np.testing.assert_array_equal(codes[scores > -np.inf], plain[scores > -np.inf])


def test_remembered_lists_are_made_once() -> None:
    asked: list[int] = []

    def scored(users: Int32s) -> Floats:
        asked.extend(users.tolist())
        return np.tile(np.arange(30, dtype=np.float32), (len(users), 1))

    best, users = Remembered(scored, 10).best(np.arange(30)), np.arange(4, dtype=np.int32)
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for hidden, depth in ((nothing, 5), (nothing, 10), ((np.array([0, 2]), np.array([29, 28])), 9)):
        best.of(users, hidden, depth)
    assert asked == [0, 1, 2, 3]
