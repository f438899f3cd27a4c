"""The gate lets out what its rules say and nothing else, and says both numbers."""

from __future__ import annotations

import pytest

from pipeline.config.sections import Gate
from pipeline.evaluation.gate import Verdict, index_recall, integrity, quality, strongest
from pipeline.workspace import Json

WHERE = "(ndcg@10 on all)"


def measured(ours: float, theirs: float) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """A test part in which every other metric, segment and model would pass or fail the other way."""
    models = {name: {"ndcg@10": {"mean": mean}} for name, mean in (("bpr", ours), ("popularity", theirs))}
    turned = {name: {"ndcg@10": {"mean": mean}} for name, mean in (("bpr", theirs), ("popularity", ours))}
    return {"cold": turned, "all": {**models, "random": {"ndcg@10": {"mean": 9.0}}}}


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "passed"),
    [
        (0.3, 0.2, 1.0, True),
        (0.2, 0.2, 1.0, False),
        (0.2, 0.3, 1.0, False),
        (0.3, 0.2, 1.5, False),
        (0.31, 0.2, 1.5, True),
        (0.15, 0.2, 0.5, True),
        (0.1, 0.25, 0.5, False),
        (0.4, 0.25, 1.7, False),
        (1.2, 1.25, 1.1, False),
        (0.001, 0.2, 0.0, True),
        (0.0, 0.2, 0.0, False),
        (float("nan"), 0.2, 0.0, False),
    ],
)
def test_a_model_passes_where_it_exceeds_the_ratio_times_its_baseline(
    ours: float, theirs: float, ratio: float, passed: bool
) -> None:
    verdict = quality(measured(ours, theirs), "bpr", Gate(min_ratio=ratio))
    assert (verdict.name, verdict.passed) == ("quality", passed)
    assert (verdict.value, verdict.limit) == (pytest.approx(ours, nan_ok=True), pytest.approx(theirs * ratio))


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (Gate(), f"bpr at 0.3000 beats popularity at 0.2000 {WHERE}"),
        (Gate(min_ratio=1.2), f"bpr at 0.3000 beats 1.2 × popularity at 0.2000 {WHERE}"),
        (Gate(min_ratio=2), f"bpr at 0.3000 does not beat 2.0 × popularity at 0.2000 {WHERE}"),
        (Gate(baseline="random"), f"bpr at 0.3000 does not beat random at 9.0000 {WHERE}"),
        (Gate(segment="cold"), "bpr at 0.2000 does not beat popularity at 0.3000 (ndcg@10 on cold)"),
    ],
)
def test_its_sentence_has_both_numbers_and_what_they_are_of(rules: Gate, sentence: str) -> None:
    assert quality(measured(0.3, 0.2), "bpr", rules).sentence == sentence


@pytest.mark.parametrize(
    ("rules", "model", "lacking"),
    [
        (Gate(segment="tail"), "bpr", "'tail'"),
        (Gate(metric="mrr@7"), "bpr", "'mrr@7'"),
        (Gate(baseline="ease"), "bpr", "'ease'"),
        (Gate(), "sequence", "'sequence'"),
    ],
)
def test_what_was_not_measured_does_not_pass(rules: Gate, model: str, lacking: str) -> None:
    said = f"{rules.metric} on {rules.segment} was not measured: metrics.json has no {lacking}"
    assert quality(measured(0.3, 0.2), model, rules) == Verdict("quality", False, None, None, said)


@pytest.mark.parametrize(
    ("recall", "passed", "said"), [(0.96, True, "reaches"), (0.95, True, "reaches"), (0.9499, False, "is below")]
)
def test_an_index_passes_from_the_recall_that_is_asked_for(recall: float, passed: bool, said: str) -> None:
    sentence = f"index recall@10 of {recall:.4f} {said} 0.95"
    assert index_recall(recall, Gate(min_index_recall=0.95)) == Verdict("index_recall", passed, recall, 0.95, sentence)


def test_an_index_passes_where_every_file_is_the_one_that_was_written() -> None:
    written = {"index/a": "1", "index/b": "2"}
    whole = "all 2 files of the index have the sha256 that was written"
    assert integrity(written, written | {"other": "3"}) == Verdict("integrity", True, 0, 0, whole)
    for present in ({"index/a": "1", "index/b": "1"}, {"index/a": "1"}):
        changed = "index/b is not the file that was written; run the night with --full"
        assert integrity(written, present) == Verdict("integrity", False, 1, 0, changed)


def compared(mean: float, low: float, high: float, p: float) -> Json:
    difference = {"mean": mean, "low": low, "high": high, "p": p, "users": 100}
    return {
        "baseline": "als",
        "metric": "ndcg@10",
        "models": {"ours": difference, "random": {**difference, "high": -1}},
    }


@pytest.mark.parametrize(
    ("paired", "passed"),
    [
        (compared(-0.05, -0.08, -0.02, 0.001), False),
        (compared(-0.05, -0.08, -1e-9, 0.0499), False),
        (compared(-0.05, -0.08, 0.0, 0.001), True),
        (compared(-0.05, -0.08, -0.02, 0.05), True),
        (compared(0.05, 0.02, 0.08, 0.001), True),
    ],
)
def test_a_list_that_the_strongest_baseline_beats_beyond_chance_is_refused(paired: Json, passed: bool) -> None:
    verdict = strongest(paired, "ours", Gate())
    assert verdict is not None
    assert verdict.passed is passed
    assert ("is below als beyond chance" in verdict.sentence) is not passed
    assert strongest(paired, "ours", Gate(refuse_worse=False)) is None


def test_where_nothing_was_compared_no_baseline_is_asked() -> None:
    assert strongest({}, "ours", Gate()) is None
    assert strongest(compared(-1, -2, -1, 0), "als", Gate()) is None
