"""own: an image encoder behind an entry point."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.shared import MediaSettings, Own


class OwnImage(Own, MediaSettings):
    """An image encoder of the user's own."""

    max_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")


class EntryPoint:
    """See `pipeline.encoders.own`."""

    Settings = OwnImage
