"""Settings of the second stage, which re-orders the best of the index."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Section, Share, advanced


class Rerank(Section):
    """A network that re-orders the best of the index for each user, where validation finds that to help."""

    enabled: bool = Field(True, description="learn it; whether it re-orders anything, validation decides each night")
    learn_from: Literal["auto", "shown", "sampled"] = Field(
        "auto",
        description="what users were shown, chosen or not; or choices beside drawn items; auto: as validation prefers",
    )
    min_shown_choices: int = advanced(1000, "auto: leave out what was shown, if fewer pairs of it were chosen", ge=1)
    chosen_within_days: float = Field(7, gt=0, description="what was shown counts as chosen, if it was so soon after")
    candidates: int = Field(100, ge=1, description="best items of the index that are re-ordered for a user")
    history_share: float = advanced(
        0.5, "earliest share of the log that is only history, and nothing to be learned from", gt=0, lt=1
    )
    rounds: int = advanced(4, "moments in the rest of the log, each with all before it as history", ge=1)
    negatives: int = advanced(8, "items drawn beside each that was chosen", ge=1)
    hard_share: Share = advanced(0.5, "share of those drawn from the candidates; the others from all items")
    max_pairs: int = advanced(1_000_000, "pairs of a user and an item to learn from, at most", ge=1)
    width: int = advanced(32, "outputs of each tower", ge=1)
    hidden: int = advanced(64, "width of the fully connected layers", ge=1)
    dropout: float = advanced(0.2, ge=0, lt=1)
    batch_pairs: int = advanced(1024, "pairs in a step", ge=1)
    learning_rate: float = advanced(3e-3, gt=0)
    weight_decay: float = advanced(1e-2, ge=0)
    max_epochs: int = advanced(20, ge=1)
    patience_epochs: int = advanced(4, "stop after so many epochs that the gate's metric finds no better", ge=1)
