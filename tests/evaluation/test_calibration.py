"""How good probabilities are is computed as defined, pair by pair and bin by bin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluation.calibration import BINS, quality, reliability

CHANCES = np.array([0.9, 0.1, 0.5, 0.3, 0.2])
CHOSEN = np.array([True, False, True, True, False])


def test_quality_is_its_definitions() -> None:
    found = quality(CHANCES, CHOSEN)
    table = found.pop("reliability")
    assert found.pop("pairs") == 5
    right = [math.log(p if chosen else 1 - p) for p, chosen in zip(CHANCES, CHOSEN, strict=True)]
    share = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))
    assert found == {
        "share_chosen": pytest.approx(0.6),
        # ½ counts as a yes, so that 0.3 is the only one that is wrong.
        "accuracy": pytest.approx(4 / 5),
        "constant_accuracy": pytest.approx(0.6),
        "auc": 1.0,
        "log_loss": pytest.approx(-sum(right) / 5),
        "constant_log_loss": pytest.approx(share),
        # Each of five pairs is a bin of its own.
        "ece": pytest.approx((0.1 + 0.1 + 0.5 + 0.7 + 0.2) / 5),
    }
    assert table == reliability(CHANCES, CHOSEN)
    assert quality(CHANCES, ~CHOSEN)["auc"] == 0
    assert quality(CHANCES, ~CHOSEN)["constant_accuracy"] == pytest.approx(0.6)


def test_bins_hold_as_many_pairs_each_and_their_means_and_bounds() -> None:
    generator = np.random.default_rng(0)
    chances = generator.random(43)
    chosen = generator.random(43) < chances
    order = np.argsort(chances)
    bins = [order[:5], order[5:10], order[10:15], *(order[at : at + 4] for at in range(15, 43, 4))]
    table = reliability(chances, chosen)
    assert len(table) == len(bins) == BINS == 10
    for row, part in zip(table, bins, strict=True):
        assert row == {
            "low": chances[part].min(),
            "high": chances[part].max(),
            "mean_chance": pytest.approx(chances[part].mean()),
            "share_chosen": pytest.approx(chosen[part].mean()),
            "pairs": len(part),
        }
    distances = [len(part) * abs(chances[part].mean() - chosen[part].mean()) for part in bins]
    assert quality(chances, chosen)["ece"] == pytest.approx(sum(distances) / 43)


def test_of_equal_chances_the_bins_are_in_the_order_of_the_pairs() -> None:
    chances = np.random.default_rng(0).integers(0, 3, 3000) / 4
    chosen = np.arange(3000) % 1000 < np.repeat([100, 500, 900], 1000)
    order = sorted(range(3000), key=lambda pair: chances[pair])
    shares = [row["share_chosen"] for row in reliability(chances, chosen)]
    assert shares == [chosen[order[at : at + 300]].mean() for at in range(0, 3000, 300)]


@pytest.mark.parametrize("chosen", [[], [True, True], [False, False]])
def test_without_both_kinds_there_is_no_quality(chosen: list[bool]) -> None:
    assert quality(np.full(len(chosen), 0.5), np.array(chosen, bool)) == {}
