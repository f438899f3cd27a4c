"""Two towers: items from content and identity, users from what they chose; trained by sampled softmax.

- item: a linear map of the fused vector plus an id embedding, which an item that nobody has chosen yet goes without;
- user: attention over the latest items, several heads of different memory (`two_tower_network.UserTower`), and over
  the user's profile, read as an item that has content and no id; a share of the moments of users with a
  profile is predicted from the profile alone, so that it serves who has chosen nothing yet;
- batch: users stopped at random moments of their past, to predict what they chose next; what shares a moment is
  shuffled anew each epoch, since its order is not known;
- loss: softmax over the next items against negatives drawn half by popularity, half uniformly, each score corrected
  by the log of how often its item is drawn (Bengio and Senécal 2008; Yi et al. 2019), plus `content_loss` times the
  same with every item's id left out, so that content alone learns to rank new items among themselves;
- stop: the epoch of the best NDCG@10 on the validation part, full ranking.

A new item has little but its likeness to go by, so its score also counts `new_item_cosine` times the cosine of its
fused vector with the user's, less a margin that keeps a typical user's list free of a flood of new items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import embedding, softplus

from pipeline.interactions import Floats, Interactions, decayed_mean
from pipeline.recommend.base import Content
from pipeline.recommend.item_sides import FILE
from pipeline.recommend.models.two_tower import TwoTowerKind, TwoTowerSettings
from pipeline.recommend.trained import Trained
from pipeline.recommend.two_tower_batches import BLOCK_ROWS, Batch, Batches
from pipeline.recommend.two_tower_network import Profile, Towers
from pipeline.training.checkpoint import Generators
from pipeline.training.softmax import HIDDEN, log_sum_exp
from pipeline.training.torch_runtime import device, reproducible
from pipeline.training.windows import windows

BLOCK_USERS = 1024
MARGIN_USERS = 1000
MARGIN_RANK = 5
POOL_ITEMS = 50
HIDDEN_HISTORY = 0.2  # of the moments of users with a profile, this share is predicted from the profile alone


class TwoTower(TwoTowerKind, Trained[Batch]):
    """The trained recommender; the same bytes for the same seed, threads, device and input."""

    def __init__(self, settings: TwoTowerSettings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)
        self.settings = settings
        self.device = device()
        self.block_rows = BLOCK_ROWS

    @property
    def item_vectors(self) -> Floats:
        """(n_items, width + 1 + fused width) float32: tower, bias, and the fused vector scaled for new items."""
        return self._items

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width + 1 + fused width) float32: tower, 1, and the user's fused vector, see `fusion.user_pooling`.

        A user without history or profile has zeros but for the 1, which asks for what suits everyone.
        """
        with reproducible(self.threads):
            blocks = [self._read(history, start) for start in range(0, history.n_users, BLOCK_USERS)]
        ones = np.ones((history.n_users, 1), np.float32)
        content = self._pooling.users(self._content.cpu().numpy(), history)
        return np.concatenate([np.concatenate(blocks), ones, content], axis=1)

    def save(self, folder: Path) -> None:
        """Writes the towers' weights, and which items were known or new and at what margin, as `model.safetensors`."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self._weights().items()}
        items = {"known": self._known.cpu(), "new": self._new.float().cpu()}
        scales = {"margin": torch.tensor(self._margin), "new_item_cosine": torch.tensor(self.settings.new_item_cosine)}
        save_file(tensors | items | scales, folder / FILE)

    def _prepare(self, content: Content, train: Interactions) -> None:
        self._pooling = content.pooling
        generator = torch.Generator().manual_seed(self.seed)
        pool = self.before.hard(train, POOL_ITEMS) if self.before and self.settings.hard_negatives else None
        self._batcher = Batches(train, self.settings, self.seed, pool, self.processes, self.block_rows)
        self._content = torch.from_numpy(np.ascontiguousarray(content.vectors, np.float32)).to(self.device)
        self._present = torch.from_numpy(content.present.astype(np.float32)).to(self.device)
        self._profiles = self._pooled_profiles()
        self._known = torch.from_numpy(self._batcher.known.astype(np.float32)).to(self.device)
        self._towers = Towers(content.vectors.shape, self.settings, generator, self._profiles is not None).to(
            self.device
        )
        self._random = generator
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        tables = [self._towers.item.ids, self._towers.item.id_bias]
        rest = [weight for name, weight in self._weights().items() if name not in self._tables()]
        # A step touches a batch's rows of the tables alone: sparse gradients spare the rest of the catalogue.
        self._optimizers = [
            torch.optim.SparseAdam(tables, lr=rate),
            torch.optim.AdamW(rest, lr=rate, weight_decay=decay, fused=True),
        ]

    def _weights(self) -> dict[str, Tensor]:
        return dict(self._towers.named_parameters())

    def _tables(self) -> dict[str, tuple[str, ...]]:
        return {"item.ids": ("items",), "item.id_bias": ("items",)}

    def _generators(self) -> Generators:
        return [self._batcher.generator, self._random]

    def _batches(self) -> Iterator[Batch]:
        self._towers.train()
        return self._batcher.epoch()

    def _loss(self, batch: Batch) -> Tensor:
        batch = batch.to(self.device)
        codes = batch.codes
        content, present, known = self._content[codes], self._present[codes], self._known[codes]
        by_content, items = self._towers.item(codes, content, present, known)
        users = self._users(batch, items[:, :-1])
        loss = sampled_softmax(users, items, batch)
        if self.settings.content_loss == 0:
            return loss
        describable = replace(batch, share=batch.share * present[batch.target])
        return loss + self.settings.content_loss * sampled_softmax(users, by_content, describable)

    def _users(self, batch: Batch, items: Tensor) -> Tensor:
        """The user tower's vectors [b x d]; of users with a profile, some are read from it alone."""
        profile = self._profile(batch.user)
        if profile is None:
            return self._towers.user(items, batch.window)
        drawn = torch.rand(len(batch.user), generator=self._random).to(self.device)
        hidden = (drawn < HIDDEN_HISTORY) & profile.present
        return self._towers.user(items, replace(batch.window, present=batch.window.present & ~hidden[:, None]), profile)

    def _pooled_profiles(self) -> Tensor | None:
        """Fused vectors of profiles, (n_users, fused width), zero where missing; None where profiles do not count."""
        profiles = self._pooling.profiles
        if profiles is None or self._pooling.profile_weight == 0:
            return None
        return torch.from_numpy(profiles).to(self.device)

    def _profile(self, users: Tensor) -> Profile | None:
        if self._profiles is None:
            return None
        fused = self._profiles[users]
        return Profile(self._towers.item.content(fused), fused.any(dim=1))

    @torch.no_grad()
    def _freeze(self) -> None:
        self._towers.eval()
        codes = torch.arange(len(self._known), device=self.device)
        _, items = self._towers.item(codes, self._content, self._present, self._known)
        self._vectors, biases = items[:, :-1], items[:, -1]
        self._new = (self._known == 0) & (self._present > 0)
        self._margin = self._margin_of(self._new.cpu().numpy())
        scale = self.settings.new_item_cosine * self._new[:, None].float()
        biases = biases - scale[:, 0] * self._margin
        self._items = torch.cat([self._vectors, biases[:, None], scale * self._content], dim=1).cpu().numpy()

    def _margin_of(self, new: np.ndarray) -> float:
        """The cosine that a typical user's MARGIN_RANK-th nearest new item has."""
        content = self._content.cpu().numpy()
        log = self._batcher.read(0)
        users = decayed_mean(content, log, self._pooling.half_life_days)
        users = users[users.any(axis=1)][:MARGIN_USERS]
        if not len(users) or not new.any():
            return 0.0
        cosines = users @ content[new].T
        rank = min(MARGIN_RANK, cosines.shape[1])
        return float(np.partition(cosines, -rank, axis=1)[:, -rank].mean())

    @torch.no_grad()
    def _read(self, history: Interactions, start: int) -> Floats:
        users = np.arange(start, min(start + BLOCK_USERS, history.n_users))
        ends = history.offsets()[users + 1]
        longest = max(int((ends - history.offsets()[users]).max()), 1)
        window = windows(history, users, ends, min(self.settings.history_items, longest)).to(self.device)
        codes, places = torch.unique(window.item, return_inverse=True)
        profile = self._profile(torch.from_numpy(users))
        vectors = self._towers.user(self._vectors[codes], replace(window, item=places), profile)
        known = window.present.any(dim=1)
        known = known if profile is None else known | profile.present
        return np.asarray((vectors * known[:, None]).cpu().numpy(), np.float32)


def sampled_softmax(users: Tensor, items: Tensor, batch: Batch) -> Tensor:
    """Mean over the batch of -log p(target | user), p estimated from the batch's negatives.

    p = exp(s) / (exp(s) + sum over negatives n of exp(s_n - log E[times n is drawn])); what the user has chosen is
    no negative, and a hard negative, of which no law is known, counts once. users: [b x d]. items: [n x d + 1], the
    vectors of the batch's items and their biases.
    """
    users = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
    negative = embedding(batch.negative, items)
    negative = torch.cat([negative[:, :-1], negative[:, -1:] - batch.log_expected[:, None]], dim=1)
    target, hard = ((embedding(some, items) * users[:, None]).sum(dim=2) for some in (batch.target, batch.hard))
    others = log_sum_exp(users, negative, *batch.chosen)[:, None]
    others = torch.cat([others, hard.masked_fill(batch.not_hard, HIDDEN)], dim=1).logsumexp(dim=1, keepdim=True)
    return (softplus(others - target) * batch.share).sum(dim=1).mean()
