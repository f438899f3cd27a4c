"""A graph of items by content and of items by choices, with users that are nothing but what they chose.

- item: z_i = e_i + sum over modalities m of W_m f_im, then h = z + w · sum over m of S_m z / M, where S_m joins an item
  with its nearest in modality m and is frozen, as in FREEDOM (Zhou and Shen 2023);
- user: u = Â_u h, Â the graph of users and items, an edge counting by its ends' degrees to the power -p: with p = ½
  this is one step of LightGCN's propagation (He et al. 2020);
- score: cos(u, h_i) / temperature + b_i;
- loss: each epoch hides a part of the edges, makes users of the rest, and predicts the hidden ones by a softmax over
  the catalogue (sampled, where that is large). FREEDOM and LightGCN learn to repeat the very edges that users are made
  of, by BPR; this learns what is asked for later, which edges go with a history that lacks them.

Without user ids there is nothing to fold in: `user_vectors` is a function of the history alone, and the same one in
training and after. An item nobody has chosen yet has no e, stands among its neighbours by content, has the bias of the
items chosen least, and counts in a history like them. What lacks a modality has no edges in its graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainedSettings
from pipeline.config.training import Patience
from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Space
from pipeline.recommend.content_features import degrees, modalities, neighbours_of, scaled
from pipeline.recommend.item_sides import SummedItems, save_parts
from pipeline.recommend.sides import ItemSide
from pipeline.recommend.trained import Tables, Trained
from pipeline.recommend.user_sides import AdditiveUsers

if TYPE_CHECKING:
    import scipy.sparse as sp
    import torch
    from torch import Tensor
    from torch.nn import functional

    from pipeline.recommend import propagation
    from pipeline.training import softmax
else:
    sp, torch, functional = Lazy("scipy.sparse"), Lazy("torch"), Lazy("torch.nn.functional")
    propagation = Lazy("pipeline.recommend.propagation")
    softmax = Lazy("pipeline.training.softmax")

INITIAL = 0.1


class GraphSettings(TrainedSettings):
    """Of the two graphs, what an epoch hides, and the softmax."""

    model: Literal["graph"] = "graph"
    patience_epochs: Patience = 10
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


@dataclass(frozen=True)
class Hidden:
    """b users to predict the hidden choices of: edges and shown, those that users are made of, scaled and as they are;
    hidden, the others: (b, n_items) each; part: their share of the choices that a batch predicts. candidates: what
    `_candidates` returns for the whole batch.
    """

    edges: propagation.Graph
    shown: sp.csr_matrix
    hidden: sp.csr_matrix
    part: float
    candidates: tuple[np.ndarray, Tensor]


class GraphRecommender(Trained[Hidden]):
    """See above; the vectors of items end with their bias, and those of users with 1."""

    Settings = GraphSettings
    title = "graph"
    purpose = "small and middling logs with content; strong where histories are short"
    inductive = True
    reads = frozenset({"modalities"})
    shared = True
    remade = True
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 2e-3, "high": 5e-2, "log": True},
        "temperature": {"low": 0.05, "high": 0.5, "log": True},
        "neighbour_weight": {"low": 0, "high": 4},
        "popularity_power": {"low": 0, "high": 0.75},
        "hidden_share": {"low": 0.2, "high": 0.8},
    }
    cost = (250.0, 1000.0)
    settings: GraphSettings
    tables: ClassVar[Tables] = {"ids": ("items",), "bias": ("items",)}

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Model."""
        return SummedItems(folder, "graph", unit=True)

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width + 1) float32: a unit vector over the temperature, and 1.

        A user without history has zeros but for the 1, which asks for what suits everyone.
        """
        edges = self._scaled(history.pairs(), self._counted)
        users = functional.normalize(torch.from_numpy(edges @ self._raw_items)) / self.settings.temperature
        return np.concatenate([users.numpy(), np.ones((history.n_users, 1), np.float32)], axis=1)

    def additive_users(self) -> AdditiveUsers:
        """See Recommender."""
        one_each = sp.eye(len(self._raw_items), format="csr", dtype=np.float32)
        items = self._scaled(one_each, self._counted) @ self._raw_items
        base = np.eye(1, items.shape[1] + 1, items.shape[1], dtype=np.float32)
        return AdditiveUsers(np.pad(items, ((0, 0), (0, 1))), base[0], length=1 / self.settings.temperature)

    def save(self, folder: Path) -> None:
        """Writes the weights, and what every item's vector is the sum of before it is scaled, see `item_side`."""
        super().save(folder)
        own, *parts = (part.detach().numpy() for part in self._parts())
        biases, without = self.item_vectors[:, -1:], np.zeros((len(own), 1), np.float32)
        named = {name: np.concatenate([part, without], 1) for name, part in zip(self._maps, parts, strict=True)}
        save_parts(folder, np.concatenate([own, biases], axis=1), named)

    def _prepare(self, content: Content, train: Interactions) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self._random = np.random.default_rng([self.seed, 2])
        self._chosen = train.pairs()
        if not (degrees(self._chosen, 1) > 1).any():
            raise StepFailed("no user has two training interactions to learn from; set train.model to content")
        self._item_degrees = degrees(self._chosen, 0)
        self._known = np.flatnonzero(self._item_degrees)
        self._counted = np.maximum(self._item_degrees, self._item_degrees[self._known].min())
        by_modality = modalities(content)
        self._features = {name: torch.from_numpy(vectors) for name, (vectors, _) in by_modality.items()}
        near = neighbours_of(content, self.settings.neighbours).values()
        self._likeness = [propagation.Graph(matrix) for matrix, _, _ in near]
        self._ids = torch.randn(train.n_items, self.settings.width, generator=generator) * INITIAL
        self._has_id = torch.from_numpy((self._item_degrees > 0).astype(np.float32))[:, None]
        self._bias = torch.zeros(train.n_items)
        self._maps = {
            name: torch.randn(vectors.shape[1], self.settings.width, generator=generator) * INITIAL
            for name, vectors in self._features.items()
        }
        maps = {f"map.{name}": weight for name, weight in self._maps.items()}
        self._weights = {"ids": self._ids, "bias": self._bias} | maps
        for weight in self._weights.values():
            weight.requires_grad_()
        decayed = [self._ids, *self._maps.values()]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": [self._bias], "weight_decay": 0.0}]
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        self._optimizers = [torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)]
        self._generators = [self._random]

    def _batches(self) -> Iterator[Hidden]:
        shown, hidden = self._split()
        edges = self._scaled(shown, degrees(shown, 0))
        users = self._random.permutation(np.flatnonzero(np.diff(hidden.indptr)))
        for start in range(0, len(users), self.settings.batch_users):
            some = users[start : start + self.settings.batch_users]
            counts = np.diff(hidden.indptr)[some]
            candidates = self._candidates(np.unique(hidden[some].indices))
            own, share = self.processes.own(np.arange(len(some)))
            part = float(counts[own].sum() / counts.sum()) if share else 0.0
            some = some[own]
            yield Hidden(propagation.Graph(edges[some]), shown[some], hidden[some], part, candidates)

    def _split(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """The edges that users are made of in this epoch, and those to be predicted."""
        keep = self._random.random(self._chosen.nnz) >= self.settings.hidden_share
        return _part(self._chosen, keep), _part(self._chosen, ~keep)

    def _scaled(self, chosen: sp.csr_matrix, item_degrees: Floats) -> sp.csr_matrix:
        return scaled(chosen, degrees(chosen, 1), item_degrees, self.settings.popularity_power)

    def _items_of(self) -> Tensor:
        """h: [n_items x width]."""
        own, *parts = self._parts()
        return sum(parts, own)

    def _parts(self) -> list[Tensor]:
        """What h is the sum of: e, and for each modality its map and its neighbours, [n_items x width] each."""
        own = self._ids * self._has_id
        mapped = [features @ self._maps[name] for name, features in self._features.items()]
        z = sum(mapped, own)
        weight = self.settings.neighbour_weight / len(mapped)
        near = zip(mapped, self._likeness, strict=True)
        return [own, *(part + (graph @ z) * weight for part, graph in near)]

    def _loss(self, batch: Hidden) -> Tensor:
        items = self._items_of()
        codes, correction = batch.candidates
        among = torch.from_numpy(codes)
        users = functional.normalize(batch.edges @ items) / self.settings.temperature
        left = torch.cat([users, torch.ones(len(users), 1)], dim=1)
        biases = (self._bias[among] + correction)[:, None]
        right = torch.cat([functional.normalize(functional.embedding(among, items)), biases], dim=1)
        place = np.full(len(self._item_degrees), -1)
        place[codes] = np.arange(len(codes))
        rows, columns = _entries(batch.hidden, place)
        log_sums = softmax.log_sum_exp(left, right, *_entries(batch.shown, place))
        logits = (functional.embedding(rows, left) * functional.embedding(columns, right)).sum(dim=1)
        return (log_sums[rows] - logits).mean() * batch.part

    def _candidates(self, targets: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """The softmax's items and the corrections of their scores: all known items, or a part.

        The part is every target of the batch and a uniform draw from the others, each of which stands for as many as
        were not drawn: log of that is added, so that the softmax's sum is estimated without bias.
        """
        if len(self._known) <= self.settings.max_candidates:
            return self._known, torch.zeros(())
        others = np.setdiff1d(self._known, targets, assume_unique=True)
        drawn = self._random.choice(others, min(self.settings.max_candidates, len(others)), replace=False)
        added = np.concatenate([np.zeros(len(targets)), np.full(len(drawn), np.log(len(others) / max(len(drawn), 1)))])
        return np.concatenate([targets, drawn]), torch.from_numpy(added.astype(np.float32))

    def _freeze(self) -> None:
        items = self._items_of()
        self._raw_items = items.numpy()
        least = self._item_degrees == self._item_degrees[self._known].min()
        bias = np.where(self._item_degrees > 0, self._bias.numpy(), self._bias.numpy()[least].mean())
        self.item_vectors = np.concatenate([functional.normalize(items).numpy(), bias[:, None]], axis=1).astype(
            np.float32
        )


def _part(matrix: sp.csr_matrix, keep: np.ndarray) -> sp.csr_matrix:
    """The matrix with some of its entries: keep is (nnz,) bool."""
    ends = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
    return sp.csr_matrix((matrix.data[keep], matrix.indices[keep], ends), shape=matrix.shape)


def _entries(matrix: sp.csr_matrix, place: np.ndarray) -> tuple[Tensor, Tensor]:
    """Rows and columns of the entries, a column being the place of its item among the candidates, if it has one."""
    rows, columns = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), place[matrix.indices]
    placed = columns >= 0
    return torch.from_numpy(rows[placed]), torch.from_numpy(columns[placed])
