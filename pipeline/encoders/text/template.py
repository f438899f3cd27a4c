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
        """The text that is encoded; a query's text stands alone.

        Raises MediaError if the columns that the template names, the title aside, are blank; ConfigError if one of
        them is not a column.
        """
        if raw.query:
            return self._unless_blank([raw.columns["text"].strip()], raw.columns["text"].strip())
        try:
            values = {name: (raw.columns[name] or "").strip() for name in self.fields}
        except KeyError as error:
            raise ConfigError(
                f"extract.text.template names {error}, which is no column of items ({', '.join(raw.columns)})"
            ) from None
        telling = [value for name, value in values.items() if name != "title"] or list(values.values())
        return self._unless_blank(telling, self.settings.template.format(**values))

    def text_of(self, raw: Raw) -> str:
        """As `render`, for `decode`: raises MediaError for what is no text."""
        if not isinstance(raw, Text):
            raise MediaError("no text")
        return self.render(raw)

    @staticmethod
    def _unless_blank(telling: list[str], rendered: str) -> str:
        if not any(telling):
            raise MediaError("no text")
        return rendered
