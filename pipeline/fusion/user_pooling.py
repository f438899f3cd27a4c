"""Pooling: the one way in which what a user chose, and says of themselves, becomes the user's vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.interactions import Floats, Interactions, decayed_mean, unit_rows

if TYPE_CHECKING:
    from pipeline.fusion.user_attention import HistoryAttention


@dataclass(frozen=True)
class Pooling:
    """user = unit((1 - w) · history + w · profile): history by the decayed mean, or by attention where it was learned.

    profiles: (n_users, d) float32 of unit norm, a zero row for a user without one; None where nobody has one.
    profile_weight: w, counted only for users who have both.
    """

    half_life_days: float
    attention: HistoryAttention | None = None
    profiles: Floats | None = None
    profile_weight: float = 0.0

    def users(self, items: Floats, history: Interactions) -> Floats:
        """Every user's vector from the given history and no other: (n_users, d) float32 of unit norm.

        items: (n_items, d) float32 of unit norm, a zero row for an item without a vector. A user none of whose items
        has one gets a zero row, profile or not.
        """
        pooled = self._history(items, history)
        if self.profiles is None or self.profile_weight == 0:
            return pooled
        told = pooled.any(axis=1) & self.profiles.any(axis=1)
        pooled[told] = unit_rows((1 - self.profile_weight) * pooled[told] + self.profile_weight * self.profiles[told])
        return pooled

    def _history(self, items: Floats, history: Interactions) -> Floats:
        if self.attention is None:
            return decayed_mean(items, history, self.half_life_days)
        from pipeline.fusion.user_attention import pool

        return pool(self.attention, np.ascontiguousarray(items), history)
