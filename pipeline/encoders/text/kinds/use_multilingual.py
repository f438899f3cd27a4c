"""use_multilingual: the multilingual Universal Sentence Encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.shared import TextSettings
from pipeline.encoders.kind import Kind


class MultilingualText(TextSettings):
    """The multilingual Universal Sentence Encoder (16 languages), from packaged weights."""

    encoder: Literal["use_multilingual"] = "use_multilingual"
    max_tokens: int = Field(512, ge=8, description="tokens of a text that are encoded; the rest is cut")


class Multilingual(Kind):
    """See `pipeline.encoders.text.multilingual`."""

    Settings = MultilingualText
    implementation = "pipeline.encoders.text.multilingual:MultilingualTextEncoder"
