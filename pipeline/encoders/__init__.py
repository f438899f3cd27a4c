"""Encoders: from what an item has of a modality to a vector; see README.md in this folder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.config import Config, Modality, encoders_of
from pipeline.config.encoders import DEFAULTS
from pipeline.config.shared import Array, Own
from pipeline.errors import SourceError

if TYPE_CHECKING:
    from pipeline.encoders.base import Encoder, Input, Prepared, Raw, Text

__all__ = ["Encoder", "Input", "Prepared", "Raw", "Text", "make"]


def __getattr__(name: str) -> Any:
    """The contract's names: a configuration is read without importing what encoders compute with."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module("pipeline.encoders.base"), name)


def make(config: Config, modality: Modality, prepared: Prepared | None = None) -> Encoder:
    """The encoder that the configuration names for a modality, not loaded yet; `prepared` is what was decided for it.

    Raises WeightsError if its weights cannot be found, SourceError if given vectors cannot be read, ConfigError if a
    kind of an installed package is no encoder.
    """
    settings = config.extract.modalities()[modality]
    kinds = encoders_of(modality)
    encoder: Encoder
    if isinstance(settings, Own) or kinds.identity(settings.encoder):
        from pipeline.encoders.own import find

        encoder = find(settings)
    elif isinstance(settings, Array):
        from pipeline.media import media_root

        root = media_root(config)
        if root is None:
            raise SourceError(f"extract.{modality}.file: no media folder is set; set source.media_root to its folder")
        absent = "" if modality in DEFAULTS else f"no {modality}"
        encoder = kinds.find(settings.encoder)(settings, root, absent)
    else:
        encoder = kinds.find(settings.encoder)(settings)
    encoder.prepared = prepared or encoder.prepared
    return encoder
