"""A graph of items by content and of items by choices, with users that are nothing but what they chose.

- item: z_i = e_i + sum over modalities m of W_m f_im, then h = z + w · sum over m of S_m z / M, where S_m joins an item
  with its nearest in modality m and is frozen, as in FREEDOM (Zhou and Shen 2023);
- spread: h ← h + Âᵀ Â h, `layers` times, Â the normalised graph of users and items as in LightGCN (He et al. 2020);
- user: u = Â_u h, the items of a history, summed by 1 / sqrt(|history| · |users of i|);
- score: cos(u, h_i) / temperature + b_i;
- loss: each epoch hides a part of the edges, makes users of the rest, and predicts the hidden ones by a softmax over
  the catalogue (sampled, where that is large): it is what ranks the test part that is learned, and not to repeat.

Without user ids there is nothing to fold in: `user_vectors` is a function of the history alone, and the same one in
training and after. An item nobody has chosen yet has no e, stands among its neighbours by content, and has the bias of
items chosen once. What lacks a modality has no edges in its graph.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import dropout, normalize

from pipeline.config.pairwise import Graph as Settings
from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.contract import Content
from pipeline.recommend.features import modalities
from pipeline.recommend.propagation import Graph, degrees, neighbours, pairs, scaled, symmetric
from pipeline.recommend.trainer import Trained, step

INITIAL = 0.1


class GraphRecommender(Trained):
    """See above; the vectors of items end with their bias, and those of users with 1."""

    name: ClassVar[str] = "graph"
    inductive: ClassVar[bool] = True

    def __init__(self, settings: Settings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)
        self.settings = settings

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width + 1) float32: a unit vector over the temperature, and 1.

        A user without history has zeros but for the 1, which asks for what suits everyone.
        """
        chosen = pairs(history)
        edges = scaled(chosen, degrees(chosen, 1), self._item_degrees)
        users = normalize(torch.from_numpy(edges @ self._spread_items)) / self.settings.temperature
        return np.concatenate([users.numpy(), np.ones((history.n_users, 1), np.float32)], axis=1)

    def _prepare(self, content: Content, train: Interactions) -> None:
        torch.manual_seed(self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        self._random = np.random.default_rng([self.seed, 2])
        self._chosen = pairs(train)
        if not (degrees(self._chosen, 1) > 1).any():
            raise StepFailed("no user has two training interactions to learn from; set train.model to content")
        self._item_degrees = degrees(self._chosen, 0)
        self._known = np.flatnonzero(self._item_degrees)
        found = modalities(content)
        self._features = {name: torch.from_numpy(vectors) for name, (vectors, _) in found.items()}
        self._likeness = [Graph(neighbours(*one, self.settings.neighbours)) for one in found.values()]
        self._ids = torch.randn(train.n_items, self.settings.width, generator=generator) * INITIAL
        self._ids[self._item_degrees == 0] = 0
        self._bias = torch.zeros(train.n_items)
        self._maps = {
            name: torch.randn(vectors.shape[1], self.settings.width, generator=generator) * INITIAL
            for name, vectors in self._features.items()
        }
        for weight in self._weights().values():
            weight.requires_grad_()
        decayed = [self._ids, *self._maps.values()]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": [self._bias], "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(
            groups, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay, fused=True
        )

    def _weights(self) -> dict[str, Tensor]:
        return {"ids": self._ids, "bias": self._bias} | {f"map.{name}": weight for name, weight in self._maps.items()}

    def _epoch(self) -> float:
        shown, hidden = self._split()
        edges = Graph(symmetric(shown))
        users = self._random.permutation(np.flatnonzero(np.diff(hidden.indptr)))
        losses = []
        for start in range(0, len(users), self.settings.batch_users):
            batch = users[start : start + self.settings.batch_users]
            losses.append(step(self._loss(edges, shown, hidden, batch), [self._optimizer], self.settings.clip))
        return float(np.mean(losses))

    def _split(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """The edges that users are made of this time, and those that are to be predicted."""
        keep = self._random.random(self._chosen.nnz) >= self.settings.edge_dropout
        return _part(self._chosen, keep), _part(self._chosen, ~keep)

    def _items_of(self, training: bool) -> Tensor:
        """h before it is spread: [n_items x width]."""
        own = self._ids
        for name, features in self._features.items():
            own = own + dropout(features, self.settings.feature_dropout, training) @ self._maps[name]
        near = sum((graph @ own for graph in self._likeness), torch.zeros(()))
        return own + near * (self.settings.neighbour_weight / len(self._likeness))

    def _spread(self, edges: Graph, items: Tensor) -> Tensor:
        for _ in range(self.settings.layers):
            items = items + edges.transposed(edges @ items)
        return items

    def _loss(self, edges: Graph, shown: sp.csr_matrix, hidden: sp.csr_matrix, users: np.ndarray) -> Tensor:
        items = self._spread(edges, self._items_of(training=True))
        rows = normalize((edges @ items)[torch.from_numpy(users)])
        targets, seen = hidden[users], shown[users]
        codes, correction = self._candidates(np.unique(targets.indices))
        place = np.full(len(self._item_degrees), -1)
        place[codes] = np.arange(len(codes))
        among = torch.from_numpy(codes)
        scores = rows @ normalize(items[among]).T / self.settings.temperature + self._bias[among] + correction
        scores = scores.index_put(_entries(seen, place), torch.tensor(-1e4))
        return -torch.log_softmax(scores, dim=1)[_entries(targets, place)].mean()

    def _candidates(self, targets: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Codes that a softmax is over, and what is added to their scores: all known items, or a part of them.

        The part is every target of the batch and a uniform draw from the others, each of which stands for as many as
        were not drawn: log of that is added, so that the softmax's sum is estimated without bias.
        """
        if len(self._known) <= self.settings.max_candidates:
            return self._known, torch.zeros(())
        others = np.setdiff1d(self._known, targets, assume_unique=True)
        drawn = self._random.choice(others, min(self.settings.max_candidates, len(others)), replace=False)
        added = np.concatenate([np.zeros(len(targets)), np.full(len(drawn), np.log(len(others) / max(len(drawn), 1)))])
        return np.concatenate([targets, drawn]), torch.from_numpy(added.astype(np.float32))

    @torch.no_grad()
    def _freeze(self) -> None:
        items = self._spread(Graph(symmetric(self._chosen)), self._items_of(training=False))
        self._spread_items = items.numpy()
        once = self._item_degrees == self._item_degrees[self._known].min()
        bias = np.where(self._item_degrees > 0, self._bias.numpy(), self._bias.numpy()[once].mean())
        self._items = np.concatenate([normalize(items).numpy(), bias[:, None]], axis=1).astype(np.float32)


def _part(matrix: sp.csr_matrix, keep: np.ndarray) -> sp.csr_matrix:
    """The matrix with some of its entries: keep is (nnz,) bool."""
    ends = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
    return sp.csr_matrix((matrix.data[keep], matrix.indices[keep], ends), shape=matrix.shape)


def _entries(matrix: sp.csr_matrix, place: np.ndarray) -> tuple[Tensor, Tensor]:
    """Rows and columns of the entries, a column being the place of its item among the candidates, if it has one."""
    rows, columns = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), place[matrix.indices]
    found = columns >= 0
    return torch.from_numpy(rows[found]), torch.from_numpy(columns[found])
