"""Settings of the epoch loop, and of what an interaction counts in training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import ADVANCED, Section, advanced

Epochs = Annotated[int, Field(ge=1, description="passes over the log, at most")]
Patience = Annotated[
    int, Field(ge=1, description="stop after so many epochs that the gate's metric on validation finds no better")
]
EvaluateEvery = Annotated[
    int,
    Field(ge=1, description="epochs from one look at the validation part to the next", json_schema_extra=ADVANCED),
]
Clip = Annotated[
    float, Field(ge=0, description="longest gradient; 0 lets every gradient pass", json_schema_extra=ADVANCED)
]
Averaging = Annotated[
    float, Field(ge=0, lt=1, description="share of the served weights kept at every step", json_schema_extra=ADVANCED)
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    Field(
        description="of dense products in training; auto: bfloat16 on a GPU that has it, else float32",
        json_schema_extra=ADVANCED,
    ),
]
Dropout = Annotated[float, Field(ge=0, lt=1)]

# What validation chooses by, and the gate judges by, unless set otherwise.
DEFAULT_METRIC = "ndcg@10"


class Schedule(Section):
    """How a fit goes on, and how long; what learns overrides the defaults that differ."""

    max_epochs: Epochs = 200
    patience_epochs: Patience = 20
    evaluate_every: EvaluateEvery = 2
    clip: Clip = 0.0
    averaging: Averaging = 0.0
    precision: Precision = "auto"


class Imbalance(Section):
    """What an interaction counts in training, beside others; see `pipeline.training.negatives`."""

    log_weight: bool = Field(True, description="the loss of a choice counts as much as the log's weight says")
    popularity_power: float = Field(
        0.0, ge=0, le=1, description="choices count by 1 / their item's popularity to this power; 0 for all alike"
    )
    by: Literal["loss", "sampling"] = advanced(
        "loss", "weigh a choice's loss by that, or draw each epoch how many times it is learned from"
    )
