"""array: vectors that are given."""

from __future__ import annotations

from pipeline.config.shared import Array
from pipeline.encoders.kind import Kind


class Given(Kind):
    """See `pipeline.encoders.arrays`."""

    Settings = Array
    implementation = "pipeline.encoders.arrays:ArrayEncoder"
