"""als: weighted matrix factorisation by alternating least squares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.train import TrainSettings
from pipeline.evaluation.metrics import Scorer, inner_product
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Fit, Recommender
from pipeline.recommend.grid_searched import MOST_COMBINED, Choice, Searched
from pipeline.recommend.grid_searched import Grid as Values
from pipeline.recommend.item_sides import FILE, SavedRows
from pipeline.recommend.user_sides import AdditiveUsers

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares


class AlsSettings(TrainSettings):
    """Validation chooses among the values of a grid."""

    model: Literal["als"] = "als"
    factors: int = Field(64, ge=1, description="dimensions of the vectors")
    iterations: int = Field(15, ge=1)
    regularization: Grid = Field((20, 5, 1), description="to choose from", json_schema_extra=ADVANCED)
    alpha: Grid = Field(
        (4, 10, 1), description="confidence given to an interaction, to choose from", json_schema_extra=ADVANCED
    )


class ALS(Searched["AlternatingLeastSquares"], Recommender):
    """Implicit-feedback matrix factorisation (Hu, Koren and Volinsky 2008), library `implicit`; ids alone.

    Minimises sum over all pairs of c (p - x·y)² + λ(|x|² + |y|²), p = 1 and c = α · weight where chosen, else p = 0
    and c = 1. The same bytes for the same seed and number of threads.
    """

    Settings = AlsSettings
    version = 2
    title = "ALS"
    purpose = "choices alone, in seconds; a good member of a blend"
    searched = ("regularization", "alpha")
    cost = (100.0, 100.0)
    settings: AlsSettings
    _before: AlternatingLeastSquares | None = None

    def state_of(self, content: Content, train: Interactions, settings: Choice) -> AlternatingLeastSquares:
        """The library's model; while a long log's settings are searched, it goes on from the one before."""
        model = self._unfitted(settings)
        if self._before is not None and len(train) > MOST_COMBINED:
            model.iterations = -(-model.iterations // 3)
            model.user_factors, model.item_factors = (
                factors.copy() for factors in (self._before.user_factors, self._before.item_factors)
            )
        # implicit runs its own threads: BLAS threads below them would only get in each other's way.
        with threadpool_limits(1, "blas"):
            model.fit(train.matrix(), show_progress=False, callback=lambda *_: self.check())
        self._before = model
        return model

    def prepare(self, content: Content, train: Interactions, grid: Values) -> Values:
        """See Searched: what a fit begins at is not another one's."""
        self._before = None
        return grid

    def save(self, folder: Path) -> None:
        """Writes the items' factors as `model.safetensors`."""
        save_file({"items": np.ascontiguousarray(self.item_vectors)}, folder / FILE)

    def restore(self, content: Content, train: Interactions, chosen: Fit, folder: Path) -> None:
        """See Recommender: takes the saved factors; users are solved from these."""
        self.chosen, self.state = chosen.settings, self._unfitted(chosen.settings)
        (self.state.item_factors,) = SavedRows(folder / FILE, self.name).read(("items",))

    def _unfitted(self, settings: Choice) -> AlternatingLeastSquares:
        # Loaded before BLAS is limited, as its own is not there earlier.
        from implicit.cpu.als import AlternatingLeastSquares

        with threadpool_limits(1, "blas"):
            return AlternatingLeastSquares(
                factors=self.settings.factors,
                regularization=settings["regularization"],
                alpha=settings["alpha"],
                iterations=self.settings.iterations,
                num_threads=self.threads,
                random_state=self.seed,
            )

    def scorer_of(self, state: AlternatingLeastSquares, history: Interactions) -> Scorer:
        """The inner products of the factors."""
        return inner_product(_users(state, history), np.asarray(state.item_factors, np.float32))

    @property
    def item_vectors(self) -> Floats:  # type: ignore[override]
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
