"""Concatenation: weighted sides one after the other, and the principal axes of the whole.

    c = [w_1 x̂_1, …, w_m x̂_m] · √(Σ w² / Σ_present w²)        f = unit((c - mean c) · A)

A holds the principal axes of c (Pearson 1901), each divided by the square root of its eigenvalue where
`fuse.whitening` is on (PCA whitening). Covariances are taken over the items that have both modalities, so that one
that is missing for many is not taken for one that says nothing; the scale is for what an item lacks, and is applied in
fusing only.
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
FLOOR, TINY = 1e-3, 1e-12


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
            axes = axes / np.sqrt(np.maximum(values, max(FLOOR * values[0], TINY)))
        found = {"concat.mean": mean.astype(np.float32), "concat.axes": axes.astype(np.float32)}
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
    """Mean (m·w,) of each modality and covariance (m·w, m·w), a block of two over the n items that have both.

    What two modalities have in common is scaled by n / (n + w/4): of few items it is mostly chance.
    """
    count, size = len(weights), len(weights) * width
    totals = np.zeros((count, count, width))
    products, counts = np.zeros((size, size)), np.zeros((count, count))
    for sides, mask in batches:
        weighted = sides * weights[:, None]
        rows = weighted.reshape(len(sides), size)
        totals += np.einsum("ni,nj,niw->ijw", mask, mask, weighted)
        products += rows.T @ rows
        counts += mask.T.astype(np.float64) @ mask
    means = totals / np.maximum(counts, 1)[..., None]
    covariance = np.zeros((size, size))
    for one in range(count):
        for other in range(count):
            left, right = (slice(place * width, (place + 1) * width) for place in (one, other))
            n = counts[one, other]
            shrunk = 1 if one == other else n / (n + width / 4)
            block = products[left, right] / max(n, 1) - np.outer(means[one, other], means[other, one])
            covariance[left, right] = shrunk * block
    return np.concatenate([means[place, place] for place in range(count)]), covariance
