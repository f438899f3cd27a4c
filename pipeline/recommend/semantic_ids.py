"""Semantic ids: an item's fused vector as a few codes, coarse to fine, which like items share.

    r_1 = f,    c_l = argmin_k |r_l - B_lk|,    r_(l+1) = r_l - B_l,c_l,        l = 1 … levels

TIGER (Rajput et al. 2023) learns the codebooks B by an RQ-VAE; here each level is k-means on what the levels before
leave, which has no training loop of its own. As in Singh et al. (2024), codes are features of a ranking model: each has
a learned vector, so that rare and new items learn from what they are like. Codes are never generated one by one, so two
items may have all codes in common: their fused vectors, and the ids of those ever chosen, still tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.interactions import Floats, Int64s, Mask

if TYPE_CHECKING:
    from pipeline.recommend.models.sequence import SemanticIds

ROWS_PER_CODE = 256
ITERATIONS = 25
BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Codebooks:
    """centroids: (levels, codes, width) float32, B above."""

    centroids: Floats

    @classmethod
    def fit(cls, vectors: Floats, present: Mask, settings: SemanticIds, seed: int) -> Codebooks:
        """Learns from vectors (n, width) float32 that are present, (n,) bool; at most 256 of them for each code.

        The same bytes for the same seed: on one thread, since several would add up in an order of their own.
        """
        from sklearn.cluster import KMeans

        rows = np.flatnonzero(present)
        most = settings.codes * ROWS_PER_CODE
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
        residual = vectors[rows].astype(np.float32)
        size = min(settings.codes, len(np.unique(residual, axis=0)))
        centroids = np.zeros((settings.levels, size, vectors.shape[1]), np.float32)
        with threadpool_limits(1):
            for level in range(settings.levels if size else 0):
                # What is left of few items may have fewer different values than the first level had.
                distinct = min(size, len(np.unique(residual, axis=0)))
                means = KMeans(distinct, n_init=1, max_iter=ITERATIONS, random_state=seed).fit(residual)
                centroids[level, :distinct] = means.cluster_centers_
                residual = residual - centroids[level][_nearest(residual, centroids[level])]
        return cls(centroids)

    def codes(self, vectors: Floats, present: Mask) -> Int64s:
        """(n, levels) int64: each level's code, or -1 for an item without a vector."""
        codes = np.full((len(vectors), len(self.centroids)), -1, np.int64)
        for start in range(0, len(vectors), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            residual = np.asarray(vectors[part], np.float32)
            for level, centroids in enumerate(self.centroids if self.centroids.size else ()):
                codes[part, level] = _nearest(residual, centroids)
                residual = residual - centroids[codes[part, level]]
        codes[~present] = -1
        return codes


def _nearest(vectors: Floats, centroids: Floats) -> Int64s:
    distance = (centroids**2).sum(axis=1) - 2 * vectors @ centroids.T
    return distance.argmin(axis=1).astype(np.int64)
