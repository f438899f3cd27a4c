"""mrr@k: 1 / rank of the first target in the list of the k best, 0 if there is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.hits import Values
from pipeline.interactions import Int64s

TITLE = "MRR"
MEANING = "one over the rank of a user's first test item"


def values(hits: npt.NDArray[np.bool_], targets: Int64s, k: int) -> Values:
    """See `HitMetric`."""
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)
