"""Settings of the recommenders that learn from pairs and graphs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Grid, Section
from pipeline.config.training import Imbalance, Schedule


class Bpr(Schedule):
    """bpr: what a user chose scores above what the user did not, learned one triple after another."""

    width: int = Field(64, ge=1, description="dimensions of a user's and an item's own vector")
    batch_rows: int = Field(8192, ge=1, description="triples of a user, a chosen item and another one in a batch")
    popularity_power: float = Field(
        0.5, ge=0, le=2, description="negatives are drawn by popularity to this power; 0 draws all items alike"
    )
    learning_rate: float = Field(5e-2, gt=0)
    l2: float = Field(2e-3, ge=0, description="weight of the squared norms of a triple's own vectors")
    imbalance: Imbalance = Imbalance()


class Pairwise(Bpr):
    """vbpr and lightgcn: the same, learned a batch at a time."""

    content_width: int = Field(64, ge=1, description="vbpr: dimensions of what is learned from content, beside them")
    layers: int = Field(1, ge=1, le=4, description="lightgcn: steps of propagation along the graph of choices")
    popularity_power: float = Field(
        0.0, ge=0, le=2, description="negatives are drawn by popularity to this power; 0 draws all items alike"
    )
    learning_rate: float = Field(1e-2, gt=0)
    l2: float = Field(3e-2, ge=0, description="weight of the squared norms of a triple's own vectors")


class Graph(Schedule):
    """graph: items spread along content and choices, users made of what they chose, softmax over the catalogue."""

    patience_epochs: int = Field(10, ge=1, description="stop after so many epochs without a better validation NDCG@10")
    width: int = Field(64, ge=2, description="dimensions of the vectors")
    neighbours: int = Field(10, ge=1, description="nearest items in each modality that an item is joined with")
    neighbour_weight: float = Field(1.5, ge=0, description="weight of an item's neighbours beside the item itself")
    popularity_power: float = Field(
        0.25, ge=0, le=1, description="an item counts in a user's history by 1 / popularity to this power"
    )
    hidden_share: float = Field(0.5, gt=0, lt=1, description="share of the choices that an epoch hides and predicts")
    temperature: float = Field(0.15, gt=0, description="of the softmax over cosines")
    batch_users: int = Field(512, ge=1, description="users in a step")
    learning_rate: float = Field(1e-2, gt=0)
    weight_decay: float = Field(0.0, ge=0, description="of all but the biases")
    max_candidates: int = Field(16384, ge=1, description="items in the softmax; more are sampled")


class Elsa(Schedule):
    """elsa: a history is written down in few numbers, and read again as the items that go with it."""

    max_epochs: int = Field(30, ge=1)
    patience_epochs: int = Field(4, ge=1, description="stop after so many epochs without a better validation NDCG@10")
    evaluate_every: int = Field(1, ge=1, description="epochs from one look at the validation part to the next")
    width: int = Field(256, ge=2, description="dimensions of the vectors")
    neighbours: int = Field(
        5, ge=1, description="nearest items in each modality that stand in an item's row of content"
    )
    content_weight: float = Field(0.3, ge=0, description="what a row of content counts beside a user's; 0 for none")
    batch_rows: int = Field(1024, ge=1, description="users and rows of content in a step")
    learning_rate: float = Field(0.1, gt=0)


class Svd(Section):
    """svd: the largest singular vectors of choices and content; validation chooses among the values of a setting."""

    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (256, 64, 128, 512, 1024), min_length=1, description="dimensions of the vectors, to choose from"
    )
    popularity_powers: Grid = Field(
        (0.5, 0.3, 0.1), description="powers of popularity, to choose from, that items are scored by"
    )
    spectrum_powers: Grid = Field(
        (0.0, 0.5, 1.0), description="powers of its singular value, to choose from, that a dimension counts by"
    )
    neighbours: int = Field(
        5, ge=1, description="nearest items in each modality that stand in an item's row of content"
    )
    content_weight: float = Field(0.3, ge=0, description="what a row of content counts beside a user's; 0 for none")
