"""transformer: a transformers model, pooled over tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import MINILM, WEIGHTS_FROM, Network, TextSettings
from pipeline.encoders.kind import Kind


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


class Transformer(Kind):
    """See `pipeline.encoders.text.transformer`."""

    Settings = TransformerText
    implementation = "pipeline.encoders.text.transformer:TransformerTextEncoder"
