"""Settings of the epoch loop, and of what an interaction counts in training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Section


class Schedule(Section):
    """How a fit goes on, and how long."""

    max_epochs: int = Field(200, ge=1)
    patience_epochs: int = Field(
        20, ge=1, description="stop after so many epochs that the gate's metric on validation finds no better"
    )
    evaluate_every: int = Field(2, ge=1, description="epochs from one look at the validation part to the next")
    clip: float = Field(0.0, ge=0, description="longest gradient; 0 lets every gradient pass")
    averaging: float = Field(0.0, ge=0, lt=1, description="share of the served weights kept at every step")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of dense products in training; auto: bfloat16 on a GPU that has it, else float32"
    )


class Imbalance(Section):
    """What an interaction counts in training, beside others; see `pipeline.training.weighting`."""

    log_weight: bool = Field(True, description="the loss of a choice counts as much as the log's weight says")
    popularity_power: float = Field(
        0.0, ge=0, le=1, description="choices count by 1 / their item's popularity to this power; 0 for all alike"
    )
    by: Literal["loss", "sampling"] = Field(
        "loss", description="weigh a choice's loss by that, or draw each epoch how many times it is learned from"
    )
