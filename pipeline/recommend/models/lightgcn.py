"""LightGCN (He et al. 2020): ids spread along the graph of who chose what, the layers' mean, pairwise ranking.

    Â   = D^-½ A D^-½,  A the symmetric graph of users and items
    E   = (E⁰ + Â E⁰ + … + Â^L E⁰) / (L + 1)
    loss  mean over triples of -ln σ(e_u·e_i - e_u·e_j) + λ (|e⁰_u|² + |e⁰_i|² + |e⁰_j|²)

One step propagates once, forward and back, for a whole batch: batches are large. A user's vector is made anew from the
given history: layers above the first are its items' layers below, spread along the edges of that history, and E⁰ is
folded in from the first of them (`fold`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Space
from pipeline.recommend.content_features import symmetric
from pipeline.recommend.models.bpr import PAIRWISE_SPACE, Pairwise, PairwiseSettings
from pipeline.recommend.trained import Tables
from pipeline.training.negatives import Triple

if TYPE_CHECKING:
    import scipy.sparse as sp
    import torch
    from torch import Tensor
    from torch.nn import functional

    from pipeline.recommend import propagation
else:
    sp, torch, functional = Lazy("scipy.sparse"), Lazy("torch"), Lazy("torch.nn.functional")
    propagation = Lazy("pipeline.recommend.propagation")

INITIAL = 0.1


class LightGcnSettings(PairwiseSettings):
    """As bpr's, learned a batch at a time."""

    model: Literal["lightgcn"] = "lightgcn"
    popularity_power: float = Field(
        0.0, ge=0, le=2, description="negatives are drawn by popularity to this power; 0 draws all items alike"
    )
    layers: int = Field(1, ge=1, le=4, description="steps of propagation along the graph of choices")


class LightGCN(Pairwise):
    """Ids alone; an item nobody has chosen yet is what it was drawn as, which no user is near."""

    Settings = LightGcnSettings
    title = "LightGCN"
    purpose = "choices alone, where who chose what is a dense graph"
    shared = True
    search_space: ClassVar[Space] = {**PAIRWISE_SPACE, "layers": {"low": 1, "high": 3}}
    settings: LightGcnSettings
    tables: ClassVar[Tables] = {"ids": ("users", "items")}

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32 propagated from the given history; a zero row for a user without any."""
        first = self._fold.pooled(history, self._layers[0])
        above = [self._fold.pooled(history, layer) for layer in self._layers[1:-1]]
        users = (first @ self._map + sum(above, first)) / len(self._layers)
        return np.asarray(users, np.float32)

    def learned_users(self) -> Floats:
        """(n_users, width) float32: the users as training left them, which `user_vectors` is an estimate of."""
        ids = self._ids[: self._train.n_users].detach().numpy()
        above = [self._fold.pooled(self._train, layer) for layer in self._layers[:-1]]
        return np.asarray(sum(above, ids) / len(self._layers), np.float32)

    def _prepare(self, content: Content, train: Interactions) -> None:
        super()._prepare(content, train)
        chosen = train.pairs()
        self._graph = propagation.Graph(symmetric(sp.csr_matrix(sp.bmat([[None, chosen], [chosen.T, None]]))))
        rows = train.n_users + train.n_items
        self._ids = (torch.randn(rows, self.settings.width, generator=self._random) * INITIAL).requires_grad_()
        self._weights = {"ids": self._ids}
        self._optimizers = [torch.optim.Adam([self._ids], lr=self.settings.learning_rate, fused=True)]

    def _loss(self, batch: Triple) -> Tensor:
        # By Horner's rule, so that a layer costs one product: E⁰ + Â(E⁰ + Â(E⁰ + …)).
        vectors = self._ids
        for _ in range(self.settings.layers):
            vectors = self._ids + self._graph @ vectors
        codes = np.concatenate([batch.user, self._train.n_users + batch.positive, self._train.n_users + batch.negative])
        rows = torch.from_numpy(codes)
        users, positive, negative = (functional.embedding(rows, vectors) / (self.settings.layers + 1)).chunk(3)
        norms = functional.embedding(rows, self._ids).square().sum() / len(batch.user)
        likelihood = functional.logsigmoid((users * (positive - negative)).sum(dim=1)) * torch.from_numpy(batch.weight)
        return (self.settings.l2 * norms - likelihood.mean()) * batch.part

    def _freeze(self) -> None:
        layers, users = [self._ids.detach()], self._train.n_users
        for _ in range(self.settings.layers):
            layers.append(self._graph @ layers[-1])
        self._layers = [layer[users:].numpy() for layer in layers]
        self.item_vectors = (sum(self._layers[1:], self._layers[0]) / len(layers)).astype(np.float32)
        pooled = self._fold.pooled(self._train, self._layers[0])
        self._map = self._fold.learn(pooled, self._ids[:users].detach().numpy())
