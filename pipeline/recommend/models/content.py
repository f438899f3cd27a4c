"""content: nothing is learned; items are their fused vectors, and users are pooled from them as in `fused/`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pipeline.config.train import TrainSettings
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.recommend.base import Content, Fit, FitInput, Recommender
from pipeline.recommend.sides import ItemSide
from pipeline.recommend.user_networks import UserNetwork
from pipeline.recommend.user_sides import AdditiveUsers, pooled_users


class ContentSettings(TrainSettings):
    """There is nothing to set."""

    model: Literal["content"] = "content"


class ContentRecommender(Recommender):
    """Recommends what is like the user's own choices; the score is a cosine."""

    Settings = ContentSettings
    title = "content"
    purpose = "a catalogue whose log is young; the floor that learning must clear"
    inductive = True
    reads = frozenset({"fused"})
    version = 2
    seeded = False
    validated = False
    remade = True
    ids = False

    def learn(self, data: FitInput) -> Fit:
        """Takes the fused vectors, a zero row for an item without one, and the pooling."""
        self.item_vectors, self._pooling = data.content.vectors, data.content.pooling
        return Fit()

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32 of unit norm; a user of whom nothing is known has a zero row, see `Pooling`."""
        return self._pooling.users(self.item_vectors, history)

    def additive_users(self) -> AdditiveUsers | None:
        """See Recommender; None where attention weighs the history."""
        pooled = pooled_users(self.item_vectors, self._pooling)
        return pooled if isinstance(pooled, AdditiveUsers) else None

    def user_network(self) -> UserNetwork | None:
        """See Recommender: that attention."""
        pooled = pooled_users(self.item_vectors, self._pooling)
        return pooled if isinstance(pooled, UserNetwork) else None

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide:
        """See Model."""
        return FusedItems()


class FusedItems(ItemSide):
    """Items are their fused vectors: nothing was saved, and no content is a zero row."""

    def vectors(self, content: Content, codes: Int64s, modalities: Collection[str]) -> Floats:
        """See ItemSide: (n, width) float32."""
        return content.vectors
