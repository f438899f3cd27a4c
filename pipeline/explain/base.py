"""Games: numbers split into named parts by exact Shapley values, see `pipeline.fusion.shapley`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.errors import ShardCorrupt
from pipeline.fusion.projected import Mask
from pipeline.fusion.shapley import Values, shapley

Subset = frozenset[str]


@dataclass(frozen=True)
class Game:
    """n games over the same parts. values: v of every subset, (n,) float64. held: (n, m) bool, which parts exist."""

    players: list[str]
    values: Mapping[Subset, Values]
    held: Mask

    @property
    def base(self) -> Values:
        """(n,) v(none)."""
        return self.values[frozenset()]

    def contributions(self) -> dict[str, Values]:
        """Each part's Shapley values, (n,) float64; 0 where it is missing. With `base` they sum to v(all)."""
        return shapley(self.players, self.values)


def published_game(
    players: list[str], values: Mapping[Subset, Values], held: Mask, scores: Values, tolerance: float
) -> Game:
    """The games of published numbers: v(S), where S holds all that there is, is the published one, to its last digit.

    scores: (n,) as published. tolerance: how far the values may be from them, relative to those above 1.
    Raises ShardCorrupt if they are farther.
    """
    whole = values[frozenset(players)]
    if np.any(np.abs(whole - scores) > tolerance * np.maximum(1, np.abs(scores))):
        raise ShardCorrupt(
            "the published scores do not follow from their shards, fusion and models; run the night with --full"
        )
    everything = {
        chosen: np.where((held & ~np.isin(players, list(chosen))).any(axis=1), worth, scores)
        for chosen, worth in values.items()
    }
    return Game(players, everything, held)
