"""own: an encoder behind an entry point, of a modality of the user's own."""

from __future__ import annotations

from pipeline.config.shared import Own


class EntryPoint:
    """See `pipeline.encoders.own`."""

    Settings = Own
