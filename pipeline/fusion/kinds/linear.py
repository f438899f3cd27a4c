"""Linear fusion: projected modalities added up by weight, f = unit(Σ_m w_m x̂_m), m over those that the item has.

Where `learn` is given, the weights are learned, beginning at the configured ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.fuse import Fuse, Learn, LearnedFuse
from pipeline.fusion.base import Curve, Frontend, Fusion, Tensors, given_weights
from pipeline.fusion.moments import Vectors, unit_or_missing
from pipeline.fusion.projected import Mask

if TYPE_CHECKING:
    from pipeline.fusion.fit import Catalogue


class LinearSettings(Fuse):
    """A weighted sum."""

    kind: Literal["linear"] = "linear"
    learn: Learn | None = Field(None, description="how the weights are learned, beginning at these; null: as they are")


class LinearFusion(Fusion):
    """Weights that are the same for every item, renormalised over what the item has."""

    Settings: ClassVar[type[Fuse]] = LinearSettings
    meaning: ClassVar[str] = "It is a weighted sum of the modalities; the shares are the weights."

    def __init__(self, frontend: Frontend, settings: Fuse) -> None:
        super().__init__(frontend, settings)
        self.weights = given_weights(frontend, settings)

    def fit(self, catalogue: Catalogue) -> Curve:
        """See Fusion."""
        assert isinstance(self.settings, LinearSettings)
        if self.settings.learn is None:
            return []
        from pipeline.fusion.learned import LearnedFusion

        learned = LearnedFusion(self.frontend, LearnedFuse(**self.settings.model_dump()))
        curve = learned.fit(catalogue)
        self.weights = learned.network.logits.detach().exp().numpy()
        return curve

    def combine(self, projected: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """See `Fusion.combine`; the shares are the weights."""
        weights = mask * self.weights
        total = weights.sum(axis=1, keepdims=True)
        shares = (weights / np.where(total > 0, total, 1)).astype(np.float32)
        fused = np.zeros((len(projected), projected.shape[2]), np.float32)
        for place in range(projected.shape[1]):
            fused += shares[:, place, None] * projected[:, place]
        return unit_or_missing(fused), shares

    def tensors(self) -> Tensors:
        """The weights (m,)."""
        return {"weights": self.weights}

    def restore(self, tensors: Tensors) -> None:
        """See Fusion."""
        self.weights = tensors["weights"]
