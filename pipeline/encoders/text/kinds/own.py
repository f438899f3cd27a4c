"""own: a text encoder behind an entry point."""

from __future__ import annotations

from pipeline.config.shared import Own, TextSettings


class OwnText(Own, TextSettings):
    """A text encoder of the user's own."""


class EntryPoint:
    """See `pipeline.encoders.own`."""

    Settings = OwnText
