"""Words of a text in any script.

    text ── NFKC, casefold ──► runs of one kind of script ──► words
                               Han                      jieba
                               kana, Thai, Lao, Khmer,  overlapping pairs of characters: these scripts put no space
                               Burmese                  between words, and no dictionary of theirs is at hand
                               anything else            letters, digits and their marks up to the next space or sign

Pairs of characters are what Lucene's CJKAnalyzer indexes. A text whose letters are Japanese, which is to say that over
a quarter of its kana and Han are kana, is cut into pairs throughout, its Han too; a Chinese text may borrow a の and
still goes to jieba, as does a Japanese one without any kana. Korean is written with spaces: its words keep their
particles. An apostrophe ends a word, and a single letter beside one is dropped: don't is `don`, l'amore `amore`.
Traditional and simplified characters stay as they are.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex
    from jieba import Tokenizer

VERSION = 1
KANA_SHARE = 0.25
# jieba's Viterbi for unknown characters copies its path at every step: without this bound its time grows by the square.
MAX_RUN_CHARACTERS = 500
UNSPACED = r"\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
LETTERS = r"\p{L}\p{M}\p{N}"
_loading = threading.Lock()


def words(text: str) -> list[str]:
    """The words of a text in order, normalised as `normal` does; empty if it has none. Any thread may call it."""
    text = normal(text)
    runs = _runs(UNSPACED + r"\p{Han}" if _japanese(text) else UNSPACED)
    return [word for run in runs.finditer(text) for word in _cut(run.group(), run.lastgroup or "")]


def meaning() -> tuple[str, int, str]:
    """What of segmenting decides a vector; an encoder's identity holds it."""
    return "words", VERSION, version("jieba")


def normal(text: str) -> str:
    """A text in Unicode's compatibility composition and without case: full-width ＡＢＣ is abc, ﬁ is fi."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


@cache
def _runs(unspaced: str) -> regex.Pattern[str]:
    """Runs of one kind of script: pairs are made of those in `unspaced`, jieba cuts what Han is not among them."""
    letter = rf"[[{LETTERS}]--[\p{{Han}}{unspaced}]]"
    return _compiled(
        rf"(?P<unspaced>[[{unspaced}]&&[{LETTERS}]]+)|(?P<han>\p{{Han}}+)|(?P<spaced>{letter}+(?:['’]{letter}+)*)"
    )


@cache
def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex

    return regex.compile(pattern, regex.V1)


def _cut(run: str, kind: str) -> list[str]:
    if kind == "han":
        return list(_chinese(run))
    if kind == "unspaced":
        return [run[i : i + 2] for i in range(len(run) - 1)] or [run]
    pieces = re.split("['’]", run)
    return pieces if len(pieces) == 1 else [piece for piece in pieces if len(piece) > 1]


def _japanese(text: str) -> bool:
    kana = len(_compiled(r"[\p{Hiragana}\p{Katakana}]").findall(text))
    return kana > 0 and kana > KANA_SHARE * (kana + len(_compiled(r"\p{Han}").findall(text)))


def _chinese(run: str) -> Iterator[str]:
    for start in range(0, len(run), MAX_RUN_CHARACTERS):
        yield from _jieba().cut(run[start : start + MAX_RUN_CHARACTERS])


def _jieba() -> Tokenizer:
    with _loading:
        return _load()


@cache
def _load() -> Tokenizer:
    """A tokenizer filled from jieba's own dictionary.

    Its `initialize` would first load a marshal file of a fixed name from the shared temporary folder, where anyone may
    have put one; so it is not called, and no cache is read or written. The dictionary takes 0.6 s to read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jieba
    jieba.setLogLevel(logging.ERROR)
    tokenizer = jieba.Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer
