"""Metrics agree with their definitions, ties and all, and bootstrap intervals behave as intervals should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import metrics
from pipeline.errors import StepFailed
from pipeline.interactions import Interactions
from pipeline.metrics import Task, evaluate, summarise, tie_break, top_k

CUTOFFS = (1, 3, 10)


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
@given(problems(), st.sampled_from([1, 16, 8_000_000]))
def test_metrics_are_their_definitions_whatever_the_ties_and_the_block(
    problem: tuple[np.ndarray, np.ndarray, Task], block: int
) -> None:
    users, items, task = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK_SCORES", block)
        found = evaluate(users, items, task, CUTOFFS)
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


def test_top_k_is_the_head_of_a_full_sort() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 5, (40, 60)).astype(np.float32)
    users = np.arange(40, dtype=np.int32)
    key = tie_break(users[:, None], np.arange(60)[None])
    whole = np.lexsort((key, -scores), axis=1)
    for k in (1, 7, 59, 60, 100):
        np.testing.assert_array_equal(top_k(scores, k, users), whole[:, :k])


def test_a_model_that_scores_everything_alike_is_no_better_than_chance() -> None:
    n_users, n_items, k = 2000, 100, 10
    # Targets are the lowest codes, which ties broken by code would all put on top.
    targets = log_of({(user, user % k) for user in range(n_users)}, n_users, n_items)
    nothing = log_of(set(), n_users, n_items)
    found = evaluate(np.zeros((n_users, 1)), np.zeros((n_items, 1)), Task(nothing, targets), (k,))
    assert found.values[f"recall@{k}"].mean() == pytest.approx(k / n_items, abs=0.03)
    assert found.coverage[f"coverage@{k}"] == 1


def test_seen_items_are_neither_shown_nor_wanted() -> None:
    history, targets = log_of({(0, 0)}, 1, 3), log_of({(0, 0), (0, 1)}, 1, 3)
    found = evaluate(np.ones((1, 1)), np.array([[3.0], [2.0], [1.0]]), Task(history, targets), (1,))
    assert found.values["recall@1"].tolist() == [1.0]
    assert found.coverage["coverage@1"] == pytest.approx(1 / 3)


def test_vectors_that_are_not_numbers_are_refused_in_one_sentence() -> None:
    log = log_of({(0, 0)}, 1, 1)
    with pytest.raises(StepFailed, match="not all finite"):
        evaluate(np.full((1, 1), np.nan), np.ones((1, 1)), Task(log, log))


def test_intervals_hold_the_mean_and_shrink_with_users_and_repeat_with_the_seed() -> None:
    widths = []
    for n_users in (50, 5000):
        generator = np.random.default_rng(1)
        scores = metrics.Scores(np.arange(n_users, dtype=np.int32), {"ndcg@10": generator.random(n_users)}, {})
        row = summarise(scores, 500, seed=3)["ndcg@10"]
        assert row["low"] < row["mean"] < row["high"]
        assert row["users"] == n_users
        assert summarise(scores, 500, seed=3)["ndcg@10"] == row
        widths.append(row["high"] - row["low"])
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.25)
    # The spread of a mean of n uniform numbers is known.
    assert widths[1] == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / 5000), rel=0.15)


def test_no_users_means_no_numbers() -> None:
    log = log_of(set(), 2, 2)
    assert summarise(evaluate(np.ones((2, 1)), np.ones((2, 1)), Task(log, log)), 10, 0) == {}
