"""Every encoder's settings: one model a kind, chosen by its `encoder` key, which the default kind may leave out."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Discriminator, Tag

from pipeline.config.audio import ArrayAudio, LogmelAudio, MfccAudio, OwnAudio, TransformersAudio
from pipeline.config.base import Modality, Section
from pipeline.config.image import ArrayImage, OwnImage, TimmImage, TorchvisionImage, TransformersImage
from pipeline.config.text import (
    ArrayText,
    CountText,
    GloveText,
    MultilingualText,
    OwnText,
    TfidfText,
    TransformerText,
    Word2VecText,
)


def _by_kind(default: str) -> Discriminator:
    def kind(value: Any) -> str:
        found = value.get("encoder", default) if isinstance(value, dict) else getattr(value, "encoder", default)
        return str(found)

    return Discriminator(kind)


TextEncoder = Annotated[
    Annotated[TransformerText, Tag("transformer")]
    | Annotated[CountText, Tag("bow")]
    | Annotated[TfidfText, Tag("tfidf")]
    | Annotated[Word2VecText, Tag("word2vec")]
    | Annotated[GloveText, Tag("glove")]
    | Annotated[MultilingualText, Tag("use_multilingual")]
    | Annotated[ArrayText, Tag("array")]
    | Annotated[OwnText, Tag("own")],
    _by_kind("transformer"),
]
ImageEncoder = Annotated[
    Annotated[TimmImage, Tag("timm")]
    | Annotated[TorchvisionImage, Tag("torchvision")]
    | Annotated[TransformersImage, Tag("transformers")]
    | Annotated[ArrayImage, Tag("array")]
    | Annotated[OwnImage, Tag("own")],
    _by_kind("timm"),
]
AudioEncoder = Annotated[
    Annotated[MfccAudio, Tag("mfcc")]
    | Annotated[LogmelAudio, Tag("logmel_cnn")]
    | Annotated[TransformersAudio, Tag("transformers")]
    | Annotated[ArrayAudio, Tag("array")]
    | Annotated[OwnAudio, Tag("own")],
    _by_kind("mfcc"),
]

_UNIONS: dict[str, Any] = {"text": TextEncoder, "image": ImageEncoder, "audio": AudioEncoder}


def kinds_of(modality: Modality) -> dict[str, type[Section]]:
    """The settings' model of every kind of encoder that a modality has, by the value of its `encoder` key."""
    union = get_args(_UNIONS[modality])[0]
    return {get_args(member)[1].tag: get_args(member)[0] for member in get_args(union)}
