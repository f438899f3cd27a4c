"""array: text vectors that are given, named by the text."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.shared import Array, TextSettings
from pipeline.encoders.kind import Kind


class ArrayText(Array, TextSettings):
    """Text vectors that are given."""

    template: str = Field("{text}", description="names an item's row, from the item's columns")


class GivenText(Kind):
    """See `pipeline.encoders.arrays`."""

    Settings = ArrayText
    implementation = "pipeline.encoders.arrays:ArrayTextEncoder"
