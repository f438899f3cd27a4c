"""A modality's encoder and what it reads of the staged items."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.config import Modality
from pipeline.encoders import make
from pipeline.encoders.base import Encoder, Prepared
from pipeline.encoders.inputs import GivenInputs, Inputs, Rows
from pipeline.encoders.kinds.array import ArrayEncoder
from pipeline.media import MEDIA, media_root
from pipeline.media.stored import FOLDER
from pipeline.night import Night
from pipeline.steps.ingest import staged_of


@dataclass
class Ready:
    """An encoder and what it reads. It loads when the first row needs it: a night without change loads none.

    load_seconds: what loading has taken so far.
    """

    inputs: Inputs
    loaded: bool = False
    load_seconds: float = 0.0

    @property
    def encoder(self) -> Encoder:
        """The encoder, perhaps not loaded yet."""
        return self.inputs.encoder

    def load(self) -> Encoder:
        """The encoder, its weights loaded."""
        if not self.loaded:
            begin = time.perf_counter()
            self.encoder.load()
            self.loaded, self.load_seconds = True, self.load_seconds + time.perf_counter() - begin
        return self.encoder


def ready_of(night: Night, modality: Modality, prepared: Prepared | None = None) -> Ready:
    """The encoder of a modality, with what was decided for it, and what it reads. Raises as `encoders.make`."""
    root = media_root(night.config) if modality in MEDIA else None
    settings = night.config.extract.modalities()[modality]
    encoder = make(night.config, modality, prepared)
    is_given = isinstance(encoder, ArrayEncoder)
    stored = night.workspace.path(FOLDER, modality)
    kind = GivenInputs if is_given else Inputs
    return Ready(kind(modality, settings, encoder, root, stored))  # type: ignore[arg-type]


def bucket_rows(night: Night, inputs: Inputs, bucket: int) -> Rows:
    """Every item of a staged bucket, in its order."""
    return inputs.rows(staged_of(night).bucket(bucket))
