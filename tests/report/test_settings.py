"""The report names the settings that are not defaults, hides what is secret, and says how old the newest choice is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.config import Config
from pipeline.report import RunFiles, gather, render
from pipeline.report.freshness import newest_choice_of
from pipeline.report.settings import MAX_LETTERS, not_default
from pipeline.source.passwords import without_secrets
from tests.report.conftest import EVIL, change

WriteRun = Callable[..., RunFiles]


def rows(**sections: object) -> set[tuple[str, str, str]]:
    return {(setting.name, setting.value, setting.other) for setting in not_default(Config.model_validate(sections))}


def test_a_setting_stands_beside_its_default() -> None:
    assert rows() == set()
    assert rows(publish={"gate": {"min_ratio": 2}}, seed=1) == {
        ("publish.gate.min_ratio", "2.0", "1.0"),
        ("seed", "1", "0"),
    }


def test_a_kind_stands_beside_the_default_kind_and_its_settings_beside_its_own_defaults() -> None:
    chosen = {"train": {"model": "two_tower", "width": 64}, "extract": {"audio": None}}
    assert rows(**chosen) == {
        ("train.model", "two_tower", "auto"),
        ("train.width", "64", "128"),
        ("extract.audio", "", "mfcc"),
    }


def test_what_stands_in_a_list_is_named_by_its_kind() -> None:
    baselines = [{"model": "popularity"}, {"model": "als", "factors": 3}, {"model": "svd"}]
    assert rows(evaluate={"baselines": baselines}) == {
        ("evaluate.baselines.als.factors", "3", "64"),
        ("evaluate.baselines.svd", "svd", ""),
        *((f"evaluate.baselines.{name}", "", name) for name in ("random", "item_knn", "rp3beta", "ease")),
    }


def test_secrets_are_hidden_and_long_values_cut() -> None:
    params = {"uri": "postgresql://me:hidden@host/db", "api_key": "hidden", "root": "/data"}
    items = "select * from read_csv('https://host/a?token=hidden&b=1') where " + "a" * 500
    found = {name: value for name, value, _ in rows(source={"params": params, "items": items})}
    assert found["source.params.uri"] == "postgresql://***@host/db"
    assert (found["source.params.api_key"], found["source.params.root"]) == ("***", "/data")
    assert found["source.items"].startswith("select * from read_csv('https://host/a?token=***&b=1')")
    assert len(found["source.items"]) == MAX_LETTERS


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("host=h user=u password='a b' dbname=d", "host=h user=u password=*** dbname=d"),
        ("postgresql://u:p@ss@host/db", "postgresql://***@host/db"),
        (r'{"my_secret": "a\"b c", "width": 3}', '{"my_secret": ***, "width": 3}'),
        ("create secret (type s3, secret 'abc')", "create secret (type s3, secret ***)"),
        ("a tokenizer = of words, max_tokens: 5", "a tokenizer = of words, max_tokens: 5"),
        ("https://host:80/path", "https://host:80/path"),
    ],
)
def test_what_a_value_holds_of_secrets_is_hidden_and_nothing_else(value: str, shown: str) -> None:
    assert without_secrets("items", value) == shown


@pytest.mark.parametrize("name", ["password", "DB_PASSWORD", "token", "aws_secret_access_key", "pwd", "api-key"])
def test_a_parameter_whose_name_says_so_is_hidden_whole(name: str) -> None:
    assert without_secrets(name, "hunter2") == "***"
    assert without_secrets("tokenizer", "hunter2") == "hunter2"


def test_the_page_lists_them_as_text(write_run: WriteRun) -> None:
    run = write_run()
    page = render(gather(replace(run, config=Config(name=EVIL, seed=7))))
    section = re.search(r'<section id="settings">.*?</section>', page, re.S)
    assert section
    assert "<code>seed</code>" in section[0]
    assert "alert(1)" in section[0]
    assert "<script>alert" not in page
    assert 'id="settings"' not in render(gather(replace(run, config=Config())))


def test_a_name_may_be_broken_after_its_dots_and_stays_text(write_run: WriteRun) -> None:
    config = Config.model_validate({"source": {"params": {"<b>": "1"}}})
    assert "<code>source.<wbr>params.<wbr>&lt;b&gt;</code>" in render(gather(replace(write_run(), config=config)))


def test_the_newest_choice_has_an_age_at_as_of_and_when_the_night_ran(write_run: WriteRun) -> None:
    run = write_run()
    newest = newest_choice_of(run)
    assert newest
    assert newest.moment == "2025-11-24T01:00:00+00:00"
    assert [(age.words, age.is_stale) for age in newest.ages] == [
        ("2 hours before “as of”", False),
        ("4 days before the night ran", True),
    ]
    page = render(gather(run))
    assert "24 Nov 2025, 01:00 UTC" in page
    assert '<small class="stale">4 days before the night ran</small>' in page
    assert "<small>2 hours before “as of”</small>" in page


@pytest.mark.parametrize(
    ("as_of", "words", "stale"),
    [
        ("2025-11-24T00:59:00+00:00", "after “as of”", False),
        ("2025-11-24T01:00:30+00:00", "less than a minute before “as of”", False),
        ("2025-11-27T01:00:00+00:00", "3 days before “as of”", False),
        ("2025-11-27T01:00:01+00:00", "3 days before “as of”", True),
    ],
)
def test_an_age_is_coloured_beyond_some_days(write_run: WriteRun, as_of: str, words: str, stale: bool) -> None:
    newest = newest_choice_of(replace(write_run(), as_of=as_of))
    assert newest
    assert (newest.ages[0].words, newest.ages[0].is_stale) == (words, stale)


def test_the_gates_limit_says_which_age_is_coloured(write_run: WriteRun) -> None:
    config = Config.model_validate({"publish": {"gate": {"max_log_age_days": 5}}})
    newest = newest_choice_of(replace(write_run(), config=config))
    assert newest
    assert [age.is_stale for age in newest.ages] == [False, False]


def test_a_run_that_does_not_say_when_it_began_has_one_age(write_run: WriteRun) -> None:
    run = write_run()
    change(run.folder / "run.json", dict.clear)
    newest = newest_choice_of(run)
    assert newest
    assert [age.words for age in newest.ages] == ["2 hours before “as of”"]


def test_a_log_of_nobody_has_no_newest_choice(write_run: WriteRun) -> None:
    run = write_run(users=0)
    assert newest_choice_of(run) is None
    assert "Newest choice" not in render(gather(run))
