"""own: a text encoder behind an entry point."""

from __future__ import annotations

from pipeline.config.shared import Own, TextSettings
from pipeline.encoders.kind import Kind


class OwnText(Own, TextSettings):
    """A text encoder of the user's own."""


class EntryPoint(Kind):
    """See `pipeline.encoders.own`."""

    Settings = OwnText
    implementation = "pipeline.encoders.own:find"
