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
        "transformer": ("pipeline.encoders.text.transformer", "TransformerTextEncoder"),
        "bow": ("pipeline.encoders.text.counts", "CountTextEncoder"),
        "tfidf": ("pipeline.encoders.text.counts", "CountTextEncoder"),
        "word2vec": ("pipeline.encoders.text.words", "WordTextEncoder"),
        "glove": ("pipeline.encoders.text.words", "WordTextEncoder"),
        "use_multilingual": ("pipeline.encoders.text.multilingual", "MultilingualTextEncoder"),
        "array": ("pipeline.encoders.arrays", "ArrayTextEncoder"),
        "own": ("pipeline.encoders.own", "find"),
    },
    "image": {
        "timm": ("pipeline.encoders.image.backbone", "TimmEncoder"),
        "torchvision": ("pipeline.encoders.image.backbone", "TorchvisionEncoder"),
        "transformers": ("pipeline.encoders.image.transformer", "TransformerImageEncoder"),
        "array": ("pipeline.encoders.arrays", "ArrayEncoder"),
        "own": ("pipeline.encoders.own", "find"),
    },
    "audio": {
        "mfcc": ("pipeline.encoders.audio.mfcc", "MfccEncoder"),
        "logmel_cnn": ("pipeline.encoders.audio.logmel", "LogmelEncoder"),
        "transformers": ("pipeline.encoders.audio.transformer", "TransformerAudioEncoder"),
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
