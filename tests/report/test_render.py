"""The page is whole, safe and readable."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import WorkspaceError
from pipeline.evaluation.gate import Verdict
from pipeline.report import RunFiles, gather, render, write_report
from pipeline.report import number_formats as formats
from pipeline.report.render import data_block
from tests.report.conftest import write_earlier

EVIL = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"
WriteRun = Callable[..., RunFiles]


def test_a_title_cannot_become_markup(write_run: WriteRun) -> None:
    titles = {number: EVIL for number in range(48)}
    page = render(gather(write_run(titles=titles, columns={"genre": [EVIL, "a"] * 24})))
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_data_cannot_end_its_script_element() -> None:
    block = str(data_block({"title": EVIL + "<!-- &"}))
    assert not set("<>&") & set(block)
    assert json.loads(block)["title"] == EVIL + "<!-- &"


def test_data_refuses_nan() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        data_block({"x": float("nan")})


def test_the_page_names_no_address_it_would_load_from(write_run: WriteRun) -> None:
    page = render(gather(write_run()))
    assert not re.search(r"""(?:src|href)=(?!["']?data:|"#)""", page)
    assert "@import" not in page
    assert "default-src 'none'" in html.unescape(page)


@pytest.mark.parametrize("trained", ["two_tower", "content"])
def test_nothing_on_the_page_reads_nan_or_none(write_run: WriteRun, trained: str) -> None:
    page = render(gather(write_run(trained=trained)))
    text = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", page, flags=re.S)
    assert not re.search(r"\b(nan|None|undefined|inf)\b", text)


def test_the_bar_of_contents_leads_to_every_section_and_to_no_other(write_run: WriteRun) -> None:
    run = write_run()

    def both() -> tuple[list[str], list[str]]:
        page = render(gather(run))
        bar = re.search(r'<nav class="contents".*?</nav>', page, re.S)
        assert bar
        return re.findall(r'href="#([^"]+)"', bar[0]), re.findall(r'<section id="([^"]+)"', page)

    links, sections = both()
    assert links == sections
    assert "last-night" not in links
    write_earlier(run)
    links, sections = both()
    assert links == sections
    assert links[0] == "last-night"


def test_a_refused_night_says_so_and_why(write_run: WriteRun) -> None:
    page = render(gather(write_run(published=False)))
    assert "✕ Refused" in page
    assert "✓ Published" not in page
    assert "ndcg@10 0.2000 against 0.1000 of popularity" in page


def test_a_rule_that_warns_is_coloured_and_those_that_passed_are_counted(write_run: WriteRun) -> None:
    warned = Verdict("log_age", True, 500.0, 3.0, "the newest interaction is 500 days old", warning=True)
    passed = tuple(Verdict(f"rule {n}", True, 1.0, 0.5, f"passed the {n}th") for n in range(5))
    run = replace(write_run(), gate=(*passed, warned))
    page = render(gather(run))
    assert '<li class="warning"><b>!</b> log_age: the newest interaction is 500 days old</li>' in page
    assert "<summary>5\u00a0rules passed</summary>" in page
    assert "passed the 4th" in page
    assert "✓ Published" in page


def test_a_night_published_by_force_says_so_with_its_reason(write_run: WriteRun) -> None:
    run = replace(write_run(published=False), published=True, forced=f"half the range went {EVIL}")
    page = render(gather(run))
    assert "! Published by force" in page
    assert "Reason: half the range went &lt;script&gt;" in page
    assert '<li class="refused"><b>✕</b> quality: ' in page
    assert EVIL not in page
    assert "✓ Published" not in page


def test_the_note_is_on_the_page(write_run: WriteRun) -> None:
    assert '<p class="note">Synthetic data.</p>' in render(gather(write_run()))


@pytest.mark.parametrize(("ratio", "behind"), [(0.81, 1), (0.994, 1), (0.996, 0), (1.0, 0), (None, 0)])
def test_a_baseline_that_the_model_is_behind_of_is_coloured(
    write_run: WriteRun, ratio: float | None, behind: int
) -> None:
    report = gather(write_run())
    assert report.headline is not None
    (one, *_) = report.headline.comparisons
    headline = replace(report.headline, comparisons=(replace(one, ratio=ratio),))
    assert render(replace(report, headline=headline)).count('class="big small behind"') == behind


def test_a_model_that_learns_nothing_has_no_curves(write_run: WriteRun) -> None:
    assert "learns nothing from the log" in render(gather(write_run(trained="content")))


def test_a_page_of_no_users_and_few_items_still_renders(write_run: WriteRun) -> None:
    assert "No user has both" in render(gather(write_run(users=0, items=6)))


def test_write_report_writes_the_page_or_says_why_not(write_run: WriteRun, tmp_path: Path) -> None:
    run = write_run()
    write_report(run, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(WorkspaceError, match="could not be written"):
        write_report(run, tmp_path / "absent" / "report.html")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.whole(6412), "6,412"),
        (formats.whole(None), "–"),
        (formats.percent(1, 4000), "<\u00a00.1\u00a0%"),
        (formats.percent(3999, 4000), ">\u00a099.9\u00a0%"),
        (formats.percent(0, 0), "–"),
        (formats.percent(1, 8), "12.5\u00a0%"),
        (formats.seconds(0), "0.0\u00a0s"),
        (formats.seconds(0.042), "42\u00a0ms"),
        (formats.seconds(0.97), "1.0\u00a0s"),
        (formats.seconds(119.6), "2\u00a0min 00\u00a0s"),
        (formats.seconds(7260), "2\u00a0h 01\u00a0min"),
        (formats.size(1_420_000_000), "1.42\u00a0GB"),
        (formats.size(None), "–"),
        (formats.ratio(12345.6), "12,346\u00a0×"),
        (formats.moment("2025-11-24T03:00:00+02:00"), "24 Nov 2025, 01:00 UTC"),
        (formats.moment("last night"), "last night"),
        (formats.plural(1, "item"), "1\u00a0item"),
        (formats.plural(1200, "query"), "1,200\u00a0queries"),
    ],
)
def test_numbers_read_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected
