from __future__ import annotations

import re

import pytest

from pipeline.sample.blurb import artist_of, blurb_of, title_of
from pipeline.sample.lexicon import FEELING, STORY
from pipeline.sample.tastes import TRAITS, Record, draw_record

HIDDEN = {"motif": TRAITS["motif"], "sound": (*TRAITS["sound"], "violin", "guitar", "piano", "trumpet", "horn", "harp")}


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [draw_record(1, number) for number in range(1, 401)]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_a_blurb_is_forty_to_ninety_words_and_leaves_no_symbol_open(records: list[Record]) -> None:
    for record in records:
        blurb = blurb_of(record, 1)
        assert 40 <= len(blurb.split()) <= 90, blurb
        assert not re.search(r"[{}]", blurb + title_of(record, 1) + artist_of(record, 1))


def test_blurbs_and_titles_vary(records: list[Record]) -> None:
    assert len({blurb_of(record, 1) for record in records}) == len(records)
    assert len({title_of(record, 1) for record in records}) > 250


def test_a_blurb_tells_its_records_theme_mood_and_year_and_no_other_theme(records: list[Record]) -> None:
    for record in records:
        blurb = blurb_of(record, 1).lower()
        told = {theme for theme, stories in STORY.items() if any(story.lower() in blurb for story in stories)}
        assert told == {record.theme}
        assert any(line in blurb for line in FEELING[record.mood])
        assert str(record.year) in blurb


@pytest.mark.parametrize("trait", HIDDEN)
def test_words_say_nothing_of_what_only_the_sleeve_or_the_clip_tells(records: list[Record], trait: str) -> None:
    for record in records:
        words = _words(f"{title_of(record, 1)} {artist_of(record, 1)} {blurb_of(record, 1)}")
        assert not words & set(HIDDEN[trait])


def test_an_artist_keeps_to_one_genre(records: list[Record]) -> None:
    genres: dict[str, set[str]] = {}
    for record in records:
        genres.setdefault(artist_of(record, 1), set()).add(record.genre)
    assert sum(len(played) == 1 for played in genres.values()) > 0.95 * len(genres)
