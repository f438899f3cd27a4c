"""Exact Shapley values over modalities: what each one adds, averaged over every order in which they could come.

φ_m = Σ_{S without m} |S|! (M - |S| - 1)! / M! · (v(S + m) - v(S))       (Shapley 1953)

With M modalities there are 2^M subsets, all of which are evaluated, so M is at most MOST; the values add up to
v(all) - v(none).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from math import factorial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import Mask

Values = npt.NDArray[np.float64]
Player = TypeVar("Player")
MOST = 10


def subsets(players: list[Player]) -> Iterator[frozenset[Player]]:
    """Every subset, the empty one first. Raises ConfigError for more than MOST players."""
    if len(players) > MOST:
        raise ConfigError(
            f"{len(players)} modalities have {2 ** len(players)} subsets, too many to say exactly what each counts; "
            f"give all but {MOST} of them a weight of 0 in fuse.weights"
        )
    for size in range(len(players) + 1):
        yield from (frozenset(chosen) for chosen in combinations(players, size))


def shapley(players: list[Player], value: Mapping[frozenset[Player], Values]) -> dict[Player, Values]:
    """Each player's Shapley value, of the shape that the game's values have; value: of every subset."""
    count = len(players)
    values: dict[Player, Values] = {}
    for player in players:
        others = [other for other in players if other != player]
        terms = [
            factorial(len(chosen))
            * factorial(count - len(chosen) - 1)
            / factorial(count)
            * (np.asarray(value[chosen | {player}], np.float64) - value[chosen])
            for chosen in subsets(others)
        ]
        values[player] = np.asarray(sum(terms))
    return values


def shares_of_itself(fuse: Callable[[Mask], Vectors], whole: Vectors, mask: Mask) -> Vectors:
    """How much each modality counts for an item's own vector: the game v(S) = cosine of the vector from S to the whole.

    fuse: keep (n, m) to vectors (n, w), unit norm, NaN where nothing is kept. whole: (n, w). Returns (n, m) float32;
    rows sum to 1, or are 0 where the item has nothing. v(none) = 0.
    """
    places = list(range(mask.shape[1]))
    value: dict[frozenset[int], Values] = {}
    for chosen in subsets(places):
        keep = mask & np.isin(places, list(chosen))
        if not chosen:
            value[chosen] = np.zeros(len(mask))
        else:
            vectors = whole if len(chosen) == len(places) else fuse(keep)
            value[chosen] = np.einsum("nw,nw->n", np.nan_to_num(vectors), np.nan_to_num(whole)).astype(np.float64)
    values = shapley(places, value)
    return np.stack([values[place] for place in places], axis=1).astype(np.float32)
