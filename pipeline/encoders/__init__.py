"""Encoders: from one item's text, picture or clip to a vector. One registry per modality."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from pipeline.config import MODALITIES, Config, Modality
from pipeline.config.shared import Array
from pipeline.encoders.base import Encoder, Input, Prepared, Text

__all__ = ["Encoder", "Input", "Prepared", "Text", "make", "modalities"]

# Modules are named, not imported: an audio task needs neither transformers nor timm.
REGISTRY: dict[str, dict[str, tuple[str, str]]] = {
    "text": {
        "transformer": ("pipeline.encoders.transformer_text", "TransformerTextEncoder"),
        "bow": ("pipeline.encoders.counts", "CountTextEncoder"),
        "tfidf": ("pipeline.encoders.counts", "CountTextEncoder"),
        "word2vec": ("pipeline.encoders.words", "WordTextEncoder"),
        "glove": ("pipeline.encoders.words", "WordTextEncoder"),
        "use_multilingual": ("pipeline.encoders.multilingual", "MultilingualTextEncoder"),
        "array": ("pipeline.encoders.arrays", "ArrayTextEncoder"),
        "own": ("pipeline.encoders.own", "find"),
    },
    "image": {
        "timm": ("pipeline.encoders.images", "TimmEncoder"),
        "torchvision": ("pipeline.encoders.images", "TorchvisionEncoder"),
        "transformers": ("pipeline.encoders.transformer_image", "TransformerImageEncoder"),
        "array": ("pipeline.encoders.arrays", "ArrayEncoder"),
        "own": ("pipeline.encoders.own", "find"),
    },
    "audio": {
        "mfcc": ("pipeline.encoders.mfcc", "MfccEncoder"),
        "logmel_cnn": ("pipeline.encoders.logmel", "LogmelEncoder"),
        "transformers": ("pipeline.encoders.transformer_audio", "TransformerAudioEncoder"),
        "array": ("pipeline.encoders.arrays", "ArrayEncoder"),
        "own": ("pipeline.encoders.own", "find"),
    },
}


def modalities(config: Config) -> list[Modality]:
    """The modalities that the configuration uses, in their fixed order."""
    return [modality for modality in MODALITIES if getattr(config.extract, modality) is not None]


def make(config: Config, modality: Modality, prepared: Prepared | None = None) -> Encoder:
    """The encoder that the configuration names for a modality, not loaded yet; `prepared` is what was decided for it.

    Raises WeightsError if its weights cannot be found, SourceError if given vectors cannot be read.
    """
    settings = getattr(config.extract, modality)
    module, name = REGISTRY[modality][settings.encoder]
    kind = getattr(import_module(module), name)
    if isinstance(settings, Array):
        from pipeline.media import media_root

        kind = partial(kind, root=media_root(config))
    encoder: Encoder = kind(settings)
    encoder.prepared = prepared or encoder.prepared
    return encoder
