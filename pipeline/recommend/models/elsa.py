"""elsa: a history is written down in few numbers, and read again as the items that go with it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.config.train import TrainSettings
from pipeline.config.training import Epochs, EvaluateEvery, Patience, Schedule
from pipeline.recommend.kind import Kind, Space


class ElsaSettings(TrainSettings, Schedule):
    """See `pipeline.recommend.elsa`."""

    model: Literal["elsa"] = "elsa"
    max_epochs: Epochs = 30
    patience_epochs: Patience = 4
    evaluate_every: EvaluateEvery = 1
    width: int = Field(256, ge=2, description="dimensions of the vectors")
    neighbours: int = Field(
        5, ge=1, description="nearest items in each modality that stand in an item's row of content"
    )
    content_weight: float = Field(0.3, ge=0, description="what a row of content counts beside a user's; 0 for none")
    batch_rows: int = Field(1024, ge=1, description="users and rows of content in a step")
    learning_rate: float = Field(0.1, gt=0)


class ElsaKind(Kind):
    """The linear autoencoder of low rank, which also reads content."""

    Settings = ElsaSettings
    title = "ELSA"
    purpose = "large catalogues, where a linear model of a few hundred dimensions is hard to beat"
    implementation = "pipeline.recommend.elsa:Elsa"
    inductive = True
    reads = frozenset({"modalities"})
    not_remade = "learns an item from its content and from choices at once"
    shared = True
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 1e-2, "high": 0.5, "log": True},
        "width": [64, 128, 256, 512],
        "neighbours": {"low": 2, "high": 20},
        "content_weight": {"low": 0, "high": 1},
    }
