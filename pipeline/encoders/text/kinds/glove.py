"""glove: word vectors from a file or package, pooled over a text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import GLOVE, TextSettings
from pipeline.encoders.kind import Kind


class WordText(TextSettings):
    """Word vectors, pooled over the words of a text."""

    pooling: Literal["mean", "max", "sif"] = Field("sif", description="sif weights words by smooth inverse frequency")
    sif_a: float = Field(1e-3, gt=0, description="sif: a of a / (a + frequency)")


class GloveText(WordText):
    """Word vectors from a file or package."""

    encoder: Literal["glove"] = "glove"
    weights: str = Field(
        GLOVE,
        pattern="^(package|path):",
        description="package:NAME/FOLDER or path:FILE (GloVe's text, word2vec's text or binary, or .safetensors)",
    )
    sha256: str = Field("", description="expected sha256 of the vectors' file; empty for no check")


class Glove(Kind):
    """See `pipeline.encoders.text.words`."""

    Settings = GloveText
    implementation = "pipeline.encoders.text.words:WordTextEncoder"
