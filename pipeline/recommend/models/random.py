"""random: a random order, each user's another: the floor that any model must clear."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.config.train import TrainSettings
from pipeline.evaluation.metrics import Scorer
from pipeline.evaluation.scorers import RandomScorer
from pipeline.interactions import Floats, Interactions, unit_rows
from pipeline.recommend.base import Fit, FitInput, Recommender

WIDTH = 64


class RandomSettings(TrainSettings):
    """There is nothing to set."""

    model: Literal["random"] = "random"


class Random(Recommender):
    """Item and user vectors are uniform on the sphere: every order is as likely, and an item's rank is uniform."""

    Settings = RandomSettings
    title = "random"
    purpose = "the floor that any model must clear"
    inductive = True
    validated = False

    def learn(self, data: FitInput) -> Fit:
        """Draws the items' vectors, (n_items, 64) float32 of unit norm."""
        self.item_vectors = self._draw(0, data.train.n_items)
        return Fit()

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, 64) float32 of unit norm, whatever the history."""
        return self._draw(1, history.n_users)

    def scorer(self, history: Interactions) -> Scorer:
        """A random order of each user's, as the vectors' products are, without making them."""
        return RandomScorer(self.seed, history.n_items)

    def _draw(self, stream: int, rows: int) -> Floats:
        generator = np.random.default_rng([self.seed, stream])
        return unit_rows(generator.standard_normal((rows, WIDTH), dtype=np.float32))
