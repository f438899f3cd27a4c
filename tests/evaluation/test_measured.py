"""What is written of models is made of arrays alone: their summaries, differences, gains, and what a part adds."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.measured import Measure
from pipeline.evaluation.metrics import Rankings, Scorer, Task
from pipeline.evaluation.ranking import InnerProduct
from pipeline.evaluation.scorers import Reordered
from pipeline.interactions import Interactions

USERS, ITEMS = 30, 50
MEASURE = Measure((5, 10), 100, 0, "ndcg@10", "all")


def log_of(user: np.ndarray, item: np.ndarray) -> Interactions:
    ones = np.ones(len(user), np.float32)
    return Interactions(user.astype(np.int32), item.astype(np.int32), np.zeros(len(user)), ones, USERS, ITEMS)


def rankings() -> Rankings:
    """Everyone chose one item before, and two later: of those the second is in the segment `late` too."""
    users, items = np.arange(USERS), np.arange(USERS) % 7
    history = log_of(users, items)
    both = log_of(np.repeat(users, 2), np.stack([items + 10, items + 20], axis=1).ravel())
    return Rankings({"all": Task(history, both), "late": Task(history, log_of(users, items + 20))})


def scorers() -> dict[str, Scorer]:
    generator = np.random.default_rng(0)
    users, items = (generator.standard_normal((rows, 4)).astype(np.float32) for rows in (USERS, ITEMS))
    first = InnerProduct(users, items)
    best = np.stack([np.arange(USERS) % 7 + 10, np.arange(USERS) % 7 + 20], axis=1)
    perfect = Reordered(first, np.arange(USERS, dtype=np.int32), best)
    return {"first": first, "perfect": perfect}


def test_segments_differences_and_gains_are_of_the_same_lists() -> None:
    ranked = MEASURE.ranked(rankings(), scorers())
    tables = MEASURE.segments(ranked)
    assert set(tables) == {"all", "late"}
    assert tables["all"]["perfect"]["ndcg@10"]["mean"] == 1
    assert tables["late"]["perfect"]["recall@5"]["mean"] == 1
    gap = 1 - tables["all"]["first"]["ndcg@10"]["mean"]
    paired = MEASURE.paired(ranked, "first", {"first": 0.5})
    assert paired["models"]["perfect"]["mean"] == pytest.approx(gap)
    assert paired["validation"] == {"first": 0.5}
    gain = MEASURE.gain(ranked["first"]["all"], ranked["perfect"]["all"])
    assert gain["gain"]["ndcg@10"]["mean"] == pytest.approx(gap)
    assert gain["reordered"]["ndcg@10"]["mean"] == 1


def test_what_is_left_out_is_compared_with_the_whole_in_every_segment() -> None:
    ranked, scorer = MEASURE.ranked(rankings(), scorers()), scorers()["first"]
    ablated = MEASURE.ablated(rankings(), {"text": scorer}, ranked["perfect"])
    for segment in ("all", "late"):
        found = ablated[segment]["text"]
        assert {name.partition("@")[0] for name in found} == {"ndcg", "recall"}
        whole = MEASURE.segments(ranked)[segment]
        change = whole["first"]["ndcg@10"]["mean"] - whole["perfect"]["ndcg@10"]["mean"]
        assert found["ndcg@10"]["change"]["mean"] == pytest.approx(change)
        assert change < 0


def test_what_cannot_be_compared_user_by_user_is_left_out() -> None:
    ranked = MEASURE.ranked(rankings(), scorers())
    assert MEASURE.paired(ranked, "nobody", {}) == {}
    assert Measure((5,), 10, 0, "coverage@5", "all").paired(ranked, "first", {}) == {}
    assert Measure((5,), 10, 0, "ndcg@5", "no such segment").paired(ranked, "first", {}) == {}
