"""Encoders: from one item's text, picture or clip to a vector. One registry per modality."""

from __future__ import annotations

from importlib import import_module

from pipeline.config import Config, Modality
from pipeline.encoders.base import Encoder, Text

__all__ = ["Encoder", "Text", "make"]

# Modules are named, not imported: an audio task needs neither transformers nor timm.
REGISTRY: dict[str, dict[str, tuple[str, str]]] = {
    "text": {"transformer": ("pipeline.encoders.text", "TransformerText")},
    "image": {"timm": ("pipeline.encoders.image", "TimmImage")},
    "audio": {"mfcc": ("pipeline.encoders.audio", "MfccAudio")},
}


def modalities(config: Config) -> list[Modality]:
    """The modalities that the configuration uses, in their fixed order."""
    order: tuple[Modality, ...] = ("text", "image", "audio")
    return [modality for modality in order if getattr(config.extract, modality) is not None]


def make(config: Config, modality: Modality) -> Encoder:
    """The encoder that the configuration names for a modality, not loaded yet.

    Raises WeightsError if its weights cannot be found.
    """
    settings = getattr(config.extract, modality)
    module, name = REGISTRY[modality][settings.encoder]
    encoder: Encoder = getattr(import_module(module), name)(settings)
    return encoder
