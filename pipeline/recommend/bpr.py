"""Matrix factorisation by pairwise ranking: BPR (Rendle et al. 2009) and, with content, VBPR (He and McAuley 2016).

    bpr    x_ui = u·e_i + b_i
    vbpr   x_ui = u·e_i + t_u·(W f_i) + β·f_i + b_i
    loss   over triples (u, i, j), j not chosen by u: -ln σ(x_ui - x_uj) + λ (|u|² + |e_i|² + |e_j|² + …)

f: all modalities beside each other, each centred and of unit norm. An item nobody has chosen yet goes without e and b,
so that vbpr ranks it by its content and bpr puts it where nothing is known. bpr learns one triple after another, see
`descent`; vbpr, where every triple moves what reads content, learns from the mean over a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, logsigmoid

from pipeline.config.training import Schedule
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content
from pipeline.recommend.content_features import known, modalities
from pipeline.recommend.descent import descend
from pipeline.recommend.fold_in import Fold
from pipeline.recommend.item_sides import save_parts
from pipeline.recommend.models.bpr import BprKind, PairwiseSettings
from pipeline.recommend.models.vbpr import VbprKind, VbprSettings
from pipeline.recommend.trained import Trained
from pipeline.recommend.user_sides import AdditiveUsers, additive_alone
from pipeline.training.checkpoint import Generators
from pipeline.training.distributed import Processes
from pipeline.training.negatives import Triple, Triples

INITIAL = 0.01


class Factors(Trained[Triple]):
    """Users and items as they were learned; the vectors of items end with their bias, and those of users with 1."""

    def __init__(self, settings: PairwiseSettings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)
        self.settings = settings

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, d + 1) float32: the fold of the given history, see `fold`, and 1.

        A user without history has zeros but for the 1, which asks for what suits everyone.
        """
        folded = self._fold.pooled(history, self._items[:, :-1]) @ self._map
        return np.concatenate([folded, np.ones((history.n_users, 1), np.float32)], axis=1)

    def additive_users(self) -> AdditiveUsers:
        """See Recommender."""
        return additive_alone(self)

    @torch.no_grad()
    def learned_users(self) -> Floats:
        """(n_users, d + 1) float32: the users as training left them, which `user_vectors` is an estimate of."""
        users = self._users(torch.arange(self._train.n_users)).numpy()
        return np.concatenate([users, np.ones((len(users), 1), np.float32)], axis=1)

    def _prepare(self, content: Content, train: Interactions) -> None:
        generator, settings = torch.Generator().manual_seed(self.seed), self.settings
        self._train, self._fold = train, Fold(train)
        self._known = torch.from_numpy(known(train.item, train.n_items).astype(np.float32))[:, None]
        self._triples = Triples(
            train, settings.batch_rows, settings.popularity_power, self.seed, imbalance=settings.imbalance
        )
        users, items = (
            torch.randn(rows, self.settings.width, generator=generator) * INITIAL
            for rows in (train.n_users, train.n_items)
        )
        self._ids = {"users": users, "items": items, "item_bias": torch.zeros(train.n_items, 1)}
        self._maps = self._content_maps(content, train.n_users, generator)
        self._optimizers = []
        for weight in self._weights().values():
            weight.requires_grad_()

    def _content_maps(self, content: Content, users: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Adds to the id tables, and returns the dense weights of content; none here."""
        return {}

    def _weights(self) -> dict[str, Tensor]:
        return self._ids | self._maps

    def _tables(self) -> dict[str, tuple[str, ...]]:
        return {"users": ("users",), "content_users": ("users",), "items": ("items",), "item_bias": ("items",)}

    def _generators(self) -> Generators:
        return [self._triples.generator]

    def _batches(self) -> Iterator[Triple]:
        return self._triples.epoch()

    def _loss(self, batch: Triple) -> Tensor:
        codes = torch.from_numpy(np.concatenate([batch.positive, batch.negative]))
        users = self._users(torch.from_numpy(batch.user))
        positive, negative = self._item_rows(codes).chunk(2)
        difference = positive - negative
        score = (users * difference[:, :-1]).sum(dim=1) + difference[:, -1]
        norms = users.square().sum() + positive.square().sum() + negative.square().sum()
        likelihood = (logsigmoid(score) * torch.from_numpy(batch.weight)).mean()
        return (self.settings.l2 * norms / len(batch.user) - likelihood) * batch.part

    def _users(self, codes: Tensor) -> Tensor:
        return embedding(codes, self._ids["users"], sparse=True)

    def _item_rows(self, codes: Tensor) -> Tensor:
        """Vectors of some items with their biases: [n x d + 1]."""
        parts = [embedding(codes, self._ids[name], sparse=True) for name in ("items", "item_bias")]
        return torch.cat(parts, dim=1) * self._known[codes]

    @torch.no_grad()
    def _freeze(self) -> None:
        self._items = self._item_rows(torch.arange(len(self._known))).numpy()
        pooled = self._fold.pooled(self._train, self._items[:, :-1])
        self._map = self._fold.learn(pooled, self.learned_users()[:, :-1])


class BPR(BprKind, Factors):
    """Ids alone; of several processes each learns from all triples, since every step goes on from the one before."""

    def _learn(self, batch: Triple, schedule: Schedule, processes: Processes) -> float:
        """Loss without the squared norms."""
        users, items, biases = (self._ids[name].detach().numpy() for name in ("users", "items", "item_bias"))
        rate, l2 = np.float32(self.settings.learning_rate), np.float32(self.settings.l2)
        codes = batch.user, batch.positive, batch.negative
        return descend((users, items, biases), self._known.numpy(), codes, batch.weight, rate, l2)


class VBPR(VbprKind, Factors):
    """Ids and content: items that nobody has chosen yet are ranked by what they are."""

    settings: VbprSettings

    def __init__(self, settings: VbprSettings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)

    def _prepare(self, content: Content, train: Interactions) -> None:
        super()._prepare(content, train)
        self._triples.processes = self.processes
        rate = self.settings.learning_rate
        # A step touches a batch's rows of the tables alone: sparse gradients spare the rest of the catalogue.
        self._optimizers = [
            torch.optim.SparseAdam(list(self._ids.values()), lr=rate),
            torch.optim.Adam(list(self._maps.values()), lr=rate, fused=True),
        ]

    def _content_maps(self, content: Content, users: int, generator: torch.Generator) -> dict[str, Tensor]:
        by_modality = modalities(content)
        self._features = torch.from_numpy(np.concatenate([vectors for vectors, _ in by_modality.values()], axis=1))
        self._widths = {name: vectors.shape[1] for name, (vectors, _) in by_modality.items()}
        inputs, width = self._features.shape[1], self.settings.content_width
        self._ids["content_users"] = torch.randn(users, width, generator=generator) * INITIAL
        projection = torch.randn(inputs, width, generator=generator) * inputs**-0.5
        return {"projection": projection, "content_bias": torch.zeros(inputs, 1)}

    def _users(self, codes: Tensor) -> Tensor:
        return torch.cat([super()._users(codes), embedding(codes, self._ids["content_users"], sparse=True)], dim=1)

    def _item_rows(self, codes: Tensor) -> Tensor:
        ids, features = super()._item_rows(codes), self._features[codes]
        bias = ids[:, -1:] + features @ self._maps["content_bias"]
        return torch.cat([ids[:, :-1], features @ self._maps["projection"], bias], dim=1)

    @torch.no_grad()
    def save(self, folder: Path) -> None:
        """Writes the weights, and what every item's vector is the sum of, see `item_side`."""
        super().save(folder)
        ids = super()._item_rows(torch.arange(len(self._known)))
        own = torch.cat([ids[:, :-1], torch.zeros(len(ids), self.settings.content_width), ids[:, -1:]], dim=1)
        read = torch.cat([self._maps["projection"], self._maps["content_bias"]], dim=1)
        blocks = (matrix.split(list(self._widths.values()), dim=at) for matrix, at in ((self._features, 1), (read, 0)))
        parts = {name: f @ w for name, f, w in zip(self._widths, *blocks, strict=True)}
        save_parts(folder, own.numpy(), {name: part.numpy() for name, part in parts.items()})
