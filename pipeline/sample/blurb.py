"""Names and blurbs from a grammar: genre, mood, era and theme are told in words; motif and sound never are."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from pipeline.sample.lexicon import ARTIST, FEELING, RULES, STORY, STYLE, TIMES, TITLE
from pipeline.sample.tastes import Record, stream

_SYMBOL = re.compile(r"\{(\w+)\}")
_ARTISTS_PER_GENRE = 30


def artist_of(record: Record, seed: int) -> str:
    """The artist's name; an artist keeps to one genre."""
    pick = int(stream("artist", seed, record.number).integers(_ARTISTS_PER_GENRE))
    rng = np.random.default_rng([*record.genre.encode(), seed, pick])
    return _expand(rng, "{name}", {"name": ARTIST[record.genre], **RULES})


def title_of(record: Record, seed: int) -> str:
    """The title, drawn from the mood's words: it says nothing of theme, motif or sound."""
    rng = stream("artist", seed, record.number)
    rng.integers(_ARTISTS_PER_GENRE)
    rules = {"title": TITLE["any"], "mood": TITLE[record.mood], "thing": TITLE["thing"], "moment": TITLE["moment"]}
    return _expand(rng, "{title}", rules)


def blurb_of(record: Record, seed: int) -> str:
    """The blurb: 40 to 90 words of English."""
    rng = stream("blurb", seed, record.number)
    rules = {
        **RULES,
        "style": STYLE[record.genre],
        "feeling": FEELING[record.mood],
        "times": TIMES[record.era],
        "artist": (artist_of(record, seed),),
        "year": (str(record.year),),
    }
    told, retold = rng.choice(len(STORY[record.theme]), size=2, replace=False)
    rules |= {"story": (STORY[record.theme][told],), "story_again": (STORY[record.theme][retold],)}
    return _expand(rng, "{blurb}", rules)


def _expand(rng: np.random.Generator, text: str, rules: Mapping[str, tuple[str, ...]]) -> str:
    """Replaces every {symbol} by one of its rules until none is left."""
    while _SYMBOL.search(text):
        text = _SYMBOL.sub(lambda found: str(rng.choice(rules[found[1]])), text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda found: found[1] + found[2].upper(), text)
