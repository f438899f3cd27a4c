"""Each metric of hits is its definition, on lists of a few places."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluation.hits import HITS, discount

HIT, NO = True, False


def gain(*ranks: int) -> float:
    return sum(1 / math.log2(rank + 1) for rank in ranks)


@pytest.mark.parametrize(
    ("hits", "targets", "k", "expected"),
    [
        ([HIT, NO, NO], 1, 3, {"recall": 1, "hitrate": 1, "mrr": 1, "ndcg": 1}),
        ([NO, HIT, NO], 1, 3, {"recall": 1, "hitrate": 1, "mrr": 1 / 2, "ndcg": gain(2)}),
        ([NO, HIT, HIT], 4, 3, {"recall": 0.5, "hitrate": 1, "mrr": 1 / 2, "ndcg": gain(2, 3) / gain(1, 2, 3)}),
        ([HIT, NO, HIT], 2, 3, {"recall": 1, "hitrate": 1, "mrr": 1, "ndcg": gain(1, 3) / gain(1, 2)}),
        ([NO, NO, NO], 2, 3, {"recall": 0, "hitrate": 0, "mrr": 0, "ndcg": 0}),
        # A list may be shorter than k, where fewer candidates are left: what is ideal is not.
        ([NO, HIT], 5, 4, {"recall": 0.2, "hitrate": 1, "mrr": 1 / 2, "ndcg": gain(2) / gain(1, 2, 3, 4)}),
    ],
)
def test_a_metric_is_its_definition(hits: list[bool], targets: int, k: int, expected: dict[str, float]) -> None:
    assert HITS.keys() == expected.keys()
    for name, value in expected.items():
        # Other users of the block change nothing.
        block = np.array([[NO] * len(hits), hits, [HIT] * len(hits)])
        values = HITS[name].values(block, np.array([1, targets, len(hits)]), k)
        assert values.dtype == np.float64
        assert values[1] == pytest.approx(value)
        assert values[0] == 0


def test_a_discount_is_one_at_the_first_rank_and_falls_with_the_logarithm() -> None:
    assert discount([1, 2, 3, 7]).tolist() == [pytest.approx(gain(rank)) for rank in (1, 2, 3, 7)]
    assert discount(1).dtype == np.float64
