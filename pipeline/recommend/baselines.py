"""Vectors that every night's model is measured beside; `item_to_item` has those that have no vectors.

| name | item vector | user vector |
|---|---|---|
| popularity | how often it was chosen of late, d = 1 | 1 |
| random | a seeded point of the unit sphere | likewise |
| als | factors of weighted matrix factorisation | factors solved for the given history |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.evaluation.metrics import Scorer, inner_product
from pipeline.interactions import Floats, Interactions, unit_rows
from pipeline.recommend.base import Content, Fit, OnEpoch, Recommender
from pipeline.recommend.grid_searched import Searched, Settings
from pipeline.recommend.models.als import AlsKind, AlsSettings
from pipeline.recommend.models.popularity import PopularityKind, PopularitySettings
from pipeline.recommend.models.random import RandomKind, RandomSettings
from pipeline.recommend.user_sides import AdditiveUsers

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares

RANDOM_WIDTH = 64


class Popularity(PopularityKind, Searched[Floats], Recommender):
    """Recommends the same to everyone: what was chosen most often, an interaction counting half at each half life."""

    def __init__(self, settings: PopularitySettings, seed: int = 0, threads: int = 1) -> None:
        super().__init__({"half_life_days": settings.half_life_days})

    def learn(self, content: Content, train: Interactions, settings: Settings) -> Floats:
        """(n_items, 1) float32: the summed weight of the item's interactions, each faded with its age."""
        age_days = train.age_days - train.age_days.min(initial=np.inf)
        weights = train.weight * np.exp2(-age_days / settings["half_life_days"])
        return np.bincount(train.item, weights, minlength=train.n_items).astype(np.float32)[:, None]

    def scorer_of(self, state: Floats, history: Interactions) -> Scorer:
        """Everyone's scores are the items' own."""
        return lambda users: state.T.repeat(len(users), axis=0)

    @property
    def item_vectors(self) -> Floats:
        """(n_items, 1) float32, as `learn` returns."""
        return self.state

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, 1) float32 of ones."""
        return np.ones((history.n_users, 1), np.float32)


class Random(RandomKind, Recommender):
    """Recommends in a random order, each user in another: the floor that any model must clear.

    Item and user vectors are uniform on the sphere, so that every order is as likely for a user as any other item
    takes its place: an item's rank is uniform.
    """

    def __init__(self, settings: RandomSettings, seed: int, threads: int = 1) -> None:
        self.seed = seed
        self._items: Floats = np.zeros((0, RANDOM_WIDTH), np.float32)

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Draws the items' vectors."""
        self._items = self._draw(0, train.n_items)
        return Fit()

    @property
    def item_vectors(self) -> Floats:
        """(n_items, 64) float32 of unit norm."""
        return self._items

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, 64) float32 of unit norm, whatever the history."""
        return self._draw(1, history.n_users)

    def _draw(self, stream: int, rows: int) -> Floats:
        generator = np.random.default_rng([self.seed, stream])
        return unit_rows(generator.standard_normal((rows, RANDOM_WIDTH), dtype=np.float32))


class ALS(AlsKind, Searched["AlternatingLeastSquares"], Recommender):
    """Weighted matrix factorisation by alternating least squares (Hu, Koren and Volinsky 2008), library `implicit`.

    Minimises sum over all pairs of c (p - x·y)² + λ(|x|² + |y|²), p = 1 and c = α · weight where chosen, else p = 0
    and c = 1. The same bytes for the same seed and number of threads.
    """

    def __init__(self, settings: AlsSettings, seed: int, threads: int) -> None:
        super().__init__({"regularization": settings.regularization, "alpha": settings.alpha})
        self.settings = settings
        self.seed = seed
        self.threads = threads

    def learn(self, content: Content, train: Interactions, settings: Settings) -> AlternatingLeastSquares:
        """The library's model."""
        from implicit.cpu.als import AlternatingLeastSquares

        # implicit runs its own threads: BLAS threads below them would only get in each other's way.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=self.settings.factors,
                regularization=settings["regularization"],
                alpha=settings["alpha"],
                iterations=self.settings.iterations,
                num_threads=self.threads,
                random_state=self.seed,
            )
            model.fit(train.matrix(), show_progress=False)
        return model

    def scorer_of(self, state: AlternatingLeastSquares, history: Interactions) -> Scorer:
        """The inner products of the factors."""
        return inner_product(_users(state, history), np.asarray(state.item_factors, np.float32))

    @property
    def item_vectors(self) -> Floats:
        """(n_items, factors) float32."""
        return np.asarray(self.state.item_factors, np.float32)

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, factors) float32, solved for the given history; a zero row for a user without any."""
        return _users(self.state, history)

    def additive_users(self) -> AdditiveUsers:
        """See Recommender."""
        gram = self.state.YtY + self.state.regularization * np.eye(self.state.factors, dtype=np.float32)
        base = np.zeros(self.state.factors, np.float32)
        return AdditiveUsers(self.item_vectors, base, np.inf, np.asarray(gram, np.float32), self.state.alpha)


def _users(model: AlternatingLeastSquares, history: Interactions) -> Floats:
    with threadpool_limits(1, "blas"):
        return np.asarray(model.recalculate_user(np.arange(history.n_users), history.matrix()), np.float32)
