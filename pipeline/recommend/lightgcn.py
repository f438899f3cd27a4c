"""LightGCN (He et al. 2020): ids spread along the graph of who chose what, the layers' mean, pairwise ranking.

    Â   = D^-½ A D^-½,  A the symmetric graph of users and items
    E   = (E⁰ + Â E⁰ + … + Â^L E⁰) / (L + 1)
    loss  mean over triples of -ln σ(e_u·e_i - e_u·e_j) + λ (|e⁰_u|² + |e⁰_i|² + |e⁰_j|²)

One step propagates once, forward and back, for a whole batch: batches are large. A user's vector is made anew from the
given history: layers above the first are its items' layers below, spread along the edges of that history, and E⁰ is
folded in from the first of them (`fold`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding, logsigmoid

from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content
from pipeline.recommend.fold_in import Fold
from pipeline.recommend.models.lightgcn import LightGcnKind, LightGcnSettings
from pipeline.recommend.propagation import Graph, pairs, symmetric
from pipeline.recommend.trained import Trained
from pipeline.recommend.user_sides import AdditiveUsers, additive_alone
from pipeline.training.checkpoint import Generators
from pipeline.training.negatives import Triple, Triples

INITIAL = 0.1


class LightGCN(LightGcnKind, Trained[Triple]):
    """Ids alone; an item nobody has chosen yet is what it was drawn as, which no user is near."""

    def __init__(self, settings: LightGcnSettings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)
        self.settings = settings

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32 propagated from the given history; a zero row for a user without any."""
        first = self._fold.pooled(history, self._layers[0])
        above = [self._fold.pooled(history, layer) for layer in self._layers[1:-1]]
        users = (first @ self._map + sum(above, first)) / len(self._layers)
        return np.asarray(users, np.float32)

    def additive_users(self) -> AdditiveUsers:
        """See Recommender."""
        return additive_alone(self)

    def learned_users(self) -> Floats:
        """(n_users, width) float32: the users as training left them, which `user_vectors` is an estimate of."""
        ids = self._ids[: self._train.n_users].detach().numpy()
        above = [self._fold.pooled(self._train, layer) for layer in self._layers[:-1]]
        return np.asarray(sum(above, ids) / len(self._layers), np.float32)

    def _prepare(self, content: Content, train: Interactions) -> None:
        generator, settings = torch.Generator().manual_seed(self.seed), self.settings
        chosen = pairs(train)
        self._train, self._fold = train, Fold(train)
        self._graph = Graph(symmetric(sp.csr_matrix(sp.bmat([[None, chosen], [chosen.T, None]]))))
        self._triples = Triples(
            train, settings.batch_rows, settings.popularity_power, self.seed, imbalance=settings.imbalance
        )
        self._triples.processes = self.processes
        rows = train.n_users + train.n_items
        self._ids = (torch.randn(rows, self.settings.width, generator=generator) * INITIAL).requires_grad_()
        self._optimizers = [torch.optim.Adam([self._ids], lr=self.settings.learning_rate, fused=True)]

    def _weights(self) -> dict[str, Tensor]:
        return {"ids": self._ids}

    def _tables(self) -> dict[str, tuple[str, ...]]:
        return {"ids": ("users", "items")}

    def _generators(self) -> Generators:
        return [self._triples.generator]

    def _batches(self) -> Iterator[Triple]:
        return self._triples.epoch()

    def _loss(self, batch: Triple) -> Tensor:
        # By Horner's rule, so that a layer costs one product: E⁰ + Â(E⁰ + Â(E⁰ + …)).
        vectors = self._ids
        for _ in range(self.settings.layers):
            vectors = self._ids + self._graph @ vectors
        codes = np.concatenate([batch.user, self._train.n_users + batch.positive, self._train.n_users + batch.negative])
        rows = torch.from_numpy(codes)
        users, positive, negative = (embedding(rows, vectors) / (self.settings.layers + 1)).chunk(3)
        norms = embedding(rows, self._ids).square().sum() / len(batch.user)
        likelihood = logsigmoid((users * (positive - negative)).sum(dim=1)) * torch.from_numpy(batch.weight)
        return (self.settings.l2 * norms - likelihood.mean()) * batch.part

    @torch.no_grad()
    def _freeze(self) -> None:
        layers, users = [self._ids.detach()], self._train.n_users
        for _ in range(self.settings.layers):
            layers.append(self._graph @ layers[-1])
        self._layers = [layer[users:].numpy() for layer in layers]
        self._items = (sum(self._layers[1:], self._layers[0]) / len(layers)).astype(np.float32)
        pooled = self._fold.pooled(self._train, self._layers[0])
        self._map = self._fold.learn(pooled, self._ids[:users].detach().numpy())
