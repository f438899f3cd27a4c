"""What a list is worth beside being right.

| metric | of one user's list L of k items |
|---|---|
| novelty@k | mean over L of -log2 p(i), p the share of users who chose i, bits (Zhou et al. 2010) |
| diversity@k | mean over the pairs of L of 1 - cosine of their fused vectors (Ziegler et al. 2005) |
| popularity_lift@k | mean over L of p(i), over the mean of p in histories |

An item that nobody chose counts in novelty as chosen by one. Items without a vector are in no pair, and a list without
a pair has diversity 0. The mean lift over users is the ratio of group average popularities of Abdollahpouri et al.
2020, who subtract 1: above 1, lists hold more popular items than the same users chose. Its denominator is the mean over
users of the mean over a history, which is given and not drawn again by the interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics import Values
from pipeline.interactions import Floats, Int32s, Int64s, Interactions, Mask


class ListMetrics:
    """The metrics above, as `Rankings.of` asks for them."""

    def __init__(self, known: Interactions, users: Int32s, vectors: Floats, cutoffs: Sequence[int]) -> None:
        """known: what was chosen before the test. users: who is ranked for, each with a history.

        vectors: (n_items, d) float32 fused vectors of unit norm, NaN rows where missing, which become zeros here.
        """
        matrix = known.pairs()
        chosen = np.asarray(matrix.sum(axis=0), np.float64).ravel()
        self.share = chosen / max(known.n_users, 1)
        self.bits = -np.log2(np.maximum(chosen, 1) / max(known.n_users, 1))
        of_users = matrix[users]
        lengths = np.maximum(np.diff(of_users.indptr), 1)
        self.usual = float(np.mean((of_users @ self.share) / lengths)) if len(users) else 0.0
        self.present = ~np.isnan(vectors[:, 0])
        self.vectors = np.nan_to_num(vectors, copy=False)
        self.cutoffs = cutoffs

    def __call__(self, users: Int32s, best: Int64s, filled: Mask) -> dict[str, Values]:
        """See `PerList`."""
        paired = filled & self.present[best]
        vectors = self.vectors[best] * paired[:, :, None]
        values: dict[str, Values] = {}
        for k in self.cutoffs:
            places, listed = filled[:, :k], best[:, :k]
            count = np.maximum(places.sum(axis=1), 1)
            values[f"novelty@{k}"] = (self.bits[listed] * places).sum(axis=1) / count
            values[f"diversity@{k}"] = _mean_distance(vectors[:, :k].sum(axis=1), paired[:, :k].sum(axis=1))
            lift = (self.share[listed] * places).sum(axis=1) / count
            values[f"popularity_lift@{k}"] = lift / self.usual if self.usual else lift
        return values


def _mean_distance(total: Floats, n: Int64s) -> Values:
    """The mean of 1 - cosine over the pairs of n unit vectors that sum up to `total`; 0 for fewer than two."""
    pairs = n * (n - 1)
    cosines = np.square(total, dtype=np.float64).sum(axis=1) - n
    distance: Values = np.where(pairs > 0, 1 - cosines / np.maximum(pairs, 1), 0.0)
    return np.maximum(distance, 0)
