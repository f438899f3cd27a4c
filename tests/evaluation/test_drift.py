"""A night that lost much of what the published one had is refused, and what cannot be compared is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from pipeline.artefacts.evaluated import Evaluated
from pipeline.config.sections import Gate
from pipeline.evaluation.drift import Facts, against_published, not_older
from pipeline.evaluation.gate import Verdict
from pipeline.evaluation.list_changes import ListChanges

MOMENT = datetime.fromisoformat("2026-01-01T06:00:00+00:00")
RULES = ("metric", "coverage", "items", "users", "interactions", "newest_event", "missing", "lists")
SAME = ListChanges(users=10, changed=0, kept=1.0, head=10)


def evaluated(mean: float, low: float, high: float, coverage: float = 0.5) -> Evaluated:
    """Of a list; every other model, metric and segment would be judged the other way."""
    other = {"ndcg@10": {"mean": 1 - mean, "low": 1 - high, "high": 1 - low}, "coverage@10": {"mean": 1 - coverage}}
    own = {"ndcg@10": {"mean": mean, "low": low, "high": high}, "coverage@10": {"mean": coverage}}
    return Evaluated({"all": {"bpr": own, "als": other}, "cold": {"bpr": other}}, "bpr")


BEFORE = Facts(
    rows={"items": 100, "users": 200, "interactions": 40_000},
    missing={"text": 0.1, "image": 0.3},
    newest_event=MOMENT,
    evaluated=evaluated(0.2, 0.18, 0.22),
)


def verdicts(now: Facts, lists: ListChanges | None = SAME, before: Facts = BEFORE, **rules: Any) -> dict[str, Verdict]:
    judged = against_published(now, before, lists, Gate.model_validate(rules))
    return {verdict.name: verdict for verdict in judged}


def marks(now: Facts, *given: Any, **rules: Any) -> dict[str, str]:
    """The rules that do not simply pass."""
    return {name: own.mark for name, own in verdicts(now, *given, **rules).items() if own.mark != "passed"}


def test_the_same_night_again_passes_every_rule() -> None:
    judged = verdicts(BEFORE)
    assert tuple(judged) == RULES
    assert not marks(BEFORE)
    assert all(verdict.value is not None and verdict.limit is not None for verdict in judged.values())


@pytest.mark.parametrize(
    ("mean", "low", "high", "mark"),
    [
        (0.159, 0.14, 0.1799, "refused"),
        (0.159, 0.14, 0.1801, "warning"),
        (0.161, 0.15, 0.17, "passed"),
        (0.9, 0.8, 1.0, "passed"),
    ],
)
def test_a_metric_that_fell_is_refused_where_chance_does_not_explain_it(
    mean: float, low: float, high: float, mark: str
) -> None:
    verdict = verdicts(replace(BEFORE, evaluated=evaluated(mean, low, high)))["metric"]
    assert (verdict.mark, verdict.limit) == (mark, 0.8)
    assert verdict.value == pytest.approx(mean / 0.2)
    assert f"ndcg@10 on all is {mean:.4f}, {mean / 0.2:.2f} × the published 0.2000" in verdict.sentence
    assert ("publish.gate.min_published_ratio is 0.8" in verdict.sentence) == (mark == "refused")


def test_a_share_of_the_metric_is_a_setting_and_its_segment_the_gates() -> None:
    fallen = replace(BEFORE, evaluated=evaluated(0.1, 0.09, 0.11))
    assert verdicts(fallen, min_published_ratio=0.5)["metric"].mark == "passed"
    assert not marks(replace(BEFORE, evaluated=evaluated(0.1, 0.09, 0.19)), min_published_ratio=0.5)
    assert verdicts(fallen, min_published_ratio=0.4)["metric"].mark == "passed"
    assert verdicts(fallen, segment="cold")["metric"].value == pytest.approx(0.9 / 0.8)


@pytest.mark.parametrize(("coverage", "mark"), [(0.41, "passed"), (0.39, "warning")])
def test_less_coverage_warns(coverage: float, mark: str) -> None:
    now = replace(BEFORE, evaluated=evaluated(0.2, 0.18, 0.22, coverage))
    assert verdicts(now)["coverage"].mark == mark
    assert verdicts(now, warn_only=[])["coverage"].passed == (mark == "passed")


@pytest.mark.parametrize("name", ["items", "users", "interactions"])
def test_half_of_the_rows_may_go_and_no_more(name: str) -> None:
    half = BEFORE.rows[name] // 2
    assert not marks(replace(BEFORE, rows={**BEFORE.rows, name: half}))
    fewer = replace(BEFORE, rows={**BEFORE.rows, name: half - 1})
    assert marks(fewer) == {name: "refused"}
    assert marks(fewer, warn_only=[name]) == {name: "warning"}
    assert not marks(fewer, min_rows_ratio=0.4)
    verdict = verdicts(fewer)[name]
    assert (verdict.value, verdict.limit) == (pytest.approx((half - 1) / BEFORE.rows[name]), 0.5)
    assert verdict.sentence == (
        f"{half - 1} {name}, {(half - 1) / BEFORE.rows[name]:.2f} × the published {BEFORE.rows[name]}; "
        "publish.gate.min_rows_ratio is 0.5"
    )


def test_a_log_cut_from_forty_thousand_to_two_is_refused_by_name() -> None:
    verdict = verdicts(replace(BEFORE, rows={**BEFORE.rows, "interactions": 2000}))["interactions"]
    assert verdict.mark == "refused"
    assert verdict.sentence.startswith("2000 interactions, 0.05 × the published 40000")


@pytest.mark.parametrize(("days", "mark"), [(-30, "passed"), (2.9, "passed"), (3.1, "refused")])
def test_a_log_that_ends_before_the_published_one_is_refused(days: float, mark: str) -> None:
    verdict = verdicts(replace(BEFORE, newest_event=MOMENT - timedelta(days=days)))["newest_event"]
    assert (verdict.mark, verdict.value) == (mark, pytest.approx(days))


@pytest.mark.parametrize(
    ("missing", "mark", "name"),
    [
        ({"text": 0.29, "image": 0.3}, "passed", "text"),
        ({"text": 0.31, "image": 0.1}, "refused", "text"),
        ({"text": 0.1, "image": 0.51}, "refused", "image"),
        ({"text": 0.1, "audio": 1.0}, "passed", "text"),
    ],
)
def test_the_modality_that_lost_the_most_vectors_is_judged(missing: dict[str, float], mark: str, name: str) -> None:
    verdict = verdicts(replace(BEFORE, missing=missing))["missing"]
    assert (verdict.mark, verdict.limit) == (mark, 0.2)
    assert f"of the items have no {name} vector" in verdict.sentence


def test_lists_that_change_are_told_and_refused_where_that_is_asked_for() -> None:
    changed = replace(SAME, changed=9)
    assert verdicts(BEFORE, changed)["lists"].value == 0.9
    assert not marks(BEFORE, changed)
    assert not marks(BEFORE, replace(SAME, changed=10)), "1 is no limit"
    assert marks(BEFORE, changed, max_lists_changed=0.8) == {"lists": "warning"}
    assert marks(BEFORE, changed, max_lists_changed=0.8, warn_only=[]) == {"lists": "refused"}


def test_what_either_night_does_not_tell_is_not_compared_and_warns() -> None:
    for judged in (verdicts(BEFORE, None, Facts()), verdicts(Facts(), replace(SAME, users=0))):
        assert {verdict.mark for verdict in judged.values()} == {"warning"}
        assert tuple(judged) == RULES
        assert all("not compared with the published night: " in verdict.sentence for verdict in judged.values())
        assert {verdict.value for verdict in judged.values()} == {None}


def test_where_nothing_was_there_before_nothing_was_lost() -> None:
    nothing = replace(BEFORE, rows={**BEFORE.rows, "users": 0}, evaluated=evaluated(0.0, 0.0, 0.0))
    assert not marks(BEFORE, SAME, nothing)


@pytest.mark.parametrize(("days", "mark"), [(0, "passed"), (1, "passed"), (-61, "refused")])
def test_a_night_is_not_older_than_what_is_published(days: float, mark: str) -> None:
    verdict = not_older(MOMENT + timedelta(days=days), MOMENT, Gate())
    assert (verdict.name, verdict.mark, verdict.value, verdict.limit) == ("as_of", mark, days, 0)
    assert ("is older than the published 2026-01-01 06:00:00" in verdict.sentence) == (mark == "refused")
    assert not_older(MOMENT + timedelta(days=days), MOMENT, Gate(warn_only=("as_of",))).passed
