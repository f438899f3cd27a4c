from __future__ import annotations

import csv
import re

import numpy as np
import pytest

from pipeline.sample import lexicon, lexicon_zh
from pipeline.sample.blurb import LANGUAGES, title_of
from pipeline.sample.buyers import COLUMNS, language_of, plan_buyers, profile_of, rows
from pipeline.sample.tastes import TRAITS, draw_likings, draw_record

SEED, BUYERS = 0, 400
LEXICONS = {"en": lexicon, "zh": lexicon_zh}
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def written() -> dict[str, tuple[str, str]]:
    return {name: (profile, language) for name, profile, language in rows(SEED, BUYERS, plan_buyers(SEED, BUYERS))}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_profile_tells_the_best_liked_genres_mood_and_theme(language: str) -> None:
    words = LEXICONS[language]
    for buyer in range(1, 100):
        said = profile_of(buyer, SEED, language).lower()  # type: ignore[arg-type]
        likings = draw_likings(SEED, buyer)
        best = {trait: [TRAITS[trait][place] for place in np.argsort(-likings[trait])] for trait in TRAITS}
        for table, level in (
            (words.STYLE, best["genre"][0]),
            (words.STYLE, best["genre"][1]),
            (words.FEELING, best["mood"][0]),
            (words.STORY, best["theme"][0]),
        ):
            assert any(text.lower() in said for text in table[level]), (buyer, level, said)
        assert not re.search(r"[{}]", said)


def test_a_profile_names_no_record_and_is_in_the_language_of_its_row(written: dict[str, tuple[str, str]]) -> None:
    titles = [title_of(draw_record(SEED, number), SEED) for number in range(1, 601)]
    for profile, language in written.values():
        assert not any(title in profile for title in titles)
        assert bool(HAN.search(profile)) == (language == "zh" and profile != "")
    languages = [language for _, language in written.values()]
    assert 0.4 < languages.count("en") / len(languages) < 0.6


def test_some_profiles_are_empty_and_a_few_buyers_have_bought_nothing(written: dict[str, tuple[str, str]]) -> None:
    planted = plan_buyers(SEED, BUYERS)
    empty = {name for name, (profile, _) in written.items() if not profile}
    assert empty == set(planted["profile_empty"])
    assert 0.05 < len(empty) / BUYERS < 0.2
    newcomers = planted["profile_without_purchase"]
    assert len(written) == BUYERS + len(newcomers)
    assert all(written[name][0] for name in newcomers)
    listed = [name for name, *_ in rows(SEED, BUYERS, planted)]
    assert {name for name in listed if listed.count(name) == 2} == set(planted["profile_twice"])


def test_a_buyer_says_the_same_in_a_shop_of_any_size() -> None:
    assert profile_of(7, SEED) == profile_of(7, SEED)
    assert profile_of(7, SEED) != profile_of(7, SEED + 1)
    assert language_of(7, SEED) in LANGUAGES
    assert rows(SEED, 30, plan_buyers(SEED, 30)) == rows(SEED, 30, plan_buyers(SEED, 30))


def test_the_profiles_lexicons_are_parallel() -> None:
    assert lexicon.PROFILE.keys() == lexicon_zh.PROFILE.keys()
    for symbol, texts in lexicon.PROFILE.items():
        chinese = lexicon_zh.PROFILE[symbol]
        assert [re.findall(r"{\w+}", text) for text in texts] == [re.findall(r"{\w+}", text) for text in chinese]


def test_the_columns_are_those_of_the_query() -> None:
    assert next(csv.reader([",".join(COLUMNS)])) == ["buyer_id", "profile", "language"]
