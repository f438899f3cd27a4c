"""tfidf: counts of words, weighted by how rare they are, reduced to few dimensions."""

from __future__ import annotations

from typing import Literal

from pipeline.encoders.kind import Kind
from pipeline.encoders.text.kinds.bow import Counts


class TfidfText(Counts):
    """As bow, each word weighted by how rare it is in the catalogue."""

    encoder: Literal["tfidf"] = "tfidf"


class Tfidf(Kind):
    """See `pipeline.encoders.text.counts`."""

    Settings = TfidfText
    implementation = "pipeline.encoders.text.counts:CountTextEncoder"
