"""Concatenation: weighted projected modalities one after the other, and the principal axes of the whole.

    c = [w_1 x̂_1, …, w_m x̂_m] · √(Σ w² / Σ_present w²)        f = unit((c - mean c) · A)

A holds the principal axes of c (Pearson 1901), each divided by the square root of its eigenvalue where `fuse.whitening`
is on (PCA whitening). Covariances are taken over the items that have both modalities, so that a modality that many lack
does not look uninformative; the scale makes up for what an item lacks, in fusing only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.fuse import Fuse
from pipeline.fusion.base import Curve, Frontend, Fusion, Tensors, given_weights
from pipeline.fusion.moments import Matrix, Vectors, principal_axes, unit_or_missing
from pipeline.fusion.projected import Mask

if TYPE_CHECKING:
    from pipeline.fusion.fit import Catalogue

# Axes of less than this share of the largest are noise that whitening would blow up.
FLOOR, TINY = 1e-3, 1e-12


class ConcatSettings(Fuse):
    """Principal axes of the modalities side by side."""

    kind: Literal["concat"] = "concat"
    whitening: bool = Field(False, description="give every axis the same variance")


class ConcatFusion(Fusion):
    """One linear map of the concatenated modalities: mean (m·w,) and axes (m·w, w)."""

    Settings: ClassVar[type[Fuse]] = ConcatSettings
    meaning: ClassVar[str] = "Modalities stand one after the other and are turned to their principal axes."

    def __init__(self, frontend: Frontend, settings: Fuse) -> None:
        super().__init__(frontend, settings)
        self.weights = given_weights(frontend, settings)
        self.mean: Vectors
        self.axes: Vectors

    def fit(self, catalogue: Catalogue) -> Curve:
        """Finds the axes; see Fusion."""
        assert isinstance(self.settings, ConcatSettings)
        mean, covariance = _moments(catalogue.sampled(), self.weights, self.frontend.width)
        values, axes = principal_axes(covariance, self.frontend.width)
        if self.settings.whitening:
            axes = axes / np.sqrt(np.maximum(values, max(FLOOR * values[0], TINY)))
        self.mean, self.axes = mean.astype(np.float32), axes.astype(np.float32)
        return []

    def combine(self, projected: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """See `Fusion.combine`; a modality's share is its part's inner product with the whole, which add up to 1."""
        held = mask * self.weights**2
        total = held.sum(axis=1, keepdims=True)
        scale = np.sqrt((self.weights**2).sum() / np.where(total > 0, total, np.inf))
        width = self.frontend.width
        fused = np.zeros((len(projected), width), dtype=np.float32)
        parts = []
        for place, weight in enumerate(self.weights):
            rows = slice(place * width, (place + 1) * width)
            part = (weight * scale * projected[:, place] - self.mean[rows]) @ self.axes[rows]
            parts.append(np.where(mask[:, place, None] & (weight > 0), part, 0).astype(np.float32))
            fused += parts[-1]
        shares = np.stack([np.einsum("nw,nw->n", part, fused) for part in parts], axis=1)
        whole = shares.sum(axis=1, keepdims=True)
        return unit_or_missing(fused), (shares / np.where(whole > 0, whole, 1)).astype(np.float32)

    def tensors(self) -> Tensors:
        """The mean and the axes."""
        return {"concat.mean": self.mean, "concat.axes": self.axes}

    def restore(self, tensors: Tensors) -> None:
        """See Fusion."""
        self.mean, self.axes = tensors["concat.mean"], tensors["concat.axes"]


def _moments(batches: Iterable[tuple[Vectors, Mask]], weights: Vectors, width: int) -> tuple[Matrix, Matrix]:
    """Mean (m·w,) of each modality and covariance (m·w, m·w), a block of two over the n items that have both.

    What two modalities have in common is scaled by n / (n + w/4): of few items it is mostly chance.
    """
    count, size = len(weights), len(weights) * width
    totals = np.zeros((count, count, width))
    products, counts = np.zeros((size, size)), np.zeros((count, count))
    for projected, mask in batches:
        weighted = projected * weights[:, None]
        rows = weighted.reshape(len(projected), size)
        totals += np.einsum("ni,nj,niw->ijw", mask, mask, weighted)
        products += rows.T @ rows
        counts += mask.T.astype(np.float64) @ mask
    means = totals / np.maximum(counts, 1)[..., None]
    covariance = np.zeros((size, size))
    for row in range(count):
        for column in range(count):
            place, other = (slice(at * width, (at + 1) * width) for at in (row, column))
            n = counts[row, column]
            shrunk = 1 if row == column else n / (n + width / 4)
            block = products[place, other] / max(n, 1) - np.outer(means[row, column], means[column, row])
            covariance[place, other] = shrunk * block
    return np.concatenate([means[at, at] for at in range(count)]), covariance
