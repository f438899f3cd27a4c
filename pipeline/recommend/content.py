"""Content: nothing is learned. Items are their fused vectors, users the time-decayed mean of what they chose."""

from __future__ import annotations

from typing import ClassVar

from pipeline.interactions import Floats, Interactions, decayed_mean
from pipeline.recommend.contract import Content, Fit, OnEpoch, Recommender


class ContentRecommender(Recommender):
    """Recommends what is like the user's own choices; the score is a cosine."""

    name: ClassVar[str] = "content"
    inductive: ClassVar[bool] = True

    def __init__(self, half_life_days: float) -> None:
        self.half_life_days = half_life_days
        self._items: Floats | None = None

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Keeps the fused vectors."""
        self._items = content.vectors
        return Fit()

    @property
    def item_vectors(self) -> Floats:
        """(n_items, width) float32: the fused vectors, a zero row for an item without one."""
        if self._items is None:
            raise RuntimeError("fit comes before item_vectors")
        return self._items

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32 of unit norm; a zero row for a user without history."""
        return decayed_mean(self.item_vectors, history, self.half_life_days)
