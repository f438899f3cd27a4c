"""A log in parts, from one array that tells the part of each of its rows."""

from __future__ import annotations

import numpy as np

from pipeline.artefacts.log import PARTS
from pipeline.interactions import Interactions


def parted(entries: Interactions, part: np.ndarray) -> dict[str, Interactions]:
    """The rows of each part. part: (n,) int8, position in PARTS."""
    return {name: entries.subset(part == code) for code, name in enumerate(PARTS)}
