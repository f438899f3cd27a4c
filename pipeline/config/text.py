"""Settings of text encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import GLOVE, MINILM, WEIGHTS_FROM, Array, Network, Own, TextSettings


class TransformerText(Network, TextSettings):
    """A transformers encoder or decoder-only language model, pooled over tokens."""

    encoder: Literal["transformer"] = "transformer"
    weights: str = Field(MINILM, description=WEIGHTS_FROM)
    gguf_file: str = Field("", description="name of a GGUF file in the weights' folder, to be read instead")
    pooling: Literal["auto", "mean", "max", "cls", "last", "attention", "joint"] = Field(
        "auto",
        description="how token vectors become one; joint is the projection of CLIP, SigLIP or CLAP; auto does as the "
        "weights' folder says, else joint, else last token (decoders), else mean",
    )
    prefix: str = Field("", description="put before every item's text, such as `passage: ` for E5")
    query_prefix: str = Field("", description="put before the text of a lookup, such as `query: `")
    max_tokens: int = Field(256, ge=8, description="tokens of one pass")
    long_texts: Literal["truncate", "chunks"] = Field("truncate", description="cut at max_tokens, or encode in parts")
    max_chunks: int = Field(8, ge=1, description="chunks: parts of one text that are encoded; the rest is cut")
    batch_tokens: int = Field(4096, ge=8, description="padded tokens in one batch; texts are sorted by length")


class Counts(TextSettings):
    """Counts of words, by scikit-learn, reduced by truncated singular value decomposition."""

    vocabulary: Literal["fitted", "hashed"] = Field("fitted", description="words of the catalogue, or hash buckets")
    words: int = Field(50_000, ge=2, description="most frequent words kept, or number of hash buckets")
    ngrams: Literal[1, 2] = Field(1, description="2 counts pairs of neighbouring words too")
    width: int = Field(256, ge=2, description="dimensions kept by the decomposition, fewer in a small catalogue")


class CountText(Counts):
    """Counts of words, damped by a logarithm."""

    encoder: Literal["bow"] = "bow"


class TfidfText(Counts):
    """As bow, each word weighted by how rare it is in the catalogue."""

    encoder: Literal["tfidf"] = "tfidf"


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


class MultilingualText(TextSettings):
    """The multilingual Universal Sentence Encoder (16 languages), from packaged weights."""

    encoder: Literal["use_multilingual"] = "use_multilingual"
    max_tokens: int = Field(512, ge=8, description="tokens of a text that are encoded; the rest is cut")


class ArrayText(Array, TextSettings):
    """Text vectors that are given."""

    template: str = Field("{text}", description="names an item's row, from the item's columns")


class OwnText(Own, TextSettings):
    """A text encoder of the user's own."""
