"""recall@k: |L ∩ T| / |T|, of the list L of the k best and the targets T."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.hits import Values
from pipeline.interactions import Int64s

TITLE = "Recall"
MEANING = "share of a user's test items that are in the list"


def values(hits: npt.NDArray[np.bool_], targets: Int64s, k: int) -> Values:
    """See `HitMetric`."""
    return np.asarray(hits.sum(axis=1) / targets, np.float64)
