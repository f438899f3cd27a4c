"""Settings of the second stage, which re-orders the best of the index."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import ADVANCED, Section, Share


class Rerank(Section):
    """A network that re-orders the best of the index for each user, where validation finds that to help."""

    enabled: bool = Field(True, description="learn it; whether it re-orders anything, validation decides each night")
    learn_from: Literal["auto", "shown", "sampled"] = Field(
        "auto",
        description="what users were shown, chosen or not; or choices beside drawn items; auto: as validation prefers",
    )
    min_shown_choices: int = Field(
        1000,
        ge=1,
        description="auto: leave out what was shown, if fewer pairs of it were chosen",
        json_schema_extra=ADVANCED,
    )
    chosen_within_days: float = Field(7, gt=0, description="what was shown counts as chosen, if it was so soon after")
    candidates: int = Field(100, ge=1, description="best items of the index that are re-ordered for a user")
    history_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="earliest share of the log that is only history, and nothing to be learned from",
        json_schema_extra=ADVANCED,
    )
    rounds: int = Field(
        4,
        ge=1,
        description="moments in the rest of the log, each with all before it as history",
        json_schema_extra=ADVANCED,
    )
    negatives: int = Field(8, ge=1, description="items drawn beside each that was chosen", json_schema_extra=ADVANCED)
    hard_share: Share = Field(
        0.5,
        description="share of those drawn from the candidates; the others from all items",
        json_schema_extra=ADVANCED,
    )
    max_pairs: int = Field(
        1_000_000, ge=1, description="pairs of a user and an item to learn from, at most", json_schema_extra=ADVANCED
    )
    width: int = Field(32, ge=1, description="outputs of each tower", json_schema_extra=ADVANCED)
    hidden: int = Field(64, ge=1, description="width of the fully connected layers", json_schema_extra=ADVANCED)
    dropout: float = Field(0.2, ge=0, lt=1, json_schema_extra=ADVANCED)
    batch_pairs: int = Field(1024, ge=1, description="pairs in a step", json_schema_extra=ADVANCED)
    learning_rate: float = Field(1e-3, gt=0, json_schema_extra=ADVANCED)
    weight_decay: float = Field(1e-2, ge=0, json_schema_extra=ADVANCED)
    max_epochs: int = Field(20, ge=1, json_schema_extra=ADVANCED)
    patience_epochs: int = Field(
        4, ge=1, description="stop after so many epochs without a better validation NDCG@10", json_schema_extra=ADVANCED
    )
