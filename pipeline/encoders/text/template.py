"""What a text encoder reads of an item: its columns, laid into a template."""

from __future__ import annotations

import string
from collections.abc import Collection

from pipeline.config.shared import TextSettings
from pipeline.encoders.base import Encoder, Raw, Text
from pipeline.errors import ConfigError, MediaError


class TemplateEncoder(Encoder):
    """A text encoder whose input is `settings.template`, filled with the item's columns."""

    settings: TextSettings

    @property
    def fields(self) -> list[str]:
        """The columns that the template names."""
        return fields_of(self.settings.template)

    def render(self, raw: Text) -> str:
        """The text that is encoded: the template, the title alone where all else is blank, or a query's text.

        Raises MediaError if all columns that the template names are blank; ConfigError if one of them is not a column.
        """
        if raw.query:
            return _unless_blank(raw.columns["text"].strip())
        check_columns(self.settings.template, raw.columns)
        values = {name: (raw.columns[name] or "").strip() for name in self.fields}
        others = [value for name, value in values.items() if name != "title"]
        if others and not any(others):
            return _unless_blank(values.get("title", ""))
        return _unless_blank(self.settings.template.format(**values) if any(values.values()) else "")

    def text_of(self, raw: Raw) -> str:
        """As `render`, for `decode`: raises MediaError for what is no text."""
        if not isinstance(raw, Text):
            raise MediaError("no text")
        return self.render(raw)


def fields_of(template: str) -> list[str]:
    """The columns that a template names."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def check_columns(template: str, columns: Collection[str]) -> None:
    """Raises ConfigError if a template names what is no column of the items."""
    missing = [name for name in fields_of(template) if name not in columns]
    if missing:
        raise ConfigError(
            f"extract.text.template names {missing[0]!r}, which is no column of items ({', '.join(columns)})"
        )


def _unless_blank(text: str) -> str:
    if not text:
        raise MediaError("no text")
    return text
