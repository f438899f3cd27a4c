from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pytest

from pipeline.sample import lexicon, lexicon_zh
from pipeline.sample.blurb import LANGUAGES, Language, artist_of, blurb_of, language_of, title_of
from pipeline.sample.tastes import TRAITS, Record, draw_record, levels_of

SEED = 1
LEXICONS = {"en": lexicon, "zh": lexicon_zh}
HAN = re.compile(r"[\u4e00-\u9fff]")
SYMBOL = re.compile(r"\{(\w+)\}")
HIDDEN = {"motif": TRAITS["motif"], "sound": (*TRAITS["sound"], "violin", "guitar", "piano", "trumpet", "horn", "harp")}
HIDDEN_ZH = {
    "motif": ("圆", "圈", "环", "条纹", "线条", "山", "峰", "脸", "面孔", "网格", "方格", "格子", "叶"),
    "sound": ("琴", "弦", "吉他", "琵琶", "铃", "钟", "管风", "铜管", "号", "笛", "箫"),
}

Choices = dict[str, int]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [draw_record(SEED, number) for number in range(1, 401)]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def _rules(record: Record, language: Language) -> dict[str, tuple[str, ...]]:
    words = LEXICONS[language]
    return {
        **words.RULES,
        "style": words.STYLE[record.genre],
        "shelf": words.SHELF[record.genre],
        "feeling": words.FEELING[record.mood],
        "times": words.TIMES[record.era],
        "story": words.STORY[record.theme],
        "artist": (artist_of(record, SEED),),
        "year": (str(record.year),),
    }


def _expansions(symbol: str, rules: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[Choices, str]]:
    """Everything that a symbol can become, with the choices that lead there."""
    for place, text in enumerate(rules[symbol]):
        for parts in product(*(list(_expansions(inner, rules)) for inner in SYMBOL.findall(text))):
            choices, words = {symbol: place}, iter(parts)
            for inner, _ in parts:
                choices |= inner
            yield choices, SYMBOL.sub(lambda _, words=words: next(words)[1], text)


def _parse(record: Record, language: Language) -> list[Choices]:
    """The choices behind each sentence of a blurb, in the order of the sentences."""
    blurb, rules = blurb_of(record, SEED, language).lower(), _rules(record, language)
    found: list[tuple[int, Choices]] = []
    for symbol in ("opening", "closing", "feeling", "story"):
        told = [(choices, text.lower()) for choices, text in _expansions(symbol, rules) if text.lower() in blurb]
        # Of "jazz from X" and "small-group jazz from X", both of which are found, the sentence is the longer.
        longest = max(len(text) for _, text in told)
        told = told if symbol == "story" else [(choices, text) for choices, text in told if len(text) == longest]
        found += [(blurb.index(text), choices) for choices, text in told]
    return [choices for _, choices in sorted(found, key=lambda sentence: sentence[0])]


def test_an_english_blurb_is_forty_to_ninety_words_and_leaves_no_symbol_open(records: list[Record]) -> None:
    for record in records:
        blurb = blurb_of(record, SEED, "en")
        assert 40 <= len(blurb.split()) <= 90, blurb
        assert not HAN.search(blurb)
        assert not re.search(r"[{}]", blurb + title_of(record, SEED) + artist_of(record, SEED))


def test_a_chinese_blurb_is_seventy_to_a_hundred_and_fifty_characters_and_leaves_no_symbol_open(
    records: list[Record],
) -> None:
    for record in records:
        blurb = blurb_of(record, SEED, "zh")
        assert 70 <= len(HAN.findall(blurb)) <= 150, blurb
        assert not re.search(r"[{}]", blurb)


def test_a_chinese_blurb_is_punctuated_as_chinese_and_latin_in_names_alone(records: list[Record]) -> None:
    for record in records:
        blurb = blurb_of(record, SEED, "zh").replace(artist_of(record, SEED), "")
        assert not re.search(r"[.,;:!?]", blurb), blurb
        assert blurb.endswith("。")
        assert set(re.findall(r"[A-Za-z]+", blurb)) <= {"B"}


def test_blurbs_and_titles_vary(records: list[Record]) -> None:
    for language in LANGUAGES:
        assert len({blurb_of(record, SEED, language) for record in records}) == len(records)
    assert len({title_of(record, SEED) for record in records}) > 250


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_blurb_tells_its_records_theme_mood_and_year_and_no_other_theme(
    records: list[Record], language: Language
) -> None:
    words = LEXICONS[language]
    for record in records:
        blurb = blurb_of(record, SEED, language).lower()
        told = {theme for theme, stories in words.STORY.items() if any(story.lower() in blurb for story in stories)}
        assert told == {record.theme}
        felt = {mood for mood, lines in words.FEELING.items() if any(line in blurb for line in lines)}
        assert felt == {record.mood}
        assert str(record.year) in blurb


def test_the_blurbs_of_a_record_make_the_same_choices_in_the_same_order_in_both_languages(
    records: list[Record],
) -> None:
    parsed = [_parse(record, "en") for record in records]
    assert parsed == [_parse(record, "zh") for record in records]
    assert all(len(sentences) == 5 for sentences in parsed)
    assert len({str(sentences) for sentences in parsed}) > 300


def test_the_lexicons_are_parallel_down_to_the_symbols_of_each_entry() -> None:
    for table in ("STYLE", "SHELF", "FEELING", "TIMES", "STORY", "RULES"):
        english, chinese = getattr(lexicon, table), getattr(lexicon_zh, table)
        assert chinese.keys() <= english.keys()
        assert table == "RULES" or chinese.keys() == english.keys()
        for name, entries in chinese.items():
            pairs = list(zip(english[name], entries, strict=True))
            assert all(sorted(SYMBOL.findall(one)) == sorted(SYMBOL.findall(other)) for one, other in pairs), name


def test_a_record_has_one_language_which_its_blurb_is_in_by_default(records: list[Record]) -> None:
    for record in records:
        language = language_of(record, SEED)
        assert blurb_of(record, SEED) == blurb_of(record, SEED, language)
        assert bool(HAN.search(blurb_of(record, SEED))) == (language == "zh")


def test_about_half_of_the_records_are_in_each_language_whatever_their_traits() -> None:
    many = [draw_record(SEED, number) for number in range(1, 3001)]
    chinese = np.array([language_of(record, SEED) == "zh" for record in many])
    assert 0.47 < chinese.mean() < 0.53
    for trait, levels in levels_of(many).items():
        assert all(0.42 < chinese[levels == level].mean() < 0.58 for level in range(len(TRAITS[trait]))), trait


@pytest.mark.parametrize("trait", HIDDEN)
def test_words_say_nothing_of_what_only_the_sleeve_or_the_clip_tells(records: list[Record], trait: str) -> None:
    for record in records:
        named = f"{title_of(record, SEED)} {artist_of(record, SEED)}"
        assert not _words(f"{named} {blurb_of(record, SEED, 'en')}") & set(HIDDEN[trait])
        assert not [word for word in HIDDEN_ZH[trait] if word in blurb_of(record, SEED, "zh")]


def test_an_artist_keeps_to_one_genre(records: list[Record]) -> None:
    genres: dict[str, set[str]] = {}
    for record in records:
        genres.setdefault(artist_of(record, SEED), set()).add(record.genre)
    assert sum(len(played) == 1 for played in genres.values()) > 0.95 * len(genres)
