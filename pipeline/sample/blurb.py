"""Names and blurbs from a grammar: genre, mood, era and theme are told in words; motif and sound never are.

- A blurb's choices are drawn once, as places in the lexicon; each language renders them from its own lexicon.
- So the blurbs of one record in two languages are translations of each other, sentence by sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Literal

import numpy as np

from pipeline.sample import lexicon, lexicon_zh
from pipeline.sample.lexicon import ARTIST, RULES, STORY, TITLE, Words
from pipeline.sample.tastes import Record, stream

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_SYMBOL = re.compile(r"\{(\w+)\}")
_ARTISTS_PER_GENRE = 30

# Of a symbol and its number of alternatives, the place of the one to take.
Choose = Callable[[str, int], int]


LEXICONS: dict[Language, ModuleType] = {"en": lexicon, "zh": lexicon_zh}


def artist_of(record: Record, seed: int) -> str:
    """The artist's name; an artist keeps to one genre."""
    pick = int(stream("artist", seed, record.number).integers(_ARTISTS_PER_GENRE))
    rng = np.random.default_rng([*record.genre.encode(), seed, pick])
    return expand("{name}", {"name": ARTIST[record.genre], **RULES}, drawn(rng))


def title_of(record: Record, seed: int) -> str:
    """The title, drawn from the mood's words: it says nothing of theme, motif or sound."""
    rng = stream("artist", seed, record.number)
    rng.integers(_ARTISTS_PER_GENRE)
    rules = {"title": TITLE["any"], "mood": TITLE[record.mood], "thing": TITLE["thing"], "moment": TITLE["moment"]}
    return expand("{title}", rules, drawn(rng))


def language_of(record: Record, seed: int) -> Language:
    """The language that the shop writes the record's blurb in; each has a chance of one half."""
    return LANGUAGES[int(stream("language", seed, record.number).integers(len(LANGUAGES)))]


def blurb_of(record: Record, seed: int, language: Language | None = None) -> str:
    """The blurb: 40 to 90 words of English or 70 to 150 characters of Chinese, by default the record's own.

    The two are translations of each other; names of artists stay as they are.
    """
    rng = stream("blurb", seed, record.number)
    story, second_story = (int(place) for place in rng.choice(len(STORY[record.theme]), size=2, replace=False))
    chosen: dict[str, int] = {}

    def draw(symbol: str, alternatives: int) -> int:
        # No symbol stands twice in a blurb, so its name is enough to find the choice again.
        chosen[symbol] = int(rng.integers(alternatives))
        return chosen[symbol]

    artist = artist_of(record, seed)
    english = expand("{blurb}", _rules(record, artist, (story, second_story), "en"), draw)
    if (language or language_of(record, seed)) == "en":
        return english
    # Another language may order the symbols of a sentence otherwise: choices are replayed by symbol, not by turn.
    return expand("{blurb}", _rules(record, artist, (story, second_story), "zh"), lambda symbol, _: chosen[symbol])


def _rules(record: Record, artist: str, stories: tuple[int, int], language: Language) -> dict[str, Words]:
    words = LEXICONS[language]
    story, second_story = stories
    return {
        **words.RULES,
        "style": words.STYLE[record.genre],
        "shelf": words.SHELF[record.genre],
        "feeling": words.FEELING[record.mood],
        "times": words.TIMES[record.era],
        "story": (words.STORY[record.theme][story],),
        "story_again": (words.STORY[record.theme][second_story],),
        "artist": (artist,),
        "year": (str(record.year),),
    }


def drawn(rng: np.random.Generator) -> Choose:
    """A choice of each symbol's alternative by a generator, one draw a symbol."""
    return lambda _, alternatives: int(rng.integers(alternatives))


def expand(text: str, rules: Mapping[str, Words], choose: Choose) -> str:
    """Replaces every {symbol} by the chosen one of its rules until none is left."""

    def alternative(match: re.Match[str]) -> str:
        options = rules[match[1]]
        return options[choose(match[1], len(options))]

    while _SYMBOL.search(text):
        text = _SYMBOL.sub(alternative, text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)
