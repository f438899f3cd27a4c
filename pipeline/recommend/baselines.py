"""What every night's model is measured beside, because each takes seconds and is hard to beat.

| name | item vector | user vector |
|---|---|---|
| popularity | how often it was chosen, d = 1 | 1 |
| random | a seeded point of the unit sphere | likewise |
| als | factors of weighted matrix factorisation | factors solved for the given history |
"""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.config.sections import Evaluate
from pipeline.interactions import Floats, Interactions, unit_rows
from pipeline.metrics import Task, evaluate
from pipeline.recommend.contract import Content, Fit, OnEpoch, Recommender

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares

RANDOM_WIDTH = 64


class Popularity(Recommender):
    """Recommends the same to everyone: what was chosen most often, by summed weight."""

    name: ClassVar[str] = "popularity"
    inductive: ClassVar[bool] = False

    def __init__(self) -> None:
        self._items: Floats = np.zeros((0, 1), np.float32)

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Counts."""
        counts = np.bincount(train.item, weights=train.weight, minlength=train.n_items)
        self._items = counts.astype(np.float32)[:, None]
        return Fit()

    @property
    def item_vectors(self) -> Floats:
        """(n_items, 1) float32: the summed weight of the item's interactions."""
        return self._items

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, 1) float32 of ones."""
        return np.ones((history.n_users, 1), np.float32)


class Random(Recommender):
    """Recommends in a random order, each user in another: the floor that any model must clear.

    Item and user vectors are uniform on the sphere, so that every order is as likely for a user as any other item
    takes its place: an item's rank is uniform.
    """

    name: ClassVar[str] = "random"
    inductive: ClassVar[bool] = True

    def __init__(self, seed: int) -> None:
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


class ALS(Recommender):
    """Weighted matrix factorisation by alternating least squares (Hu, Koren and Volinsky 2008), library `implicit`.

    Minimises sum over all pairs of c (p - x·y)² + λ(|x|² + |y|²), p = 1 and c = α · weight where chosen, else p = 0
    and c = 1. The same bytes for the same seed and number of threads.
    """

    name: ClassVar[str] = "als"
    inductive: ClassVar[bool] = False

    def __init__(self, settings: Evaluate, seed: int, threads: int) -> None:
        self.settings = settings
        self.seed = seed
        self.threads = threads

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Fits every pair of regularisation and α of the settings, and keeps the best by NDCG@10 on `validation`.

        Without validation, or with one pair, fits the first alone.
        """
        started = time.perf_counter()
        pairs = list(product(self.settings.als_regularization, self.settings.als_alpha))
        if validation is None or not len(validation):
            pairs = pairs[:1]
        best = -1.0
        for regularization, alpha in pairs:
            model = self._factorise(train, regularization, alpha)
            ndcg = self._validate(model, train, validation) if validation is not None and len(pairs) > 1 else 0.0
            if ndcg > best:
                best, self._model = ndcg, model
        return Fit(self.settings.als_iterations, [], time.perf_counter() - started)

    def _factorise(self, train: Interactions, regularization: float, alpha: float) -> AlternatingLeastSquares:
        from implicit.cpu.als import AlternatingLeastSquares

        # implicit runs its own threads: BLAS threads below them would only get in each other's way.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=self.settings.als_factors,
                regularization=regularization,
                alpha=alpha,
                iterations=self.settings.als_iterations,
                num_threads=self.threads,
                random_state=self.seed,
            )
            model.fit(train.matrix(), show_progress=False)
        return model

    def _validate(self, model: AlternatingLeastSquares, train: Interactions, validation: Interactions) -> float:
        users, items = _users(model, train), np.asarray(model.item_factors, np.float32)
        ndcg = evaluate(users, items, Task(train, validation), (10,)).values["ndcg@10"]
        return float(ndcg.mean()) if len(ndcg) else 0.0

    @property
    def item_vectors(self) -> Floats:
        """(n_items, als_factors) float32."""
        return np.asarray(self._model.item_factors, np.float32)

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, als_factors) float32, solved for the given history; a zero row for a user without any."""
        return _users(self._model, history)


def _users(model: AlternatingLeastSquares, history: Interactions) -> Floats:
    with threadpool_limits(1, "blas"):
        return np.asarray(model.recalculate_user(np.arange(history.n_users), history.matrix()), np.float32)
