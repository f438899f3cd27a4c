"""Texts for tests of text encoders, and what a night does with an encoder that fits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.encoders.base import Encoder, Prepared, Text

SEA = ["sea", "wave", "harbour", "salt", "tide", "sailor", "boat", "storm"]
CITY = ["neon", "street", "taxi", "crowd", "subway", "tower", "night", "traffic"]
COMMON = ["the", "a", "record", "of", "and", "with"]
Kind = TypeVar("Kind", bound=Encoder)


def item(text: str, title: str = "") -> Text:
    return Text({"title": title, "text": text})


def corpus(rows: int = 40, seed: int = 0) -> list[str]:
    """Texts about the sea and, every other one, about a city, in English words, 6 to 17 of them."""
    generator = np.random.default_rng(seed)
    texts = []
    for row in range(rows):
        topic = [SEA, CITY][row % 2]
        drawn = [
            *generator.choice(topic, generator.integers(3, 9)),
            *generator.choice(COMMON, generator.integers(3, 9)),
        ]
        texts.append(" ".join(generator.permutation(drawn)).capitalize())
    return texts


def fitted(encoder: Kind, texts: Iterable[str], folder: Path) -> Kind:
    """The encoder, fitted on the texts as a stream that can be read once, and loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    if encoder.fits:
        encoder.fit((text for text in texts), folder)
        encoder.prepared = Prepared(folder=folder, fitted="digest of the folder")
    encoder.load()
    return encoder


def vectors(encoder: Encoder, texts: Iterable[str]) -> np.ndarray:
    return encoder.embed([encoder.decode(item(text)) for text in texts])


def one_by_one(encoder: Encoder, texts: Iterable[str]) -> np.ndarray:
    return np.concatenate([vectors(encoder, [text]) for text in texts])


def bytes_of(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
