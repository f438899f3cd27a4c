"""Settings of the sequential recommender."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.semantic_ids import SemanticIds
from pipeline.config.training import Imbalance, Schedule


class Sequence(Schedule):
    """A causal transformer that reads a user's choices in order; see `pipeline.recommend.sequence`."""

    max_epochs: int = Field(60, ge=1)
    patience_epochs: int = Field(3, ge=1, description="stop after so many epochs without a better validation NDCG@10")
    evaluate_every: int = Field(1, ge=1, description="epochs from one look at the validation part to the next")
    averaging: float = Field(0.99, ge=0, lt=1, description="share of the served weights kept at every step")
    width: int = Field(256, ge=2, description="dimensions of item and user vectors, a multiple of `heads`")
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    history_items: int = Field(50, ge=2, description="latest interactions that are read")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    semantic_ids: SemanticIds = SemanticIds()
    id_dropout: Annotated[float, Field(ge=0, lt=1, description="share of items that a step sees by content alone")] = (
        0.1
    )
    temperature: float = Field(0.07, ge=0.02, description="a score is the cosine divided by this")
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="share of a target spread over all items")] = 0.0
    full_softmax_items: int = Field(10_000, ge=0, description="above so many chosen items, the softmax is sampled")
    negatives: int = Field(2048, ge=1, description="items that a sampled softmax draws for each batch")
    batch_positions: int = Field(512, ge=1, description="places of histories in one batch, with padding")
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    imbalance: Imbalance = Imbalance()

    @field_validator("heads")
    @classmethod
    def _heads_share_the_width(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("width", heads) % heads:
            raise ValueError(f"must divide width, which is {info.data['width']}")
        return heads
