"""The gate lets out what its rules say and nothing else, and says both numbers."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from pipeline.config.sections import Gate
from pipeline.evaluation.gate import Verdict, index_latency, index_recall, integrity, log_age, quality
from pipeline.storage.documents import Json

WHERE = "ndcg@10 on all"


def measured(ours: float, theirs: float) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """A test part in which every other metric, segment and model would pass or fail the other way."""
    models = {name: {"ndcg@10": {"mean": mean}} for name, mean in (("bpr", ours), ("popularity", theirs))}
    turned = {name: {"ndcg@10": {"mean": mean}} for name, mean in (("bpr", theirs), ("popularity", ours))}
    return {"cold": turned, "all": {**models, "random": {"ndcg@10": {"mean": 9.0}}}}


def rules(**changed: object) -> Gate:
    """A gate that has one baseline by its name, whose mean alone counts."""
    return Gate.model_validate({"baseline": "popularity", **changed})


def judged(ours: float, theirs: float, gate: Gate, paired: Json | None = None) -> Verdict:
    baseline = "popularity" if gate.baseline == "strongest" else gate.baseline
    return quality(measured(ours, theirs), "bpr", gate, baseline, paired or {})


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
    verdict = judged(ours, theirs, rules(min_ratio=ratio))
    assert (verdict.name, verdict.passed) == ("quality", passed)
    assert (verdict.value, verdict.limit) == (pytest.approx(ours, nan_ok=True), pytest.approx(theirs * ratio))
    # Against the strongest of which no paired difference is known, its stand-in's mean counts alone.
    assert judged(ours, theirs, Gate(min_ratio=ratio)).passed == passed


@pytest.mark.parametrize(
    ("gate", "mark", "sentence"),
    [
        (rules(), "passed", f"bpr at 0.3000, 1.50 × popularity at 0.2000 ({WHERE}; publish.gate.min_ratio is 1)"),
        (
            rules(min_ratio=2),
            "refused",
            f"bpr at 0.3000, 1.50 × popularity at 0.2000 ({WHERE}; publish.gate.min_ratio is 2)",
        ),
        (
            rules(baseline="random", min_ratio=0),
            "warning",
            f"bpr at 0.3000, 0.03 × random at 9.0000 ({WHERE}; publish.gate.min_ratio is 0)",
        ),
        (
            rules(segment="cold", warn_only=["quality"]),
            "warning",
            "bpr at 0.2000, 0.67 × popularity at 0.3000 (ndcg@10 on cold; publish.gate.min_ratio is 1)",
        ),
    ],
)
def test_its_sentence_has_both_numbers_what_they_are_of_and_the_setting(gate: Gate, mark: str, sentence: str) -> None:
    verdict = judged(0.3, 0.2, gate)
    assert (verdict.mark, verdict.sentence) == (mark, sentence)


@pytest.mark.parametrize(("ours", "warning"), [(0.13, True), (0.19, True), (0.1992, False), (0.2, False), (0.3, False)])
def test_a_night_that_has_less_than_its_baseline_says_so_though_it_passes(ours: float, warning: bool) -> None:
    verdict = judged(ours, 0.2, rules(min_ratio=0.5))
    assert (verdict.passed, verdict.warning) == (True, warning)


def test_where_the_baseline_has_nothing_there_is_no_ratio() -> None:
    assert judged(0.1, 0.0, rules()).mark == "passed"
    assert judged(0.1, 0.0, rules()).sentence.startswith("bpr at 0.1000, beside popularity at 0 (")


@pytest.mark.parametrize(
    ("gate", "model", "lacking"),
    [
        (rules(segment="tail"), "bpr", "'tail'"),
        (rules(metric="mrr@7"), "bpr", "'mrr@7'"),
        (rules(baseline="ease"), "bpr", "'ease'"),
        (rules(), "sequence", "'sequence'"),
    ],
)
def test_what_was_not_measured_does_not_pass(gate: Gate, model: str, lacking: str) -> None:
    said = f"{gate.metric} on {gate.segment} was not measured: metrics.json has no {lacking}"
    verdict = quality(measured(0.3, 0.2), model, gate, gate.baseline, {})
    assert verdict == Verdict("quality", False, None, None, said)


@pytest.mark.parametrize(
    ("recall", "high", "passed"), [(0.96, 0.97, True), (0.95, 0.95, True), (0.949, 0.95, True), (0.94, 0.9499, False)]
)
def test_an_index_passes_from_the_recall_that_is_asked_for_but_for_chance(
    recall: float, high: float, passed: bool
) -> None:
    limit = "(limit 0.95)" if passed else "publish.gate.min_index_recall is 0.95"
    verdict = index_recall(recall, high, Gate(min_index_recall=0.95))
    assert (verdict.name, verdict.passed, verdict.value, verdict.limit) == ("index_recall", passed, recall, 0.95)
    assert verdict.sentence.startswith(f"index recall@10 of {recall:.4f}")
    assert verdict.sentence.endswith(limit)
    assert ("as 0.95 may be by chance" in verdict.sentence) == (recall == 0.949)


def test_an_index_may_take_its_time_and_no_longer() -> None:
    assert index_latency(10, 10, Gate()).passed
    verdict = index_latency(10.1, 10, Gate())
    assert (verdict.name, verdict.passed) == ("index_latency", False)
    assert verdict.sentence == "a query of the index takes 10.1 ms of work; index.max_latency_ms is 10"
    assert index_latency(10.1, 10, Gate(warn_only=("index_latency",))).warning


@pytest.mark.parametrize(
    ("days", "warn_only", "mark"),
    [(2.9, ["log_age"], "passed"), (3.1, ["log_age"], "warning"), (3.1, [], "refused"), (-1, [], "passed")],
)
def test_an_old_log_warns_or_refuses_as_set(days: float, warn_only: list[str], mark: str) -> None:
    newest = datetime.fromisoformat("2026-01-01T06:00:00+00:00")
    verdict = log_age(newest, newest + timedelta(days=days), rules(warn_only=warn_only))
    assert (verdict.name, verdict.mark, verdict.limit) == ("log_age", mark, 3)
    assert verdict.value == pytest.approx(days)
    assert f"the newest interaction, of 2026-01-01 06:00, is {days:.1f} days old" in verdict.sentence


def test_by_default_an_old_log_warns_and_an_empty_one_too() -> None:
    newest = datetime.fromisoformat("2026-01-01T06:00:00+00:00")
    assert log_age(newest, newest + timedelta(days=600), Gate()).mark == "warning"
    assert log_age(None, newest, Gate()).mark == "warning"


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
        "models": {"bpr": difference, "random": {**difference, "high": -1}},
    }


@pytest.mark.parametrize(
    ("paired", "ratio", "mark"),
    [
        (compared(-0.05, -0.08, -0.02, 0.001), 1, "refused"),
        (compared(-0.05, -0.08, -1e-9, 0.0499), 1, "refused"),
        (compared(-0.05, -0.08, 0.0, 0.001), 1, "warning"),
        (compared(-0.05, -0.08, -0.02, 0.05), 1, "warning"),
        (compared(0.05, 0.02, 0.08, 0.001), 1, "passed"),
        # 0.8 times 0.2 allows for 0.04 less, whatever is beyond chance; 1.5 times it asks for 0.1 more.
        (compared(-0.05, -0.08, -0.039, 0.001), 0.8, "warning"),
        (compared(-0.05, -0.08, -0.041, 0.001), 0.8, "refused"),
        (compared(0.05, 0.02, 0.101, 0.6), 1.5, "warning"),
        (compared(0.05, 0.02, 0.099, 0.6), 1.5, "refused"),
    ],
)
def test_a_list_that_the_strongest_baseline_beats_beyond_chance_is_refused(
    paired: Json, ratio: float, mark: str
) -> None:
    ours = 0.2 + paired["models"]["bpr"]["mean"]
    table = {"all": {name: {"ndcg@10": {"mean": mean}} for name, mean in (("bpr", ours), ("als", 0.2))}}
    verdict = quality(table, "bpr", Gate(min_ratio=ratio), "popularity", paired)
    assert verdict.mark == mark
    assert ("beyond chance" in verdict.sentence) == (mark == "refused")
    assert ("chance may explain" in verdict.sentence) == (mark == "warning")
    assert f"{ours / 0.2:.2f} × als at 0.2000" in verdict.sentence
    # A baseline by its name is taken at its mean.
    table["all"]["popularity"] = table["all"]["als"]
    assert quality(table, "bpr", rules(min_ratio=ratio), "popularity", paired).passed == (ours > 0.2 * ratio)


def test_a_model_that_found_nothing_is_refused_whatever_chance_says() -> None:
    paired = compared(-0.1, -0.3, 0.2, 0.5)
    table = {"all": {name: {"ndcg@10": {"mean": mean}} for name, mean in (("bpr", 0.0), ("als", 0.1))}}
    assert quality(table, "bpr", Gate(), "popularity", paired).mark == "refused"
