"""rp3beta: a random walk from an item to its users to their items, divided by popularity (Paudel et al. 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.train import TrainSettings
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content
from pipeline.recommend.grid_searched import Choice
from pipeline.recommend.item_to_item import ItemToItem, pairs_of, top_of_product

if TYPE_CHECKING:
    import scipy.sparse as sp


class Rp3BetaSettings(TrainSettings):
    """Validation chooses among the values of a setting."""

    model: Literal["rp3beta"] = "rp3beta"
    alpha: Grid = Field((1.0, 0.5), description="power of the steps' chances", json_schema_extra=ADVANCED)
    beta: Grid = Field(
        (0.3, 0.0, 0.6), description="power of popularity that scores are divided by", json_schema_extra=ADVANCED
    )
    neighbours: Grid = Field((200,), description="likeliest items after each item")


class RP3Beta(ItemToItem):
    """W[i, j] = Σ_u (x_ui / |U_i|)^α (x_uj / |I_u|)^α / |U_j|^β, of every row i the k largest."""

    Settings = Rp3BetaSettings
    title = "RP3beta"
    purpose = "a strong baseline of long tails"
    searched = ("alpha", "beta", "neighbours")

    def state_of(self, content: Content, train: Interactions, settings: Choice) -> sp.csr_matrix:
        """W, sparse."""
        chosen = pairs_of(train)
        popularity = np.maximum(np.bincount(chosen.indices, minlength=train.n_items), 1).astype(np.float32)
        penalty = popularity ** np.float32(settings["beta"])

        def adjust(block: sp.csr_matrix, start: int) -> None:
            self.check()
            block.data /= penalty[block.indices]

        to_user, to_item = _walk(chosen.T.tocsr(), settings["alpha"]), _walk(chosen, settings["alpha"])
        return top_of_product(to_user, to_item, self.neighbours(settings, train.n_items), adjust, self.threads)


def _walk(matrix: sp.csr_matrix, power: float) -> sp.csr_matrix:
    """Rows of ones divided by their sums, entries to a power."""
    lengths = np.diff(matrix.indptr)
    walk = matrix.copy()
    walk.data = np.repeat(lengths, lengths).astype(np.float32) ** np.float32(-power)
    return walk
