"""word2vec: word vectors learned from the catalogue, pooled over a text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.encoders.kind import Kind
from pipeline.encoders.text.kinds.glove import WordText


class Word2VecText(WordText):
    """Word2Vec trained on the catalogue, or read from a file."""

    encoder: Literal["word2vec"] = "word2vec"
    weights: str = Field(
        "", pattern="^$|^(package|path):", description="as for glove; empty trains on the catalogue's texts"
    )
    sha256: str = Field("", description="expected sha256 of the vectors' file; empty for no check")
    width: int = Field(128, ge=2, description="dimensions of trained vectors")
    epochs: int = Field(10, ge=1)
    context_words: int = Field(5, ge=1, description="words on either side that are predicted")
    min_count: int = Field(2, ge=1, description="rarer words get no vector")


class Word2Vec(Kind):
    """See `pipeline.encoders.text.words`."""

    Settings = Word2VecText
    implementation = "pipeline.encoders.text.words:WordTextEncoder"
