"""hitrate@k: 1 if the list of the k best holds a target, else 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.hits import Values
from pipeline.interactions import Int64s

TITLE = "Hit rate"
MEANING = "share of users with at least one test item in the list"


def values(hits: npt.NDArray[np.bool_], targets: Int64s, k: int) -> Values:
    """See `HitMetric`."""
    return np.asarray(hits.any(axis=1), np.float64)
