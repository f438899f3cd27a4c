"""Metrics agree with their definitions, ties and all, and bootstrap intervals behave as intervals should."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StepFailed
from pipeline.evaluation import metrics
from pipeline.evaluation import ranking as lists
from pipeline.evaluation.metrics import Task, inner_product, rank
from pipeline.evaluation.top_k import tie_break, top_k
from pipeline.interactions import Interactions

CUTOFFS = (1, 3, 10)


@pytest.fixture
def ranx(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The library, run as plain Python: compiling it takes longer than all that is asked of it."""
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    return pytest.importorskip("ranx", reason="ranx is not installed; it comes with the extra `dev`")


def log_of(pairs: set[tuple[int, int]], n_users: int, n_items: int) -> Interactions:
    ordered = sorted(pairs)
    user, item = (np.array([pair[i] for pair in ordered], np.int32) for i in (0, 1))
    ones = np.ones(len(ordered), np.float32)
    return Interactions(user, item, np.zeros(len(ordered)), ones, n_users, n_items)


def by_definition(ranked: list[int], targets: set[int], k: int) -> dict[str, float]:
    top = ranked[:k]
    ranks = [place for place, item in enumerate(top, start=1) if item in targets]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(targets)) + 1))
    return {
        f"recall@{k}": len(ranks) / len(targets),
        f"ndcg@{k}": sum(1 / math.log2(place + 1) for place in ranks) / ideal,
        f"hitrate@{k}": float(bool(ranks)),
        f"mrr@{k}": 1 / ranks[0] if ranks else 0.0,
    }


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Task]:
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(1, 14))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Small whole numbers make most scores tie.
    users = generator.integers(-1, 2, (n_users, 2)).astype(np.float32)
    items = generator.integers(-1, 2, (n_items, 2)).astype(np.float32)
    pairs = st.sets(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1)), max_size=20)
    candidates = draw(st.none() | st.lists(st.booleans(), min_size=n_items, max_size=n_items))
    task = Task(
        log_of(draw(pairs), n_users, n_items),
        log_of(draw(pairs), n_users, n_items),
        None if candidates is None else np.array(candidates, bool),
    )
    return users, items, task


@settings(max_examples=200, deadline=None)
@given(problems(), st.sampled_from([1, 16, 4_000_000]), st.booleans())
def test_metrics_are_their_definitions_whatever_the_ties_and_the_block(
    problem: tuple[np.ndarray, np.ndarray, Task], block: int, by_norm: bool
) -> None:
    users, items, task = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "BLOCK_SCORES", block)
        patch.setattr(lists, "FEWEST_ROWS", 1)
        if by_norm:
            patch.setattr(metrics, "best_of", lists.BestOfProducts)
        found = rank(inner_product(users, items), task, CUTOFFS)
    rows: dict[int, dict[str, float]] = {}
    shown: dict[int, set[int]] = {k: set() for k in CUTOFFS}
    ranked_items = [i for i in range(len(items)) if task.candidates is None or task.candidates[i]]
    for user in range(len(users)):
        seen = {int(i) for u, i in zip(task.history.user, task.history.item, strict=True) if u == user}
        wanted = {int(i) for u, i in zip(task.targets.user, task.targets.item, strict=True) if u == user}
        wanted = {item for item in wanted - seen if item in ranked_items}
        if not wanted:
            continue
        scores = users[user] @ items.T
        order = [i for i in ranked_items if i not in seen]
        order.sort(key=lambda i: (-scores[i], int(tie_break(np.int32(user), np.array([i]))[0])))
        rows[user] = {name: value for k in CUTOFFS for name, value in by_definition(order, wanted, k).items()}
        for k in CUTOFFS:
            shown[k].update(order[:k])
    assert found.users.tolist() == list(rows)
    for name, values in found.values.items():
        np.testing.assert_allclose(values, [row[name] for row in rows.values()], rtol=0, atol=1e-12)
    for k in CUTOFFS:
        assert found.coverage[f"coverage@{k}"] == pytest.approx(len(shown[k]) / max(len(ranked_items), 1))


def test_items_of_small_norm_are_not_asked_and_the_lists_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    users = generator.standard_normal((300, 8), np.float32)
    users[0] = 0
    norms = 1 / np.arange(1, 6001, dtype=np.float32)
    items = generator.permutation(generator.standard_normal((6000, 8), np.float32) * norms[:, None])
    columns = np.flatnonzero(generator.random(6000) < 0.9)
    rows = np.sort(generator.integers(0, len(users), 4000))
    # Much of what is hidden is what would come first.
    best = np.argsort(-np.linalg.norm(items[columns], axis=1))[:200]
    hidden = rows, generator.permutation(np.concatenate([best.repeat(10), generator.integers(0, len(columns), 2000)]))
    product, codes = lists.InnerProduct(users, items), np.arange(len(users), dtype=np.int32)
    asked: list[int] = []
    reaching = lists.BestOfProducts._reaching

    def counted(self: Any, vectors: np.ndarray, bound: Any, hidden: Any, stretch: range, most: int) -> Any:
        asked.append(len(vectors) * len(stretch))
        return reaching(self, vectors, bound, hidden, stretch, most)

    monkeypatch.setattr(lists.BestOfProducts, "_reaching", counted)
    for depth in (1, 20):
        whole, plain = lists.Best(product, columns).of(codes, hidden, depth)
        asked.clear()
        found, scores = lists.best_of(product, columns).of(codes, hidden, depth)
        np.testing.assert_array_equal(found, whole)
        np.testing.assert_allclose(scores, plain, rtol=1e-5)
        assert 0 < sum(asked) < len(users) * (len(columns) - lists.HEAD) / 2


@pytest.mark.parametrize("levels", [1, 5, 1 << 20])
@pytest.mark.parametrize("m", [60, 1500])
def test_top_k_is_the_head_of_a_full_sort(levels: int, m: int) -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, levels, (40, m)).astype(np.float32)
    scores[3, 2:] = scores[4] = -np.inf
    users, items = np.arange(40, dtype=np.int32), np.arange(m) * 3
    key = tie_break(users[:, None], items[None])
    whole = np.lexsort((key, -scores), axis=1)
    for k in (1, 7, 59, 60, 100):
        np.testing.assert_array_equal(top_k(scores, k, users, items), whole[:, :k])


def test_metrics_agree_with_an_independent_library_ties_included(ranx: ModuleType) -> None:
    """ranx orders equal scores as it likes, so it is given our order of them: ever smaller whole numbers."""
    generator = np.random.default_rng(0)
    for n_users, n_items, per_user, levels in ((40, 120, 6, 4), (30, 12, 3, 2), (25, 400, 40, 1 << 20)):
        scores = generator.integers(0, levels, (n_users, n_items)).astype(np.float32)
        seen, wanted = (
            log_of({(u, i) for u in range(n_users) for i in generator.integers(0, n_items, per_user)}, n_users, n_items)
            for _ in range(2)
        )
        found = metrics.rank(lambda users, scores=scores: scores[users], Task(seen, wanted), (1, 5, 20, 50))
        qrels, run = {}, {}
        for user in found.users.tolist():
            hidden = set(seen.item[seen.user == user].tolist())
            order = np.lexsort((tie_break(np.int32(user), np.arange(n_items)), -scores[user]))
            listed = [item for item in order.tolist() if item not in hidden]
            run[f"u{user:03d}"] = {f"i{item}": float(len(listed) - place) for place, item in enumerate(listed)}
            targets = set(wanted.item[wanted.user == user].tolist()) - hidden
            qrels[f"u{user:03d}"] = {f"i{item}": 1 for item in targets}
        assert any(len(targets) == 1 for targets in qrels.values()) or per_user > 3
        names = [f"{metric}@{k}" for k in (1, 5, 20, 50) for metric in ("recall", "ndcg", "hit_rate", "mrr")]
        told = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), names, return_mean=False)
        for name, values in told.items():
            ours = found.values[name.replace("hit_rate", "hitrate")]
            np.testing.assert_allclose(ours, values, rtol=0, atol=1e-9, err_msg=name)


def test_tasks_that_share_history_and_candidates_share_one_ranking() -> None:
    generator = np.random.default_rng(0)
    users, items = generator.standard_normal((30, 4)), generator.standard_normal((80, 4))
    seen, wanted = (
        log_of({(u, int(i)) for u in range(30) for i in generator.integers(0, 80, 5)}, 30, 80) for _ in range(2)
    )
    few = np.arange(80) < 20
    tasks = {
        "all": Task(seen, wanted),
        "some": Task(seen, wanted.subset(wanted.item % 3 == 0)),
        "nobody": Task(seen, wanted.subset(np.zeros(len(wanted), bool))),
        "few": Task(seen, wanted, few),
    }
    asked: list[int] = []

    def scorer(codes: np.ndarray) -> np.ndarray:
        asked.extend(codes.tolist())
        return users[codes] @ items.T

    found = metrics.Rankings(tasks).of(scorer, CUTOFFS)
    assert list(found) == list(tasks)
    assert len(asked) == len(set(found["all"].users.tolist())) + len(set(found["few"].users.tolist()))
    for name, task in tasks.items():
        alone = metrics.rank(scorer, task, CUTOFFS)
        np.testing.assert_array_equal(found[name].users, alone.users)
        assert found[name].coverage == alone.coverage
        for metric, values in alone.values.items():
            np.testing.assert_array_equal(found[name].values[metric], values)


@pytest.mark.parametrize("longer", [0, 20])
def test_rankings_of_the_same_candidates_make_a_users_list_once(longer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are what each is alone, whatever the one hides that the other does not."""
    monkeypatch.setattr(metrics, "LONGER", longer)
    generator = np.random.default_rng(0)
    table, asked = generator.random((8, 60)).astype(np.float32), []

    def scorer(users: np.ndarray) -> np.ndarray:
        asked.extend(users.tolist())
        return table[users]

    pairs = {(user, int(item)) for user in range(8) for item in generator.choice(60, 30, replace=False)}
    ordered = sorted(pairs)
    few, many, targets = (log_of(set(ordered[start::4]), 8, 60) for start in range(3))
    more = few.concat(many)
    # The one that hides more of each user stands first, and is of so few users that it hides less in all.
    tasks = {"more": Task(more, targets.subset(targets.user < 2)), "few": Task(few, targets)}
    shared = metrics.Rankings(tasks).of(scorer, CUTOFFS)
    once = len(asked)
    assert list(shared) == list(tasks)
    for name, task in tasks.items():
        alone = rank(scorer, task, CUTOFFS)
        for metric, values in alone.values.items():
            np.testing.assert_array_equal(shared[name].values[metric], values)
    assert (once == 8) == (longer > 0)
    assert len(asked) == once + 8 + 2


def test_a_model_that_scores_everything_alike_is_no_better_than_chance() -> None:
    n_users, n_items, k = 2000, 100, 10
    # Targets are the lowest codes, which ties broken by code would all put on top.
    targets = log_of({(user, user % k) for user in range(n_users)}, n_users, n_items)
    nothing = log_of(set(), n_users, n_items)
    found = rank(inner_product(np.zeros((n_users, 1)), np.zeros((n_items, 1))), Task(nothing, targets), (k,))
    assert found.values[f"recall@{k}"].mean() == pytest.approx(k / n_items, abs=0.03)
    assert found.coverage[f"coverage@{k}"] == 1


def test_seen_items_are_neither_shown_nor_wanted() -> None:
    history, targets = log_of({(0, 0)}, 1, 3), log_of({(0, 0), (0, 1)}, 1, 3)
    found = rank(inner_product(np.ones((1, 1)), np.array([[3.0], [2.0], [1.0]])), Task(history, targets), (1,))
    assert found.values["recall@1"].tolist() == [1.0]
    assert found.coverage["coverage@1"] == pytest.approx(1 / 3)


def test_vectors_that_are_not_numbers_are_refused_in_one_sentence() -> None:
    log = log_of({(0, 0)}, 1, 1)
    with pytest.raises(StepFailed, match="not all finite"):
        rank(inner_product(np.full((1, 1), np.nan), np.ones((1, 1))), Task(log, log))


@pytest.mark.parametrize(("n_users", "n_items"), [(2**16, 2**15), (2**17 + 3, 2**15 + 1)])
def test_users_times_items_may_pass_what_32_bits_hold(n_users: int, n_items: int) -> None:
    """Each user's target is the item that they score highest, and the last user's key is far beyond 2³¹."""
    users = np.array([0, 1, n_users // 2, n_users - 2, n_users - 1], np.int32)
    wanted = (users.astype(np.int64) * 7 % n_items).astype(np.int32)
    one = np.ones(len(users), np.float32)
    targets = Interactions(users, wanted, np.zeros(len(users)), one, n_users, n_items)
    history = targets.subset(np.zeros(len(users), bool))

    def scorer(block: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(block), n_items), np.float32)
        scores[np.arange(len(block)), wanted[np.searchsorted(users, block)]] = 1
        return scores

    scores = metrics.rank(scorer, Task(history, targets), (5,))
    assert scores.users.tolist() == users.tolist()
    assert scores.values["ndcg@5"].tolist() == [1] * len(users)
