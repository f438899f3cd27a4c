"""Content: nothing more is learned. Items are their fused vectors, and users are pooled from them as in `fused/`."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pipeline.fusion.user_pooling import Pooling
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.recommend.base import Content, Fit, ItemSide, OnEpoch, Recommender
from pipeline.recommend.models.content import ContentKind, ContentSettings
from pipeline.recommend.user_sides import AdditiveUsers


class ContentRecommender(ContentKind, Recommender):
    """Recommends what is like the user's own choices; the score is a cosine."""

    def __init__(self, settings: ContentSettings, seed: int = 0, threads: int = 1) -> None:
        self.settings = settings
        self.pooling = Pooling()
        self._items: Floats | None = None

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Keeps the fused vectors and the pooling."""
        self._items = content.vectors
        self.pooling = content.pooling
        return Fit()

    @property
    def item_vectors(self) -> Floats:
        """(n_items, width) float32: the fused vectors, a zero row for an item without one."""
        if self._items is None:
            raise RuntimeError("fit comes before item_vectors")
        return self._items

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32 of unit norm; a zero row for a user without history, even with a profile."""
        return self.pooling.users(self.item_vectors, history)

    def additive_users(self) -> AdditiveUsers | None:
        """See Recommender; None where attention weighs the history."""
        pooling = self.pooling
        if pooling.attention is not None:
            return None
        counts = pooling.profiles is not None and pooling.profile_weight > 0
        nothing = np.zeros(self.item_vectors.shape[1], np.float32)
        return AdditiveUsers(self.item_vectors, nothing, pooling.half_life_days, profiles=counts)


class FusedItems(ItemSide):
    """Items are their fused vectors: nothing was saved, and no content is a zero row."""

    def vectors(self, content: Content, codes: Int64s, kept: Collection[str]) -> Floats:
        """See ItemSide: (n, width) float32."""
        return content.vectors
