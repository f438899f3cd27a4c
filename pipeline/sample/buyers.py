"""Buyers in their own words: a profile tells the genres, mood and theme that a buyer likes best, and no record.

Most buyers have one, in English or in Chinese; some left theirs empty, and a few have one but have bought nothing yet.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.sample.blurb import LANGUAGES, LEXICONS, Language, drawn, expand
from pipeline.sample.log import buyer_id
from pipeline.sample.tastes import TRAITS, draw_likings, stream

COLUMNS = ("buyer_id", "profile", "language")
_EMPTY_SHARE = 0.1
_WITHOUT_PURCHASE_SHARE = 0.02


def plan_buyers(seed: int, buyers: int) -> dict[str, tuple[str, ...]]:
    """Chooses the buyers with an odd row: kind, described in `dirt.KINDS` -> buyer ids; none is odd in two ways."""
    order = (1 + stream("profile", seed).permutation(buyers)).tolist()
    empty = order[: max(1, round(_EMPTY_SHARE * buyers))]
    twice = order[len(empty) : len(empty) + 1]
    newcomers = range(buyers + 1, buyers + 1 + max(1, round(_WITHOUT_PURCHASE_SHARE * buyers)))
    return {
        "profile_empty": tuple(buyer_id(number) for number in sorted(empty)),
        "profile_twice": tuple(buyer_id(number) for number in twice),
        "profile_without_purchase": tuple(buyer_id(number) for number in newcomers),
    }


def rows(seed: int, buyers: int, planted: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str, str]]:
    """The rows of buyers.csv, those without a purchase last."""
    table: list[tuple[str, str, str]] = []
    for number in range(1, buyers + 1 + len(planted["profile_without_purchase"])):
        name, language = buyer_id(number), language_of(number, seed)
        profile = "" if name in planted["profile_empty"] else profile_of(number, seed)
        table += [(name, profile, language)] * (2 if name in planted["profile_twice"] else 1)
    return table


def language_of(buyer: int, seed: int) -> Language:
    """The language of a buyer's profile; each has a chance of one half."""
    return LANGUAGES[int(stream("profile", seed, buyer).integers(len(LANGUAGES)))]


def profile_of(buyer: int, seed: int, language: Language | None = None) -> str:
    """The profile of buyer `buyer` (from 1): their two best liked genres, best liked mood and best liked theme.

    The two languages' profiles are translations of each other; by default the buyer's own.
    """
    likings = draw_likings(seed, buyer)
    best = {trait: [TRAITS[trait][place] for place in np.argsort(-liking)] for trait, liking in likings.items()}
    words = LEXICONS[language or language_of(buyer, seed)]
    rules = {
        **words.PROFILE,
        "style": words.STYLE[best["genre"][0]],
        "style_after": words.STYLE[best["genre"][1]],
        "feeling": words.FEELING[best["mood"][0]],
        "story": words.STORY[best["theme"][0]],
    }
    rng = stream("profile", seed, buyer)
    rng.integers(len(LANGUAGES))
    return expand("{profile}", rules, drawn(rng))
