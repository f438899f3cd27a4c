"""Pairs of items that one user chose within a window of choices, drawn from the log without listing them all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.fusion.base import Mask
from pipeline.interactions import Interactions

Pairs = npt.NDArray[np.int64]
TRIES = 50


class CoChoices:
    """Pairs of distinct items at most `window` choices apart in one user's history, each item among `usable`."""

    def __init__(self, log: Interactions, window: int, usable: Mask) -> None:
        """usable: (n_items,) bool."""
        kept = log.subset(usable[log.item])
        self.user, self.item = kept.user, kept.item.astype(np.int64)
        self.window = window
        choices = np.bincount(self.user, minlength=1)
        reach = np.minimum(choices - 1, window).clip(min=0)
        self.count = int((choices * reach - reach * (reach + 1) // 2).sum())
        """How many pairs there are, those of one item twice included."""
        chosen = np.bincount(self.item, minlength=len(usable)).astype(np.float64)
        self.share = (chosen / max(chosen.sum(), 1)).astype(np.float32)
        """(n_items,) float32: the share of choices that fell on an item, which is how often it is drawn."""

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        """At most `count` pairs of item codes, (n, 2) int64, in random order and direction; none if there is none."""
        found: list[Pairs] = []
        missing = count
        for _ in range(TRIES if self.count else 0):
            left = rng.integers(len(self.item), size=2 * missing + 64)
            right = left + rng.integers(1, self.window + 1, size=len(left))
            inside = right < len(self.item)
            left, right = left[inside], right[inside]
            real = (self.user[left] == self.user[right]) & (self.item[left] != self.item[right])
            found.append(np.stack([self.item[left[real]], self.item[right[real]]], axis=1)[:missing])
            missing -= len(found[-1])
            if missing <= 0:
                break
        pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
        turned = rng.random(len(pairs)) < 0.5
        pairs[turned] = pairs[turned, ::-1]
        return pairs
