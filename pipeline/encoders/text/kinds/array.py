"""array: text vectors that are given, named by the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.config.shared import Array, TextSettings
from pipeline.encoders.base import Input, Raw, Text
from pipeline.encoders.kinds.array import ArrayEncoder
from pipeline.encoders.text.template import TemplateEncoder
from pipeline.errors import MediaError

if TYPE_CHECKING:
    import pyarrow as pa


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

    def names(self, items: pa.Table) -> pa.Array:
        """What names each item's row: the template, filled with its columns; blank where they are."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.settings.template[1:-1]
        if [column] == self.fields and column in items.column_names:
            return pc.utf8_trim_whitespace(pa.concat_arrays(items[column].cast(pa.string()).chunks))
        return pa.array([self._name(columns) for columns in items.to_pylist()], pa.string())

    def _name(self, columns: dict[str, object]) -> str | None:
        try:
            return self.render(Text({name: "" if value is None else str(value) for name, value in columns.items()}))
        except MediaError:
            return None

    def decode(self, raw: Raw) -> Input:
        """As ArrayEncoder, of an item's columns."""
        return super().decode(self.text_of(raw).encode())
