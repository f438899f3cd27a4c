"""popularity: the same for everyone: what was chosen most often of late."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.config.base import Grid
from pipeline.config.train import TrainSettings
from pipeline.evaluation.metrics import Scorer
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Recommender
from pipeline.recommend.grid_searched import Choice, Searched
from pipeline.recommend.sides import FoldSide
from pipeline.recommend.user_sides import SameForAll


class PopularitySettings(TrainSettings):
    """Validation chooses among the values of a setting."""

    model: Literal["popularity"] = "popularity"
    half_life_days: Grid = Field((90, 10, 10_000), description="age at which a choice counts half, to choose from")


class Popularity(Searched[Floats], Recommender):
    """An item's score is how often it was chosen, an interaction counting half at each half life."""

    Settings = PopularitySettings
    title = "popularity"
    purpose = "what a shop shows without any model; the gate's default opponent"
    seeded = False
    searched = ("half_life_days",)

    def state_of(self, content: Content, train: Interactions, settings: Choice) -> Floats:
        """(n_items, 1) float32: the summed weight of the item's interactions, each faded with its age."""
        age_days = train.age_days - train.age_days.min(initial=np.inf)
        weights = train.weight * np.exp2(-age_days / settings["half_life_days"])
        return np.bincount(train.item, weights, minlength=train.n_items).astype(np.float32)[:, None]

    def scorer_of(self, state: Floats, history: Interactions) -> Scorer:
        """Everyone's scores are the items' own."""
        return lambda users: state.T.repeat(len(users), axis=0)

    @property
    def item_vectors(self) -> Floats:  # type: ignore[override]
        """(n_items, 1) float32, as `state_of` returns."""
        return self.state

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, 1) float32 of ones."""
        return np.ones((history.n_users, 1), np.float32)

    @classmethod
    def fold_side(cls, folder: Path) -> FoldSide:
        """See Model."""
        return SameForAll()
