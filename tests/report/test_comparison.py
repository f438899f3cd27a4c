"""The report says in one sentence whether the model is better, and shows the parts of the test."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.report import RunFiles, gather, render
from pipeline.report.scores import Difference

WriteRun = Callable[..., RunFiles]


def text_of(page: str, selector: str) -> str:
    found = re.search(rf'<(\w+) class="{selector}".*?</\1>', page, re.S)
    assert found, selector
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", found.group(0)))).strip()


def changed(run: RunFiles, change: Callable[[dict[str, Any]], object]) -> RunFiles:
    path = run.folder / "metrics.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return run


@pytest.mark.parametrize(
    ("lead", "sentence"),
    [
        (0.05, "two-tower is 0.0500 [0.0300, 0.0700] above ALS in NDCG@10, p = 0.002 (14 users)."),
        (-0.05, "two-tower is 0.0500 [0.0300, 0.0700] below ALS in NDCG@10, p = 0.002 (14 users)."),
        (
            0.01,
            "No difference between two-tower and ALS can be told in NDCG@10: "
            "+0.0100 [\u22120.0100, +0.0300], p = 0.002 (14 users).",
        ),
    ],
)
def test_one_sentence_says_whether_the_model_is_better(write_run: WriteRun, lead: float, sentence: str) -> None:
    page = render(gather(write_run(lead=lead)))
    assert text_of(page, "verdict.*?").replace("\u00a0", " ") == sentence


@pytest.mark.parametrize(
    ("mean", "half", "p", "told"),
    [(0.1, 0.05, 0.01, "above"), (-0.1, 0.05, 0.01, "below"), (0.1, 0.2, 0.01, ""), (0.1, 0.05, 0.06, "")],
)
def test_a_difference_is_told_where_interval_and_p_agree(mean: float, half: float, p: float, told: str) -> None:
    assert Difference(mean, mean - half, mean + half, p, 9).direction == told


def test_the_trained_model_comes_first_and_then_the_best(write_run: WriteRun) -> None:
    report = gather(write_run())
    paired = report.paired
    assert paired is not None
    assert [name for name, _ in paired.models] == ["two_tower", "content", "popularity"]
    assert paired.by_validation
    assert "The baseline that validation prefers" in render(report)


def test_without_validation_it_is_said_which_baseline_it_is(write_run: WriteRun) -> None:
    run = changed(write_run(), lambda document: document["paired"].update(validation={}))
    assert "there was no validation part" in render(gather(run))


def test_parts_of_the_test_are_one_table_a_metric(write_run: WriteRun) -> None:
    report = gather(write_run())
    view = next(view for view in report.metrics if view.metric == "ndcg@10")
    assert [panel.segment for panel in view.panels] == ["all", "cold"]
    assert view.models == ("two_tower", "als", "content", "popularity", "random")
    assert [row.segment for row in view.slices] == ["head", "tail", "no_image"]
    assert [view.slices[0].means[model] for model in view.models] == [0.2, 0.15, 0.12, 0.1, 0.01]
    page = render(report)
    assert "Tail items" in page
    # In coverage, which is the last, all five models are as good.
    assert page.count('class="n best"') == 3 * (len(report.metrics) - 1) + 3 * 5


def test_what_a_modality_adds_is_a_row(write_run: WriteRun) -> None:
    report = gather(write_run())
    (table,) = report.ablation
    assert [(modality, change.direction) for modality, _, change in table.rows] == [("text", ""), ("image", "below")]
    assert "its items made again from what is left" in render(report)


@pytest.mark.parametrize(
    ("used", "sentence"),
    [(True, "the list that goes out has it"), (False, "the list that goes out keeps the order of the first stage")],
)
def test_what_re_ordering_is_worth_is_shown(write_run: WriteRun, used: bool, sentence: str) -> None:
    report = gather(changed(write_run(), lambda metrics: metrics["ranker"].update(used=used)))
    assert report.reranked is not None
    assert (report.reranked.after, report.reranked.gain.direction) == (0.23, "above")
    page = render(report)
    assert sentence in page
    assert "log-loss 0.0890 (one chance for all: 0.0960)" in page


def test_chances_are_told_of_what_they_are_chances_of(write_run: WriteRun) -> None:
    by_shown = {"learned_from": "shown", "shown": {"auc": 0.72, "log_loss": 0.3, "constant_log_loss": 0.4, "ece": 0.01}}
    run = write_run()
    assert "of choosing what is shown" not in render(gather(run))
    page = render(gather(changed(run, lambda metrics: metrics["ranker"].update(by_shown))))
    assert "Its chances, of choosing what is shown: AUC 0.7200, log-loss 0.3000 (one chance for all: 0.4000)" in page


def test_a_night_that_compared_nothing_shows_nothing(write_run: WriteRun) -> None:
    nothing: dict[str, Any] = {"paired": {}, "ablation": {}, "ranker": {}}
    report = gather(changed(write_run(), lambda metrics: metrics.update(nothing)))
    assert (report.paired, report.ablation, report.reranked) == (None, (), None)
    page = render(report)
    assert "can be told in" not in page
    assert 'class="columns two judged"' not in page


def test_a_re_ranker_that_nobody_could_be_asked_about_is_not_shown(write_run: WriteRun) -> None:
    report = gather(changed(write_run(), lambda metrics: metrics["ranker"].update(test={})))
    assert report.reranked is None


def test_chances_that_could_not_be_measured_are_not_told(write_run: WriteRun) -> None:
    page = render(gather(changed(write_run(), lambda metrics: metrics["ranker"].update(candidates={}))))
    assert "the list that goes out has it" in page
    assert "Its chances" not in page
