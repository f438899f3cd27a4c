"""Metrics of hits: one module a metric, which is its name in metrics.json, with a title, a meaning and `values`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from pipeline.interactions import Int64s

Values = npt.NDArray[np.float64]


class HitMetric(Protocol):
    """A metric of ranked lists by where their hits are.

    TITLE, MEANING: as the report shows them.
    """

    TITLE: str
    MEANING: str

    def values(self, hits: npt.NDArray[np.bool_], targets: Int64s, k: int) -> Values:
        """(m,) float64, one a user.

        hits: (m, k or fewer) bool, whether a place of the list, best first, holds a target. targets: (m,) how many
        targets the user has, at least 1.
        """
        ...


def discount(rank: npt.ArrayLike) -> Values:
    """What a hit at a rank, counted from 1, adds to DCG; the NDCG of a list with one right answer at that rank."""
    return np.asarray(1 / np.log2(1 + np.asarray(rank)), np.float64)


# By name; the modules import what stands above.
HITS: dict[str, HitMetric] = {
    module.name: cast(HitMetric, import_module(f"{__name__}.{module.name}")) for module in iter_modules(__path__)
}
