"""own: an audio encoder behind an entry point."""

from __future__ import annotations

from pipeline.config.shared import AudioSettings, Own


class OwnAudio(Own, AudioSettings):
    """An audio encoder of the user's own."""


class EntryPoint:
    """See `pipeline.encoders.own`."""

    Settings = OwnAudio
