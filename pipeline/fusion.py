"""Linear fusion: each modality standardised, projected to one width, and added up by weight.

For modality m with vectors x, mean μ and standard deviation σ over the catalogue, V the principal axes of the
correlation matrix (Pearson 1901) and R a seeded random rotation:

    x̂_m = unit((x - μ) / σ · V · R)            f = unit(Σ_m w_m x̂_m), m over the modalities the item has

The rotation spreads what the modalities have in common by chance evenly over the width: without it the first axis of
one modality would meet the first axis of another, and unlike things would look alike. Modalities of one joint space
(CLIP's text and image) are alike as they are: they share V and R, found on both, and keep only means of their own,
which takes away the gap between modalities (Liang et al. 2022, "Mind the gap").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from pipeline.config import Fuse, Modality
from pipeline.errors import ConfigError, ShardCorrupt

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Projection:
    """One modality's map into the fused space: mean (d,) and matrix (d, width), float32."""

    mean: Vectors
    matrix: Vectors

    def apply(self, vectors: Vectors) -> Vectors:
        """(n, d) to (n, width), rows of unit norm; a row of NaN or of zero length stays NaN."""
        projected = (vectors - self.mean) @ self.matrix
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            unit: Vectors = np.where(norms > 1e-12, projected / norms, np.nan).astype(np.float32)
        return unit


class Moments:
    """Count, sum and products of vectors, gathered batch by batch: memory is d × d, whatever the catalogue."""

    def __init__(self) -> None:
        self.count = 0
        self.total: npt.NDArray[np.float64] | None = None
        self.products: npt.NDArray[np.float64] | None = None

    def add(self, vectors: Vectors) -> None:
        """Adds rows, shape (n, d)."""
        rows = vectors.astype(np.float64)
        total, products = rows.sum(axis=0), rows.T @ rows
        self.count += len(rows)
        self.total = total if self.total is None else self.total + total
        self.products = products if self.products is None else self.products + products

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The mean vector, (d,). Raises ValueError if no vector was added."""
        if self.total is None:
            raise ValueError("no vector was added, so there is nothing to project")
        mean: npt.NDArray[np.float64] = self.total / self.count
        return mean

    def scatter(self) -> npt.NDArray[np.float64]:
        """The sum of the products of deviations from the mean, (d, d)."""
        mean = self.mean
        scatter: npt.NDArray[np.float64] = np.asarray(self.products) - self.count * np.outer(mean, mean)
        return scatter

    def projection(self, width: int, rotation: npt.NDArray[np.float64], together: Sequence[Moments] = ()) -> Projection:
        """Standardisation, principal axes and rotation as one matrix; axes are those of all of `together`, if given."""
        mean, pooled = self.mean, together or [self]
        covariance = sum(one.scatter() for one in pooled) / sum(one.count for one in pooled)
        deviation = np.sqrt(np.clip(np.diag(covariance), 0, None))
        scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0)
        # Spinning threads wait for each other on a shared machine: of two, one busy elsewhere made this take ten times
        # as long, and on one core it is quick.
        with threadpool_limits(1, "blas"):
            _, axes = np.linalg.eigh(covariance * np.outer(scale, scale))
        kept = axes[:, ::-1][:, :width]
        # An eigenvector's sign is arbitrary: fixing it keeps the same night's bytes the same.
        kept = kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
        matrix = scale[:, None] * (kept @ rotation[: kept.shape[1]])
        return Projection(mean.astype(np.float32), matrix.astype(np.float32))


@dataclass(frozen=True)
class LinearFusion:
    """Projections and weights of the modalities in use."""

    projections: Mapping[Modality, Projection]
    weights: Mapping[Modality, float]

    @classmethod
    def fit(
        cls,
        batches: Mapping[Modality, Iterable[Vectors]],
        settings: Fuse,
        seed: int,
        spaces: Mapping[Modality, str] | None = None,
    ) -> LinearFusion:
        """Fits each modality on its present vectors, streamed in batches of shape (n, d).

        spaces: the joint space that a modality's vectors lie in; the same name, the same axes.
        Raises ConfigError if the weights of the modalities in use are all zero.
        """
        weights = {modality: float(getattr(settings.weights, modality)) for modality in batches}
        if not any(weights.values()):
            raise ConfigError(f"fuse.weights: give at least one of {', '.join(batches)} a weight above 0")
        moments = {modality: Moments() for modality in batches}
        for modality, vectors in batches.items():
            for batch in vectors:
                moments[modality].add(batch)
        present = {modality: found for modality, found in moments.items() if found.count}
        named = {modality: (spaces or {}).get(modality) or modality for modality in present}
        projections: dict[Modality, Projection] = {}
        for modality, found in present.items():
            like = [other for other in present if named[other] == named[modality]]
            rotation = _rotation(settings.width, [seed, list(batches).index(like[0])])
            projections[modality] = found.projection(settings.width, rotation, [present[other] for other in like])
        return cls(projections, weights)

    def transform(self, vectors: Mapping[Modality, Vectors]) -> tuple[Vectors, Vectors]:
        """Fuses n items.

        vectors: modality to (n, d), NaN in rows where it is missing. Returns the fused vectors (n, width), unit norm,
        NaN where an item has no modality, and each modality's share (n, modalities), in the order given, rows sum to 1.
        """
        sides = [self.projections[m].apply(v) if m in self.projections else None for m, v in vectors.items()]
        n = len(next(iter(vectors.values())))
        weights = np.zeros((n, len(sides)), dtype=np.float32)
        width = next(p.matrix.shape[1] for p in self.projections.values())
        fused = np.zeros((n, width), dtype=np.float32)
        for column, (modality, side) in enumerate(zip(vectors, sides, strict=True)):
            if side is not None:
                weights[:, column] = np.where(np.isnan(side[:, 0]), 0, self.weights[modality])
                fused += weights[:, column, None] * np.nan_to_num(side)
        norms = np.linalg.norm(fused, axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            unit: Vectors = np.where(norms > 1e-12, fused / norms, np.nan).astype(np.float32)
            shares: Vectors = np.nan_to_num(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        return unit, shares

    def save(self, path: Path) -> None:
        """Writes safetensors: `<modality>.mean`, `<modality>.matrix`, and the weights as metadata."""
        tensors = {}
        for modality, projection in self.projections.items():
            tensors[f"{modality}.mean"] = projection.mean
            tensors[f"{modality}.matrix"] = np.ascontiguousarray(projection.matrix)
        save_file(tensors, path, metadata={"weights": json.dumps(dict(self.weights), sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> LinearFusion:
        """Reads what `save` wrote.

        Raises ShardCorrupt if the file is not that.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                weights = json.loads(file.metadata()["weights"])
                names = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118 - not a dict
                projections = {
                    name: Projection(file.get_tensor(f"{name}.mean"), file.get_tensor(f"{name}.matrix"))
                    for name in sorted(names)
                }
        except Exception as error:
            raise ShardCorrupt(f"{path}: no fusion weights ({error}); run the night again") from None
        return cls(projections, weights)


def _rotation(width: int, seed: list[int]) -> npt.NDArray[np.float64]:
    """A random orthonormal matrix (Stewart 1980): Q of a Gaussian matrix, signs fixed by R's diagonal."""
    with threadpool_limits(1, "blas"):
        q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))
    rotation: npt.NDArray[np.float64] = q * np.sign(np.diag(r))
    return rotation
