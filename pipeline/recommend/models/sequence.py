"""A causal transformer over what a user chose, in order: every place predicts the next item.

- model: SASRec (Kang and McAuley 2018), with places known by their distance; an item's vector is an id embedding plus
  a linear map of its fused vector, the same where it is read and where it is scored; the score is a cosine;
- loss: cross-entropy of the softmax over all items chosen in training, which is what makes this model strong
  (Klenitskiy and Vasilev 2023; Petrov and Macdonald 2023); in catalogues above `full_softmax_items` over a draw, half
  by popularity and half uniform, corrected by the log of how often an item is expected in it (Bengio and Senécal 2008);
- new items: each step hides the ids of some items that have content, so that content learns to stand alone;
- batch: sequences of like length, so that little is padding; what shares a moment is shuffled anew each epoch;
- stop: the epoch that the gate's metric on the validation part finds best, full ranking, with averaged weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.base import Section
from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainedSettings
from pipeline.config.training import Averaging, Dropout, Epochs, EvaluateEvery, Imbalance, Patience
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.recommend.base import Content, Space
from pipeline.recommend.item_sides import SequenceItems
from pipeline.recommend.sides import ItemSide
from pipeline.recommend.trained import Tables, Trained
from pipeline.recommend.user_networks import UserNetwork
from pipeline.training.batches import padded_batches

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.recommend import llm_network, sequence_batches, sequence_network
    from pipeline.recommend.models.llm import LlmSettings
    from pipeline.recommend.sequence_batches import Batch, Pieces
    from pipeline.training import torch_runtime
else:
    torch, torch_runtime = Lazy("torch"), Lazy("pipeline.training.torch_runtime")
    sequence_batches = Lazy("pipeline.recommend.sequence_batches")
    sequence_network = Lazy("pipeline.recommend.sequence_network")

BLOCK_PLACES = 32_768


class SemanticIds(Section):
    """Fused vectors told in a few codes that like items share; see `pipeline.recommend.semantic_ids`."""

    levels: int = Field(0, ge=0, le=8, description="codes of an item, coarse to fine; 0 for none")
    codes: int = Field(256, ge=2, description="different codes of one level, fewer in a small catalogue")


class HistorySettings(TrainedSettings):
    """What sequence and llm share: the vectors, and the softmax over chosen items."""

    patience_epochs: Patience = 3
    evaluate_every: EvaluateEvery = 1
    semantic_ids: SemanticIds = SemanticIds()
    id_dropout: Annotated[float, Field(ge=0, lt=1, description="share of items that a step sees by content alone")] = (
        0.1
    )
    temperature: float = Field(0.07, ge=0.02, description="a score is the cosine divided by this")
    full_softmax_items: int = Field(10_000, ge=0, description="above so many chosen items, the softmax is sampled")
    negatives: int = Field(2048, ge=1, description="items that a sampled softmax draws for each batch")
    weight_decay: float = Field(1e-2, ge=0)
    imbalance: Imbalance = Imbalance()


class SequenceSettings(HistorySettings):
    """Of the transformer, and how it is trained."""

    model: Literal["sequence"] = "sequence"
    max_epochs: Epochs = 60
    averaging: Averaging = 0.99
    width: int = Field(256, ge=2, description="dimensions of item and user vectors, a multiple of `heads`")
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    history_items: int = Field(50, ge=2, description="latest interactions that are read")
    dropout: Dropout = 0.5
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="share of a target spread over all items")] = 0.0
    batch_positions: int = Field(512, ge=1, description="places of histories in one batch, with padding")
    learning_rate: float = Field(2e-3, gt=0)

    @field_validator("heads")
    @classmethod
    def _heads_share_the_width(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("width", heads) % heads:
            raise ValueError(f"must divide width, which is {info.data['width']}")
        return heads


class HistoryModel(Trained["Batch"]):
    """What sequence and llm share: items made of ids and content, users by a causal network's latest state.

    Item vectors are (n_items, width + 1) float32: unit norm, and 0; or zeros and -2 / temperature, below any score. The
    latter are items with neither content nor anyone who chose them: nothing is known of them.
    """

    inductive = True
    shared = True
    remade = True
    settings: SequenceSettings | LlmSettings
    # Codes are told anew every night: what an earlier night learned for one is of no use to whoever has it now.
    tables: ClassVar[Tables] = {"items.ids": ("items",), "items.shared.table": (), "reader.codes.table": ()}
    device: torch.device
    _network: sequence_network.Transformer | llm_network.Network
    _pieces: Pieces

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Model."""
        return SequenceItems(folder, cls.Settings.model_fields["model"].default)

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width + 1) float32: the state after the latest `history_items`, of norm 1 / temperature, and 1.

        A user without history gets a zero row.
        """
        users = np.zeros((history.n_users, self.item_vectors.shape[1]), np.float32)
        ends = history.offsets()[1:]
        sizes = np.minimum(np.diff(history.offsets()), self.settings.history_items)
        with torch_runtime.reproducible(self.threads), torch.no_grad():
            for batch in padded_batches(sizes, self._places()):
                size, steps = sizes[batch], np.arange(sizes[batch].max())
                rows = np.where(steps < size[:, None], (ends[batch] - size)[:, None] + steps, 0)
                states = self._last(history.item[rows].astype(np.int64), size) / self.settings.temperature
                users[batch, :-1] = states.cpu().numpy()
                users[batch, -1] = 1
        return users

    @abstractmethod
    def _places(self) -> int:
        """How many places of histories are read at once to make users."""

    @abstractmethod
    def _last(self, items: Int64s, size: Int64s) -> Tensor:
        """The states after each history: [b x d]. items: (b, l) codes, of which the first `size`, (b,), count."""

    @abstractmethod
    def _states(self, batch: Batch, vectors: Tensor) -> Tensor:
        """The states at all places of a batch, [b x l x d]. vectors: [n x d], of the batch's items."""

    def _saved(self) -> dict[str, Tensor]:
        """The served weights, and which items had been chosen or are below all."""
        items = {"known": self._known, "below": torch.from_numpy(self.item_vectors[:, -1].copy())}
        return self._network.state_dict() | items

    def _prepare(self, content: Content, train: Interactions) -> None:
        self.device = torch_runtime.device()
        self._generator = torch.Generator().manual_seed(self.seed)
        self._generators = [self._pieces.generator, self._generator]
        vectors = np.ascontiguousarray(content.vectors * content.present[:, None], np.float32)
        self._content = torch.from_numpy(vectors).to(self.device)
        self._present = torch.from_numpy(content.present.astype(np.float32)).to(self.device)
        self._known = torch.from_numpy((train.item_counts() > 0).astype(np.float32)).to(self.device)

    def _batches(self) -> Iterator[Batch]:
        self._network.train()
        return self._pieces.epoch()

    def _loss(self, batch: Batch) -> Tensor:
        moved = batch.to(self.device)
        codes = moved.codes
        drawn = torch.rand(len(codes), generator=self._generator).to(self.device)
        hidden = (drawn < self.settings.id_dropout) & (self._present[codes] > 0)
        vectors = self._network.items(codes, self._content[codes], (~hidden).float())
        states = self._states(batch, vectors).flatten(0, 1)[moved.at]
        scale, ease = 1 / self.settings.temperature, getattr(self.settings, "label_smoothing", 0.0)
        with torch_runtime.full_precision(self.device):
            softmax = sequence_network.SoftmaxLoss
            loss: Tensor = softmax.apply(states.float(), vectors.float(), moved.aims, scale, ease)
        return loss

    def _freeze(self) -> None:
        self._network.eval()
        codes = torch.arange(len(self._known), device=self.device)
        self._vectors = self._network.items(codes, self._content, self._known)
        blank = (self._known == 0) & (self._present == 0)
        below = torch.where(blank, -2 / self.settings.temperature, 0.0)[:, None]
        self.item_vectors = torch.cat([self._vectors, below], dim=1).cpu().numpy()


class SequenceModel(HistoryModel):
    """SASRec, with items made of ids and content; the same bytes for the same seed, threads, device and input."""

    Settings = SequenceSettings
    title = "sequence"
    purpose = "logs in which the order of choices tells what comes next"
    reads = frozenset({"fused"})
    version = 2
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "dropout": {"low": 0.1, "high": 0.7},
        "id_dropout": {"low": 0, "high": 0.5},
        "temperature": {"low": 0.03, "high": 0.2, "log": True},
        "layers": {"low": 1, "high": 3},
    }
    cost = (6000.0, 500.0)
    settings: SequenceSettings
    _network: sequence_network.Transformer

    def _prepare(self, content: Content, train: Interactions) -> None:
        self._pieces = sequence_batches.Pieces(train, self.settings, self.seed, self.processes)
        super()._prepare(content, train)
        shape, width = content.vectors.shape, self.settings.width
        shared = sequence_network.code_vectors(content, self.settings.semantic_ids, width, self.seed)
        network = sequence_network.Transformer(shape, self.settings, self._generator, shared)
        self._network = network.to(self.device)
        axes = sequence_batches.shared_axes(train, width, self.seed)
        self._network.items.ids.data += torch.from_numpy(axes).to(self.device)
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        self._weights = dict(self._network.named_parameters())
        self._optimizers = [torch.optim.AdamW(self._network.parameters(), lr=rate, weight_decay=decay, fused=True)]

    def user_network(self) -> UserNetwork:
        """See Recommender."""
        network = sequence_network.ReadUser(self._network, self.settings.temperature)
        return UserNetwork(network, ("items", "present"), self._vectors.cpu().numpy(), self.settings.history_items)

    def _places(self) -> int:
        return BLOCK_PLACES

    def _last(self, items: Int64s, size: Int64s) -> Tensor:
        states = self._network(self._vectors[torch.from_numpy(items).to(self.device)])
        return states[torch.arange(len(size)), torch.from_numpy(size - 1)]

    def _states(self, batch: Batch, vectors: Tensor) -> Tensor:
        return self._network(vectors[batch.history.to(self.device)])
