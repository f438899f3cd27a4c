"""Logs of tests: from lists of items, and in parts from an array that tells the part of each row."""

from __future__ import annotations

import numpy as np

from pipeline.artefacts.log import PARTS
from pipeline.interactions import Interactions


def parted(entries: Interactions, part: np.ndarray) -> dict[str, Interactions]:
    """The rows of each part. part: (n,) int8, position in PARTS."""
    return {name: entries.subset(part == code) for code, name in enumerate(PARTS)}


def log_of(*histories: list[int], items: int = 30) -> Interactions:
    """A log of one history a user, each choice of weight 1 and age 0."""
    user = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    item = np.concatenate(histories).astype(np.int32)
    return Interactions(user, item, np.zeros(len(item)), np.ones(len(item), np.float32), len(histories), items)
