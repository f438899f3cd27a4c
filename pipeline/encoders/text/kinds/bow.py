"""bow: counts of words, reduced to few dimensions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import TextSettings
from pipeline.encoders.kind import Kind


class Counts(TextSettings):
    """Counts of words, by scikit-learn, reduced by truncated singular value decomposition."""

    vocabulary: Literal["fitted", "hashed"] = Field("fitted", description="words of the catalogue, or hash buckets")
    words: int = Field(50_000, ge=2, description="most frequent words kept, or number of hash buckets")
    ngrams: Literal[1, 2] = Field(1, description="2 counts pairs of neighbouring words too")
    width: int = Field(256, ge=2, description="dimensions kept by the decomposition, fewer in a small catalogue")


class CountText(Counts):
    """Counts of words, damped by a logarithm."""

    encoder: Literal["bow"] = "bow"


class BagOfWords(Kind):
    """See `pipeline.encoders.text.counts`."""

    Settings = CountText
    implementation = "pipeline.encoders.text.counts:CountTextEncoder"
