"""ndcg@k: DCG / ideal DCG; DCG = sum over hits of 1 / log2(rank + 1), the ideal has min(k, |T|) hits first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.hits import Values, discount
from pipeline.interactions import Int64s

TITLE = "NDCG"
MEANING = "rewards test items for standing near the top of a user's list"


def values(hits: npt.NDArray[np.bool_], targets: Int64s, k: int) -> Values:
    """See `HitMetric`."""
    gains = discount(np.arange(k) + 1)
    ideal = np.cumsum(gains)
    return np.asarray((hits * gains[: hits.shape[1]]).sum(axis=1) / ideal[np.minimum(targets, k) - 1], np.float64)
