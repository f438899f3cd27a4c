"""Linear fusion: sides added up by weight, f = unit(Σ_m w_m x̂_m), m over the modalities that the item has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np

from pipeline.config import Fuse, Modality
from pipeline.errors import ConfigError
from pipeline.fusion.base import Frontend, Fusion, Mask, Tensors
from pipeline.fusion.moments import Vectors, unit_or_missing


class LinearFusion(Fusion):
    """Weights that are the same for every item, renormalised over what the item has."""

    kind: ClassVar[str] = "linear"

    def __init__(self, frontend: Frontend, weights: Vectors) -> None:
        super().__init__(frontend)
        self.weights = weights

    @classmethod
    def fit(
        cls,
        batches: Mapping[Modality, Iterable[Vectors]],
        settings: Fuse,
        seed: int,
        spaces: Mapping[Modality, str] | None = None,
    ) -> LinearFusion:
        """Fits each modality on its present vectors, streamed in batches of shape (n, d); see `Frontend.fit`.

        Raises ConfigError if the weights of the modalities in use are all zero.
        """
        return cls.of(Frontend.fit(batches, settings.width, seed, spaces), settings)

    @classmethod
    def of(cls, frontend: Frontend, settings: Fuse) -> LinearFusion:
        """The configured weights on top of a frontend. Raises ConfigError as `fit`."""
        return cls(frontend, given_weights(frontend, settings))

    def combine(self, sides: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """See `Fusion.combine`; the shares are the weights."""
        weights = mask * self.weights
        total = weights.sum(axis=1, keepdims=True)
        shares = (weights / np.where(total > 0, total, 1)).astype(np.float32)
        fused = np.zeros((len(sides), sides.shape[2]), np.float32)
        for place in range(sides.shape[1]):
            fused += shares[:, place, None] * sides[:, place]
        return unit_or_missing(fused), shares

    def tensors(self) -> Tensors:
        """The weights (m,)."""
        return {"weights": self.weights}


def given_weights(frontend: Frontend, settings: Fuse) -> Vectors:
    """The configured weights of a frontend's modalities, (m,) float32. Raises ConfigError if all are zero."""
    weights = np.array([getattr(settings.weights, modality) for modality in frontend.modalities], dtype=np.float32)
    if len(weights) and not weights.any():
        raise ConfigError(f"fuse.weights: give at least one of {', '.join(frontend.modalities)} a weight above 0")
    return weights
