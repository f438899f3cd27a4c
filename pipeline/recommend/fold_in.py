"""Users of models with user ids, as a function of any history: the learned map from what was chosen to who chose it.

    p_u = sum over the history's items i of v_i / sqrt(|history of u| · |users of i|)        pooled
    u   = p_u M,    M = argmin sum over training users |p_u M - u|² + λ |M|²                 ridge, closed form

The published user is that function of the given history, which may be longer than the one learned from, or a
newcomer's. Where histories are short it even ranks better than the learned vectors do: those fit the few choices that
they were made of, and M has all users to learn from.
"""

from __future__ import annotations

import numpy as np

from pipeline.interactions import Floats, Interactions
from pipeline.recommend.propagation import degrees, pairs, scaled

RIDGE = 1e-3


class Fold:
    """The map M of one model, and how often its items were chosen in training."""

    def __init__(self, train: Interactions) -> None:
        self.item_degrees = degrees(pairs(train), 0)

    def pooled(self, history: Interactions, items: Floats) -> Floats:
        """(n_users, d) float32, a zero row for a user without history. items: (n_items, d)."""
        matrix = pairs(history)
        return np.asarray(scaled(matrix, degrees(matrix, 1), self.item_degrees) @ items, np.float32)

    def learn(self, pooled: Floats, users: Floats) -> Floats:
        """M, (d, d') float32. pooled: (n_users, d), zero rows are left out. users: (n_users, d') learned vectors."""
        rows = pooled.any(axis=1)
        p, u = pooled[rows].astype(np.float64), users[rows].astype(np.float64)
        gram = p.T @ p
        gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram) + 1e-12
        return np.linalg.solve(gram, p.T @ u).astype(np.float32)
