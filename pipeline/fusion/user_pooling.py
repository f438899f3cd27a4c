"""Pooling: the one way in which what a user chose, and says of themselves, becomes the user's vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.fused import Fused
from pipeline.interactions import Floats, Interactions, decayed_mean, unit_rows

if TYPE_CHECKING:
    from pipeline.fusion.user_attention import HistoryAttention

# Choices of the users whose vectors are in memory at once.
BLOCK_ROWS = 1 << 17


@dataclass(frozen=True)
class Pooling:
    """user = unit((1 - w) · history + w · profile): history by the decayed mean, or by attention where it was learned.

    profiles: (n_users, d) float32 of unit norm, a zero row for a user without one; None where nobody has one.
    profile_weight: w, for users who have both; 0 leaves profiles out.
    """

    half_life_days: float = 180.0
    attention: HistoryAttention | None = None
    profiles: Floats | None = None
    profile_weight: float = 0.0

    def users(self, items: Floats, history: Interactions) -> Floats:
        """Every user's vector from the given history and no other: (n_users, d) float32 of unit norm.

        items: (n_items, d) float32 of unit norm, a zero row for an item without a vector. A user none of whose items
        has one gets their profile's vector, and a zero row where there is no profile either.
        """
        pooled = self._history(items, history)
        if self.profiles is None or self.profile_weight == 0:
            return pooled
        both = pooled.any(axis=1) & self.profiles.any(axis=1)
        alone = ~pooled.any(axis=1)
        pooled[alone] = self.profiles[alone]
        pooled[both] = unit_rows((1 - self.profile_weight) * pooled[both] + self.profile_weight * self.profiles[both])
        return pooled

    def blocks(self, items: Floats, history: Interactions) -> Iterator[tuple[range, Floats]]:
        """What `users` returns, some users at a time: their codes, and their vectors."""
        for users in history.user_blocks(BLOCK_ROWS) or [range(0)]:
            profiles = None if self.profiles is None else self.profiles[users.start : users.stop]
            yield users, replace(self, profiles=profiles).users(items, history.of_users(users))

    def _history(self, items: Floats, history: Interactions) -> Floats:
        if self.attention is None:
            return decayed_mean(items, history, self.half_life_days)
        from pipeline.fusion.user_attention import pool

        return pool(self.attention, np.ascontiguousarray(items), history)


def read_pooling(fused: Fused, users: list[str]) -> Pooling:
    """The pooling that a fused folder was written with, its profiles in the order of `users`."""
    settings, attention, profiles = fused.pooling(), None, None
    if fused.attention.exists():
        from pipeline.fusion.user_attention import HistoryAttention

        attention = HistoryAttention.load(fused.attention)
    names, vectors = fused.profiles()
    if names:
        rows = pc.index_in(pa.array(users, pa.string()), pa.array(names, pa.string())).to_numpy(False)
        present = ~np.isnan(rows)
        profiles = np.zeros((len(users), vectors.shape[1]), np.float32)
        profiles[present] = vectors[rows[present].astype(np.int64)]
    return Pooling(settings.half_life_days, attention, profiles, settings.profile_weight)
