"""What a text encoder reads of an item: its columns, laid into a template."""

from __future__ import annotations

import string

from pipeline.config.shared import TextSettings
from pipeline.encoders.base import Encoder, Raw, Text
from pipeline.errors import ConfigError, MediaError


class TemplateEncoder(Encoder):
    """A text encoder whose input is `settings.template`, filled with the item's columns."""

    settings: TextSettings

    @property
    def fields(self) -> list[str]:
        """The columns that the template names."""
        return [name for _, name, _, _ in string.Formatter().parse(self.settings.template) if name]

    def render(self, raw: Text) -> str:
        """The text that is encoded: the template, the title alone where all else is blank, or a query's text.

        Raises MediaError if all columns that the template names are blank; ConfigError if one of them is not a column.
        """
        if raw.query:
            return _unless_blank(raw.columns["text"].strip())
        try:
            values = {name: (raw.columns[name] or "").strip() for name in self.fields}
        except KeyError as error:
            raise ConfigError(
                f"extract.text.template names {error}, which is no column of items ({', '.join(raw.columns)})"
            ) from None
        others = [value for name, value in values.items() if name != "title"]
        if others and not any(others):
            return _unless_blank(values.get("title", ""))
        return _unless_blank(self.settings.template.format(**values) if any(values.values()) else "")

    def text_of(self, raw: Raw) -> str:
        """As `render`, for `decode`: raises MediaError for what is no text."""
        if not isinstance(raw, Text):
            raise MediaError("no text")
        return self.render(raw)


def _unless_blank(text: str) -> str:
    if not text:
        raise MediaError("no text")
    return text
