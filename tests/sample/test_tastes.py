from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pipeline.sample.log import Purchase, draw_log, log_end
from pipeline.sample.tastes import (
    SHOWS_ONLY_IN,
    TRAITS,
    Likings,
    Record,
    draw_likings,
    draw_record,
    levels_of,
    utilities,
)

ITEMS, BUYERS, SEED = 600, 400, 0


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [draw_record(SEED, number) for number in range(1, ITEMS + 1)]


@pytest.fixture(scope="module")
def log(records: list[Record]) -> list[Purchase]:
    return draw_log(SEED, records, BUYERS)


class Shelf:
    """The log cut in time: the last tenth is the test."""

    def __init__(self, records: list[Record], log: list[Purchase]) -> None:
        self.levels = levels_of(records)
        self.likings: dict[str, Likings] = {f"buyer-{n:04d}": draw_likings(SEED, n) for n in range(1, BUYERS + 1)}
        place = {record.record_id: number for number, record in enumerate(records)}
        cut = log[int(len(log) * 0.9)].bought_at
        self.seen: dict[str, list[int]] = {}
        self.test: dict[str, list[int]] = {}
        self.counts = np.zeros(len(records))
        for purchase in log:
            part = self.seen if purchase.bought_at < cut else self.test
            part.setdefault(purchase.buyer_id, []).append(place[purchase.record_id])
        for items in self.seen.values():
            np.add.at(self.counts, items, 1)

    def ndcg(self, without: str | None = None, popular: bool = False) -> float:
        gains = 1 / np.log2(np.arange(2, 12))
        results = []
        for buyer, wanted in self.test.items():
            likings = {trait: liking for trait, liking in self.likings[buyer].items() if trait != without}
            scores = self.counts.copy() if popular else utilities(likings, self.levels)
            scores[self.seen.get(buyer, [])] = -np.inf
            hits = np.isin(np.argsort(-scores)[:10], wanted)
            results.append((hits * gains).sum() / gains[: len(wanted)].sum())
        return float(np.mean(results))


@pytest.fixture(scope="module")
def shelf(records: list[Record], log: list[Purchase]) -> Shelf:
    return Shelf(records, log)


def test_tastes_predict_held_out_purchases_far_better_than_popularity(shelf: Shelf) -> None:
    assert shelf.ndcg() > 4 * shelf.ndcg(popular=True)
    assert shelf.ndcg(popular=True) > 0.02


@pytest.mark.parametrize("trait", SHOWS_ONLY_IN)
def test_leaving_out_a_trait_of_one_modality_costs_a_recommender(shelf: Shelf, trait: str) -> None:
    assert shelf.ndcg(without=trait) < 0.85 * shelf.ndcg()


def test_traits_are_independent_of_each_other() -> None:
    levels = levels_of([draw_record(SEED, number) for number in range(1, 3001)])
    for one, other in combinations(TRAITS, 2):
        table = np.zeros((len(TRAITS[one]), len(TRAITS[other])))
        np.add.at(table, (levels[one], levels[other]), 1)
        expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
        cramers_v = np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / (min(table.shape) - 1))
        assert cramers_v < 0.08, (one, other)


def test_a_buyer_buys_some_thirty_records_once_each_with_a_long_tail(log: list[Purchase]) -> None:
    pairs = {(purchase.buyer_id, purchase.record_id) for purchase in log}
    counts = np.unique([purchase.buyer_id for purchase in log], return_counts=True)[1]
    assert len(pairs) == len(log)
    assert len(counts) == BUYERS
    assert 25 <= counts.mean() <= 40
    assert np.quantile(counts, 0.95) > 2 * np.median(counts)


def test_the_log_is_in_order_and_ends_at_a_date_of_the_seed_alone(log: list[Purchase]) -> None:
    moments = [purchase.bought_at for purchase in log]
    assert moments == sorted(moments)
    assert moments[-1] < log_end(SEED)
    assert 500 < (log_end(SEED) - moments[0]).days <= 548


def test_tastes_are_stable_over_time(shelf: Shelf) -> None:
    def mean_utility(part: dict[str, list[int]]) -> float:
        return float(np.mean([utilities(shelf.likings[b], shelf.levels)[items].mean() for b, items in part.items()]))

    assert mean_utility(shelf.test) == pytest.approx(mean_utility(shelf.seen), rel=0.1)


def test_a_record_is_the_same_in_shops_of_any_size() -> None:
    assert draw_record(5, 7) == draw_record(5, 7)
    assert draw_record(5, 7) != draw_record(6, 7)
