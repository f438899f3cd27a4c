"""What an encoder says of itself, which is read without importing what it computes with."""

from __future__ import annotations

from typing import ClassVar

from pipeline.config.shared import EncoderSettings


class Kind:
    """A kind of encoder: the encoder's class, or one beside it that names that class as `implementation`.

    Settings: its own, read from a section of `extract`. implementation: "module:Class" of the encoder, imported to make
    one; empty where the class itself is that.
    """

    Settings: ClassVar[type[EncoderSettings]] = EncoderSettings
    implementation: ClassVar[str] = ""
