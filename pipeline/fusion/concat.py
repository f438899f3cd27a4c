"""Concatenation: weighted sides one after the other, and the principal axes of the whole.

    c = [w_1 x̂_1, …, w_m x̂_m] · √(Σ w² / Σ_present w²)        f = unit((c - mean c) · A)

A holds the principal axes of c (Pearson 1901), each divided by the square root of its eigenvalue where
`fuse.whitening` is on (PCA whitening). Covariances are taken over the items that have both modalities, so that one
that is missing for many is not taken for one that says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from pipeline.config import Fuse
from pipeline.fusion.base import Frontend, Fusion, Mask, Tensors
from pipeline.fusion.linear import given_weights
from pipeline.fusion.moments import Matrix, Vectors, principal_axes, unit_or_missing

# Axes of less than this share of the largest are noise that whitening would blow up.
FLOOR = 1e-3


class ConcatFusion(Fusion):
    """One linear map of the concatenated sides: mean (m·w,) and axes (m·w, w)."""

    kind: ClassVar[str] = "concat"

    def __init__(self, frontend: Frontend, tensors: Tensors) -> None:
        super().__init__(frontend)
        self.weights, self.mean, self.axes = tensors["weights"], tensors["concat.mean"], tensors["concat.axes"]

    @classmethod
    def fit(cls, frontend: Frontend, batches: Iterable[tuple[Vectors, Mask]], settings: Fuse) -> ConcatFusion:
        """Finds the axes from sides and masks, streamed.

        Raises ConfigError if the weights of the modalities in use are all zero.
        """
        weights = given_weights(frontend, settings)
        mean, covariance = _moments(batches, weights, frontend.width)
        values, axes = principal_axes(covariance, frontend.width)
        if settings.whitening:
            axes = axes / np.sqrt(np.maximum(values, FLOOR * values[0]))
        padded = np.zeros((len(mean), frontend.width))
        padded[:, : axes.shape[1]] = axes
        found = {"concat.mean": mean.astype(np.float32), "concat.axes": padded.astype(np.float32)}
        return cls(frontend, {"weights": weights, **found})

    def combine(self, sides: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """See `Fusion.combine`; a modality's share is its part's inner product with the whole, which add up to 1."""
        held = mask * self.weights**2
        total = held.sum(axis=1, keepdims=True)
        scale = np.sqrt((self.weights**2).sum() / np.where(total > 0, total, np.inf))
        width = self.frontend.width
        fused = np.zeros((len(sides), width), dtype=np.float32)
        parts = []
        for place, weight in enumerate(self.weights):
            rows = slice(place * width, (place + 1) * width)
            part = (weight * scale * sides[:, place] - self.mean[rows]) @ self.axes[rows]
            parts.append(np.where(mask[:, place, None] & (weight > 0), part, 0).astype(np.float32))
            fused += parts[-1]
        shares = np.stack([np.einsum("nw,nw->n", part, fused) for part in parts], axis=1)
        whole = shares.sum(axis=1, keepdims=True)
        return unit_or_missing(fused), (shares / np.where(whole > 0, whole, 1)).astype(np.float32)

    def tensors(self) -> Tensors:
        """The weights (m,), the mean and the axes."""
        return {"weights": self.weights, "concat.mean": self.mean, "concat.axes": self.axes}


def _moments(batches: Iterable[tuple[Vectors, Mask]], weights: Vectors, width: int) -> tuple[Matrix, Matrix]:
    """Mean (m·w,) and covariance (m·w, m·w) over the rows that have the modalities concerned."""
    size = len(weights) * width
    total, products = np.zeros(size), np.zeros((size, size))
    counts = np.zeros((len(weights), len(weights)))
    for sides, mask in batches:
        rows = (sides * weights[:, None]).reshape(len(sides), -1)
        total += rows.sum(axis=0, dtype=np.float64)
        products += rows.T @ rows
        counts += mask.T.astype(np.float64) @ mask
    counts = np.repeat(np.repeat(np.maximum(counts, 1), width, axis=0), width, axis=1)
    mean = total / np.diag(counts)
    return mean, products / counts - np.outer(mean, mean)
