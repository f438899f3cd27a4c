"""The contract of an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Text:
    """An item's columns as a text encoder's template sees them."""

    columns: Mapping[str, str]


class Encoder(ABC):
    """From raw bytes (image, audio) or an item's columns (text) to an embedding.

    `key` names what decides the vector's bytes: model, weights, preprocessing. `batch_cost` bounds one batch: the
    number of inputs times the largest `cost` among them. `window` inputs are decoded, sorted by cost and batched at a
    time, so that memory does not grow with the catalogue.
    """

    key: str
    model: str
    width: int
    batch_cost: int
    window: int

    def render(self, raw: Text) -> str:
        """The text that a text encoder reads. Raises MediaError if there is none; ConfigError for an unknown column."""
        raise NotImplementedError(f"{type(self).__name__} encodes no text")

    @abstractmethod
    def load(self) -> None:
        """Loads the weights, once per process, and only here torch: a night that encodes nothing needs neither."""

    @abstractmethod
    def decode(self, raw: bytes | Text) -> np.ndarray:
        """Turns one raw input into what `embed` takes; runs in worker threads. Raises MediaError if it can't."""

    @abstractmethod
    def embed(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Encodes decoded inputs: returns shape (len(batch), width), float32, not yet of unit norm."""

    def cost(self, decoded: np.ndarray) -> int:
        """What one input counts towards `batch_cost`."""
        return 1
