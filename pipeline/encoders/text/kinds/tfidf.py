"""tfidf: counts of words, weighted by how rare they are, reduced to few dimensions; see `bow`."""

from __future__ import annotations

from typing import Literal

from pipeline.encoders.text.kinds.bow import Counts, CountTextEncoder


class TfidfText(Counts):
    """As bow, each word weighted by how rare it is in the catalogue."""

    encoder: Literal["tfidf"] = "tfidf"


class TfidfTextEncoder(CountTextEncoder):
    """As CountTextEncoder, which weighs by the idf for these settings."""

    Settings = TfidfText
