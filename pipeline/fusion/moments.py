"""Standardisation and principal axes of vectors, from sums that are gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Vectors = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
SMALLEST_DEVIATION, SHORTEST = 1e-6, 1e-12


@dataclass(frozen=True)
class Projection:
    """One modality's map into the fused space: mean (d,) and matrix (d, width), float32."""

    mean: Vectors
    matrix: Vectors

    def apply(self, vectors: Vectors) -> Vectors:
        """(n, d) to (n, width), rows of unit norm; a row of NaN or of zero length stays NaN."""
        return unit_or_missing(vectors @ self.matrix - self.mean @ self.matrix)


class Moments:
    """Count, sum and products of vectors, gathered batch by batch: memory is d × d, whatever the catalogue."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Matrix = np.zeros(1)
        self.products: Matrix = np.zeros((1, 1))

    def add(self, vectors: Vectors) -> None:
        """Adds rows, shape (n, d)."""
        rows = vectors.astype(np.float64)
        self.count += len(rows)
        self.total = self.total + rows.sum(axis=0)
        self.products = self.products + rows.T @ rows

    @property
    def mean(self) -> Matrix:
        """The mean vector, (d,). Raises ValueError if no vector was added."""
        if not self.count:
            raise ValueError("no vector was added, so there is nothing to project")
        return self.total / self.count

    def scatter(self) -> Matrix:
        """The sum of the products of deviations from the mean, (d, d)."""
        return self.products - self.count * np.outer(self.mean, self.mean)

    def projection(self, width: int, rotation: Matrix, together: Sequence[Moments] = ()) -> Projection:
        """Standardisation, principal axes and rotation as one matrix; axes are those of all of `together`, if given."""
        mean, pooled = self.mean, together or [self]
        covariance = sum(moments.scatter() for moments in pooled) / sum(moments.count for moments in pooled)
        deviation = np.sqrt(np.clip(np.diag(covariance), 0, None))
        scale = np.where(deviation > SMALLEST_DEVIATION, 1 / np.maximum(deviation, SMALLEST_DEVIATION), 0)
        _, axes = principal_axes(covariance * np.outer(scale, scale), width)
        matrix = scale[:, None] * (axes @ rotation[: axes.shape[1]])
        return Projection(mean.astype(np.float32), matrix.astype(np.float32))


def principal_axes(covariance: Matrix, width: int) -> tuple[Matrix, Matrix]:
    """The largest eigenvalues, (k,), and their axes, (d, k), largest first; k is the smaller of d and width."""
    # Spinning threads wait for each other on a shared machine: of two, one busy elsewhere made this take ten times as
    # long, and on one core it is quick.
    with threadpool_limits(1, "blas"):
        values, axes = np.linalg.eigh(covariance)
    largest = axes[:, ::-1][:, :width]
    # An eigenvector's sign is arbitrary: fixing it keeps the same night's bytes the same.
    largest = largest * np.sign(largest[np.abs(largest).argmax(axis=0), np.arange(largest.shape[1])])
    return values[::-1][:width], largest


def rotation(width: int, seed: Sequence[int]) -> Matrix:
    """A random orthonormal matrix (Stewart 1980): Q of a Gaussian matrix, signs fixed by R's diagonal."""
    with threadpool_limits(1, "blas"):
        q, r = np.linalg.qr(np.random.default_rng(list(seed)).standard_normal((width, width)))
    return q * np.sign(np.diag(r))


def unit_or_missing(vectors: npt.NDArray[np.floating]) -> Vectors:
    """Rows scaled to length 1, float32; a row of NaN or of zero length becomes NaN."""
    norms = np.sqrt(np.einsum("nw,nw->n", vectors, vectors))
    with np.errstate(invalid="ignore"):
        scale = np.where(norms > SHORTEST, 1 / np.maximum(norms, SHORTEST), np.nan)
    return (vectors * scale[:, None].astype(np.float32)).astype(np.float32, copy=False)
