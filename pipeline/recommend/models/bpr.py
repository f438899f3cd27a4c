"""bpr, and what vbpr shares: matrix factorisation by pairwise ranking.

BPR (Rendle et al. 2009) and, with content, VBPR (He and McAuley 2016):

    bpr    x_ui = u·e_i + b_i
    vbpr   x_ui = u·e_i + t_u·(W f_i) + β·f_i + b_i
    loss   over triples (u, i, j), j not chosen by u: -ln σ(x_ui - x_uj) + λ (|u|² + |e_i|² + |e_j|² + …)

f: all modalities beside each other, each centred and of unit norm. An item nobody has chosen yet goes without e and b,
so that vbpr ranks it by its content and bpr puts it where nothing is known. bpr learns one triple after another, see
`descent`; vbpr, where every triple moves what reads content, learns from the mean over a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainedSettings
from pipeline.config.training import Imbalance, Schedule
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Space
from pipeline.recommend.content_features import degrees, scaled
from pipeline.recommend.trained import Tables, Trained
from pipeline.recommend.user_sides import AdditiveUsers, additive_alone
from pipeline.training.distributed import Processes
from pipeline.training.negatives import Triple, Triples

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

else:
    torch, functional = Lazy("torch"), Lazy("torch.nn.functional")

INITIAL = 0.01
RIDGE = 1e-3


class PairwiseSettings(TrainedSettings):
    """What bpr, vbpr and lightgcn share; vbpr and lightgcn learn a batch at a time."""

    width: int = Field(64, ge=1, description="dimensions of a user's and an item's own vector")
    batch_rows: int = Field(8192, ge=1, description="triples of a user, a chosen item and another one in a batch")
    popularity_power: float = Field(
        0.5, ge=0, le=2, description="negatives are drawn by popularity to this power; 0 draws all items alike"
    )
    learning_rate: float = Field(1e-2, gt=0)
    l2: float = Field(3e-2, ge=0, description="weight of the squared norms of a triple's own vectors")
    imbalance: Imbalance = Imbalance()


class BprSettings(PairwiseSettings):
    """Its own defaults, as it learns one triple after another."""

    model: Literal["bpr"] = "bpr"
    learning_rate: float = Field(5e-2, gt=0)
    l2: float = Field(2e-3, ge=0, description="weight of the squared norms of a triple's own vectors")


PAIRWISE_SPACE: Space = {
    "learning_rate": {"low": 1e-3, "high": 5e-2, "log": True},
    "l2": {"low": 1e-4, "high": 0.3, "log": True},
    "width": [32, 64, 128],
    "popularity_power": {"low": 0, "high": 1},
}


class Fold:
    """Users of models with user ids as a function of any history: the learned map from what was chosen to who did.

        p_u = sum over the history's items i of v_i / sqrt(|history of u| · |users of i|)        pooled
        u   = p_u M,    M = argmin sum over training users |p_u M - u|² + λ |M|²                 ridge, closed form

    The published user is that function of the given history, which may be longer than the one learned from, or a
    newcomer's. Where histories are short it even ranks better than the learned vectors do: those fit the few choices
    that they were made of, and M has all users to learn from.
    """

    def __init__(self, train: Interactions) -> None:
        self.item_degrees = degrees(train.pairs(), 0)

    def pooled(self, history: Interactions, items: Floats) -> Floats:
        """(n_users, d) float32, a zero row for a user without history. items: (n_items, d)."""
        matrix = history.pairs()
        return np.asarray(scaled(matrix, degrees(matrix, 1), self.item_degrees) @ items, np.float32)

    def learn(self, pooled: Floats, users: Floats) -> Floats:
        """M, (d, d') float32. pooled: (n_users, d), zero rows are left out. users: (n_users, d') learned vectors."""
        rows = pooled.any(axis=1)
        p, u = pooled[rows].astype(np.float64), users[rows].astype(np.float64)
        gram = p.T @ p
        gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram) + 1e-12
        return np.linalg.solve(gram, p.T @ u).astype(np.float32)


class Pairwise(Trained[Triple]):
    """What bpr, vbpr and lightgcn share: triples to learn from, and users folded in from any history."""

    settings: PairwiseSettings
    sums = "items"

    def _prepare(self, content: Content, train: Interactions) -> None:
        settings = self.settings
        self._train, self._fold, self._random = train, Fold(train), torch.Generator().manual_seed(self.seed)
        self._triples = Triples(
            train, settings.batch_rows, settings.popularity_power, self.seed, imbalance=settings.imbalance
        )
        if self.shared:
            self._triples.processes = self.processes
        self._generators = [self._triples.generator]

    def additive_users(self) -> AdditiveUsers:
        """See Recommender."""
        return replace(additive_alone(self), root=True)

    def _batches(self) -> Iterator[Triple]:
        return self._triples.epoch()


class Factors(Pairwise):
    """Users and items as they were learned; the vectors of items end with their bias, and those of users with 1."""

    tables: ClassVar[Tables] = {
        "users": ("users",),
        "content_users": ("users",),
        "items": ("items",),
        "item_bias": ("items",),
    }

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, d + 1) float32: the fold of the given history, see `fold`, and 1.

        A user without history has zeros but for the 1, which asks for what suits everyone.
        """
        folded = self._fold.pooled(history, self.item_vectors[:, :-1]) @ self._map
        return np.concatenate([folded, np.ones((history.n_users, 1), np.float32)], axis=1)

    def learned_users(self) -> Floats:
        """(n_users, d + 1) float32: the users as training left them, which `user_vectors` is an estimate of."""
        users = self._users(torch.arange(self._train.n_users)).detach().numpy()
        return np.concatenate([users, np.ones((len(users), 1), np.float32)], axis=1)

    def _prepare(self, content: Content, train: Interactions) -> None:
        super()._prepare(content, train)
        self._known = torch.from_numpy((train.item_counts() > 0).astype(np.float32))[:, None]
        users, items = (
            torch.randn(rows, self.settings.width, generator=self._random) * INITIAL
            for rows in (train.n_users, train.n_items)
        )
        self._ids = {"users": users, "items": items, "item_bias": torch.zeros(train.n_items, 1)}
        self._maps = self._content_maps(content, train.n_users, self._random)
        self._optimizers = []
        self._weights = self._ids | self._maps
        for weight in self._weights.values():
            weight.requires_grad_()

    def _content_maps(self, content: Content, users: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Adds to the id tables, and returns the dense weights of content; none here."""
        return {}

    def _loss(self, batch: Triple) -> Tensor:
        codes = torch.from_numpy(np.concatenate([batch.positive, batch.negative]))
        users = self._users(torch.from_numpy(batch.user))
        positive, negative = self._item_rows(codes).chunk(2)
        difference = positive - negative
        score = (users * difference[:, :-1]).sum(dim=1) + difference[:, -1]
        norms = users.square().sum() + positive.square().sum() + negative.square().sum()
        likelihood = (functional.logsigmoid(score) * torch.from_numpy(batch.weight)).mean()
        return (self.settings.l2 * norms / len(batch.user) - likelihood) * batch.part

    def _users(self, codes: Tensor) -> Tensor:
        return functional.embedding(codes, self._ids["users"], sparse=True)

    def _item_rows(self, codes: Tensor) -> Tensor:
        """Vectors of some items with their biases: [n x d + 1]."""
        parts = [functional.embedding(codes, self._ids[name], sparse=True) for name in ("items", "item_bias")]
        return torch.cat(parts, dim=1) * self._known[codes]

    def _freeze(self) -> None:
        self.item_vectors = self._item_rows(torch.arange(len(self._known))).numpy()
        pooled = self._fold.pooled(self._train, self.item_vectors[:, :-1])
        self._map = self._fold.learn(pooled, self.learned_users()[:, :-1])


class BPR(Factors):
    """Ids alone; of several processes each learns from all triples, since every step goes on from the one before."""

    Settings = BprSettings
    title = "BPR"
    purpose = "choices alone, by the classic of ranking; for comparison and for blends"
    search_space: ClassVar[Space] = {
        **PAIRWISE_SPACE,
        "learning_rate": {"low": 1e-2, "high": 0.2, "log": True},
        "l2": {"low": 1e-4, "high": 5e-2, "log": True},
    }

    def _learn(self, batch: Triple, schedule: Schedule, processes: Processes) -> float:
        """Loss without the squared norms."""
        from pipeline.recommend.descent import descend

        users, items, biases = (self._ids[name].detach().numpy() for name in ("users", "items", "item_bias"))
        rate, l2 = np.float32(self.settings.learning_rate), np.float32(self.settings.l2)
        codes = batch.user, batch.positive, batch.negative
        return descend((users, items, biases), self._known.numpy(), codes, batch.weight, rate, l2)
