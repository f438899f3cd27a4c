"""A query's words, picture and clip as vectors of the fused space, by the encoders that the index was made with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artefacts.published import Published
from pipeline.errors import ConfigError, MediaError
from pipeline.interactions import Floats, unit_rows

if TYPE_CHECKING:
    from pipeline.config import Modality
    from pipeline.encoders.base import Encoder, Input, Text
    from pipeline.fusion.base import Fusion

MOST_BYTES = 200_000_000
# What is asked for in a modality: words, a file, or its bytes.
Raw = str | Path | bytes


class QueryEncoders:
    """The encoders of one index, each loaded when it is first used; one query at a time is encoded."""

    def __init__(self, index: Published) -> None:
        self._index = index
        self._encoders: dict[Modality, Encoder] = {}
        self._lock = Lock()

    def fused(self, raw: Mapping[Modality, Raw]) -> Floats:
        """The direction of all that is given, (d,) float32 of unit norm.

        Raises ConfigError if the index has no such modality, or the query has no direction; MediaError if a picture or
        clip cannot be read; WeightsError if the encoder's weights are not here.
        """
        inputs = {modality: _input(value) for modality, value in raw.items()}
        with self._lock:
            vectors = {modality: self._vector(modality, value) for modality, value in inputs.items()}
            fused, _ = self._fusion.transform(vectors)
        if np.isnan(fused).any():
            raise ConfigError(
                "the query has no direction in the fused space; give fuse.weights of its modality above 0"
            )
        return np.asarray(fused[0], np.float32)

    def _vector(self, modality: Modality, value: bytes | Text) -> Floats:
        encoder = self._encoders.get(modality) or self._encoders.setdefault(modality, self._made(modality))
        return unit_rows(encoder.embed([_decode(encoder, value, modality)]))

    @cached_property
    def _fusion(self) -> Fusion:
        from pipeline.artefacts.fused import WEIGHTS
        from pipeline.fusion.saved import load

        return load(self._index.path(WEIGHTS))

    def _made(self, modality: Modality) -> Encoder:
        from pipeline.config import MODALITIES, Config, Extract
        from pipeline.encoders import Prepared, make

        made_with = self._index.encoders
        if modality not in made_with:
            has = ", ".join(made_with) or "no modality"
            raise ConfigError(f"{modality}: the published index was made without {modality}; it has {has}")
        made = made_with[modality]
        if (extract := made["settings"])["encoder"] == "array":
            raise ConfigError(
                f"{modality}: the published index has its vectors from {extract['file']}, and nothing makes one of a "
                "query; ask by item or user"
            )
        settings = {name: own["settings"] for name, own in made_with.items()}
        config = Config(extract=Extract.model_validate(dict.fromkeys(MODALITIES) | settings))
        fitted = Path("encoders", modality)
        for name in self._index.sha256 or ():
            if Path(name).is_relative_to(fitted):
                self._index.path(name)
        # One query is encoded by torch in fp32, which every chosen precision keeps close to.
        encoder = make(config, modality, Prepared(self._index.folder / fitted, made["fitted"]))
        if encoder.identity != made["identity"]:
            raise ConfigError(f"{modality}: the weights here are not those of the published index; install the same")
        encoder.load()
        return encoder


def _input(value: Raw) -> bytes | Text:
    from pipeline.encoders.base import Text
    from pipeline.media import read_media

    if isinstance(value, str):
        return Text({"text": value}, query=True)
    return read_media(value.parent, value.name, MOST_BYTES) if isinstance(value, Path) else value


def _decode(encoder: Encoder, value: bytes | Text, modality: str) -> Input:
    try:
        return encoder.decode(value)
    except MediaError as error:
        raise MediaError(f"{modality}: {error}") from None
