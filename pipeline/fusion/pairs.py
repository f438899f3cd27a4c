"""Pairs of items that one user chose within a window of choices, drawn from the log without listing them all."""

from __future__ import annotations

import numpy as np

from pipeline.fusion.projected import Mask
from pipeline.interactions import Int64s, Interactions

TRIES = 50


class CoChoices:
    """Pairs of distinct items at most `window` choices apart in one user's history, each item among `usable`."""

    def __init__(self, log: Interactions, window: int, usable: Mask) -> None:
        """usable: (n_items,) bool."""
        visible = log.subset(usable[log.item])
        several = np.bincount(visible.user, minlength=1)[visible.user] > 1
        self.user, self.item = visible.user[several], visible.item[several].astype(np.int64)
        choices = np.bincount(self.user, minlength=1)
        self.window = min(window, max(int(choices.max()) - 1, 1))
        place = np.arange(len(self.user)) - np.concatenate([[0], np.cumsum(choices)])[self.user]
        after = np.minimum(choices[self.user] - 1 - place, self.window)
        self.count = int(after.sum())
        """How many pairs there are, those of one item twice included."""
        partners = after + np.minimum(place, self.window)
        drawn = np.bincount(self.item, partners, minlength=len(usable))
        self.share = (drawn / max(drawn.sum(), 1)).astype(np.float32)
        """(n_items,) float32: the share of an item in all pairs, which is how often it is drawn."""

    def draw(self, count: int, rng: np.random.Generator) -> Int64s:
        """At most `count` pairs of item codes, (n, 2) int64, in random order and direction; none if there is none."""
        batches: list[Int64s] = []
        missing = count
        for _ in range(TRIES if self.count else 0):
            first = rng.integers(len(self.item), size=2 * missing + 64)
            second = first + rng.integers(1, self.window + 1, size=len(first))
            inside = second < len(self.item)
            first, second = first[inside], second[inside]
            real = (self.user[first] == self.user[second]) & (self.item[first] != self.item[second])
            batches.append(np.stack([self.item[first[real]], self.item[second[real]]], axis=1)[:missing])
            missing -= len(batches[-1])
            if missing <= 0:
                break
        pairs = np.concatenate(batches) if batches else np.zeros((0, 2), np.int64)
        turned = rng.random(len(pairs)) < 0.5
        pairs[turned] = pairs[turned, ::-1]
        return pairs
