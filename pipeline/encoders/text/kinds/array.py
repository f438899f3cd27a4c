"""array: text vectors that are given, named by the text."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.shared import Array, TextSettings
from pipeline.encoders.base import Input, Raw, Text
from pipeline.encoders.kinds.array import ArrayEncoder
from pipeline.encoders.text.template import TemplateEncoder
from pipeline.errors import MediaError


class ArrayText(Array, TextSettings):
    """Text vectors that are given."""

    template: str = Field("{text}", description="names an item's row, from the item's columns")


class ArrayTextEncoder(ArrayEncoder, TemplateEncoder):
    """As ArrayEncoder, the row named by `settings.template`."""

    Settings = ArrayText
    settings: ArrayText

    def render(self, raw: Text) -> str:
        """What names the row. Raises MediaError for a query or a profile, which have none."""
        if raw.query:
            raise MediaError("vectors are given, so that no other text can be encoded")
        return super().render(raw)

    def decode(self, raw: Raw) -> Input:
        """As ArrayEncoder, of an item's columns."""
        return super().decode(self.text_of(raw).encode())
