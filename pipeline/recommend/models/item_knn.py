"""item_knn: the items most like those of a history, by who chose them (Sarwar et al. 2001)."""

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


class ItemKnnSettings(TrainSettings):
    """Validation chooses among the values of a setting."""

    model: Literal["item_knn"] = "item_knn"
    neighbours: Grid = Field((200,), description="nearest items of each item, to choose from")
    shrink: Grid = Field(
        (0, 10, 100),
        description="added to the norms, so that rare items are less alike; to choose from",
        json_schema_extra=ADVANCED,
    )
    user_power: Grid = Field(
        (1.0, 0.0),
        description="power of the length of a history that a user's choices count less by; to choose from",
        json_schema_extra=ADVANCED,
    )


class ItemKnn(ItemToItem):
    """W[i, j] = Σ_(u of both) |I_u|^-α / (√(|U_i| |U_j|) + shrink), where i is among the k nearest of j.

    A shrunk cosine, to which a user who chose much tells less of any two items.
    """

    Settings = ItemKnnSettings
    version = 2
    title = "item kNN"
    purpose = "people who chose this also chose that; a baseline"
    searched = ("neighbours", "shrink", "user_power")

    def state_of(self, content: Content, train: Interactions, settings: Choice) -> sp.csr_matrix:
        """W, sparse."""
        chosen = pairs_of(train)
        users_of = chosen.T.tocsr()
        root = np.sqrt(np.diff(users_of.indptr)).astype(np.float32)
        lengths = np.diff(chosen.indptr)
        chosen.data = np.repeat(lengths, lengths).astype(np.float32) ** np.float32(-settings["user_power"])

        def adjust(block: sp.csr_matrix, start: int) -> None:
            self.check()
            row = start + np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
            block.data /= root[row] * root[block.indices] + np.float32(settings["shrink"])

        return top_of_product(
            users_of, chosen, self.neighbours(settings, train.n_items), adjust, self.threads
        ).T.tocsr()
