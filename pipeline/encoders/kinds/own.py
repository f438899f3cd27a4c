"""own: an encoder behind an entry point, of a modality of the user's own."""

from __future__ import annotations

from pipeline.config.shared import Own
from pipeline.encoders.kind import Kind


class EntryPoint(Kind):
    """See `pipeline.encoders.own`."""

    Settings = Own
    implementation = "pipeline.encoders.own:find"
