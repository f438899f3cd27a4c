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
- stop: the epoch that the gate's metric on the validation part finds best, full ranking.

A new item has little but its likeness to go by, so its score also counts `new_item_cosine` times the cosine of its
fused vector with the user's, less a margin that keeps a typical user's list free of a flood of new items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.base import ADVANCED
from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainedSettings, TrainSettings
from pipeline.config.training import Averaging, Dropout, Epochs, EvaluateEvery, Imbalance, Patience
from pipeline.interactions import Floats, Interactions, decayed_mean
from pipeline.recommend.base import Content, Space
from pipeline.recommend.item_sides import TowerItems
from pipeline.recommend.sides import ItemSide
from pipeline.recommend.trained import Tables, Trained
from pipeline.recommend.user_networks import UserNetwork
from pipeline.recommend.user_sides import pooled_users

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.recommend import two_tower_batches, two_tower_network
    from pipeline.recommend.two_tower_batches import Batch
    from pipeline.training import torch_runtime, windows
else:
    torch, torch_runtime, windows = map(Lazy, ("torch", "pipeline.training.torch_runtime", "pipeline.training.windows"))
    two_tower_batches = Lazy("pipeline.recommend.two_tower_batches")
    two_tower_network = Lazy("pipeline.recommend.two_tower_network")

BLOCK_ROWS = 4_000_000
BLOCK_USERS = 1024
MARGIN_USERS = 1000
MARGIN_RANK = 5
POOL_ITEMS = 50
HIDDEN_HISTORY = 0.2  # of the moments of users with a profile, this share is predicted from the profile alone


class TwoTowerSettings(TrainedSettings):
    """Of the towers, the moments of a batch, and the loss."""

    model: Literal["two_tower"] = "two_tower"
    width: int = Field(128, ge=2, description="dimensions of the towers, without what new items add")
    max_epochs: Epochs = 60
    patience_epochs: Patience = 8
    evaluate_every: EvaluateEvery = 1
    averaging: Averaging = 0.98
    batch_rows: int = Field(128, ge=1)
    moments_per_user: int = Field(8, ge=1, description="moments of a user's past that one epoch predicts from")
    targets: int = Field(5, ge=1, description="next choices that one moment predicts")
    target_fade: float = Field(
        0.7,
        gt=0,
        le=1,
        description="what each next choice counts, relative to the one before",
        json_schema_extra=ADVANCED,
    )
    negatives: int = Field(1024, ge=1, description="sampled items that every target of a batch is ranked against")
    in_batch_negatives: bool = Field(False, description="rank a target against the batch's other targets too")
    hard_negatives: int = Field(
        0, ge=0, description="and against so many items that last night's model would have recommended the user"
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    dropout: Dropout = 0.3
    heads: int = Field(4, ge=1, description="ways of reading a history, from the last few choices to all of it")
    history_items: int = Field(50, ge=1, description="latest interactions the user tower reads")
    content_loss: float = Field(
        0.3, ge=0, description="weight of the loss with every id left out, which new items need"
    )
    new_item_cosine: float = Field(
        12.0, ge=0, description="weight of likeness to the user's choices, for new items", json_schema_extra=ADVANCED
    )
    imbalance: Imbalance = Imbalance()


class TwoTower(Trained["Batch"]):
    """The trained recommender; the same bytes for the same seed, threads, device and input.

    Item vectors are (n_items, width + 1 + fused width): tower, bias, and the fused vector scaled for new items.
    """

    Settings = TwoTowerSettings
    title = "two-tower"
    purpose = "content and choices together, new items among the old ones"
    inductive = True
    reads = frozenset({"fused"})
    shared = True
    remade = True
    version = 2
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
        "dropout": {"low": 0, "high": 0.6},
        "target_fade": {"low": 0.4, "high": 1},
        "content_loss": {"low": 0.03, "high": 1, "log": True},
    }
    cost = (2000.0, 500.0)
    settings: TwoTowerSettings
    tables: ClassVar[Tables] = {"item.ids": ("items",), "item.id_bias": ("items",)}
    device: torch.device
    block_rows = BLOCK_ROWS

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width + 1 + fused width) float32: tower, 1, and the user's fused vector, see `fusion.user_pooling`.

        A user without history or profile has zeros but for the 1, which asks for what suits everyone.
        """
        with torch_runtime.reproducible(self.threads), torch.no_grad():
            blocks = [self._read(history, start) for start in range(0, history.n_users, BLOCK_USERS)]
        ones = np.ones((history.n_users, 1), np.float32)
        content = self._pooling.users(self._content.cpu().numpy(), history)
        return np.concatenate([np.concatenate(blocks), ones, content], axis=1)

    def user_network(self) -> UserNetwork:
        """See Recommender: the user tower, and beside it what pools the fused part."""
        content = self._content.cpu().numpy()
        return UserNetwork(
            two_tower_network.ReadUser(self._towers),
            ("items", "present", "newer", "gap_days"),
            self._vectors.cpu().numpy(),
            self.settings.history_items,
            profile_width=0 if self._profiles is None else content.shape[1],
            beside=pooled_users(content, self._pooling),
        )

    @classmethod
    def reads_earlier(cls, settings: TrainSettings, settled: Collection[str]) -> bool:
        """For negatives that are hard too."""
        hard = isinstance(settings, TwoTowerSettings) and settings.hard_negatives > 0
        return hard or super().reads_earlier(settings, settled)

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Model."""
        return TowerItems(folder)

    def _saved(self) -> dict[str, Tensor]:
        """The towers' weights, and which items were known or new and at what margin."""
        items = {"known": self._known, "new": self._new.float()}
        scales = {"margin": torch.tensor(self._margin), "new_item_cosine": torch.tensor(self.settings.new_item_cosine)}
        return self._weights | items | scales

    def _prepare(self, content: Content, train: Interactions) -> None:
        self.device = torch_runtime.device()
        self._pooling = content.pooling
        generator = torch.Generator().manual_seed(self.seed)
        pool = self.before.hard(train, POOL_ITEMS) if self.before and self.settings.hard_negatives else None
        self._batcher = two_tower_batches.Batches(
            train, self.settings, self.seed, pool, self.processes, self.block_rows
        )
        self._content = torch.from_numpy(np.ascontiguousarray(content.vectors, np.float32)).to(self.device)
        self._present = torch.from_numpy(content.present.astype(np.float32)).to(self.device)
        self._profiles = self._pooled_profiles()
        self._known = torch.from_numpy(self._batcher.known.astype(np.float32)).to(self.device)
        self._towers = two_tower_network.Towers(
            content.vectors.shape, self.settings, generator, self._profiles is not None
        ).to(self.device)
        self._random = generator
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        tables = [self._towers.item.ids, self._towers.item.id_bias]
        self._weights = dict(self._towers.named_parameters())
        rest = [weight for name, weight in self._weights.items() if name not in self.tables]
        # A step touches a batch's rows of the tables alone: sparse gradients spare the rest of the catalogue.
        self._optimizers = [
            torch.optim.SparseAdam(tables, lr=rate),
            torch.optim.AdamW(rest, lr=rate, weight_decay=decay, fused=True),
        ]
        self._generators = [self._batcher.generator, self._random]

    def _batches(self) -> Iterator[Batch]:
        self._towers.train()
        return self._batcher.epoch()

    def _loss(self, batch: Batch) -> Tensor:
        batch = batch.to(self.device)
        codes = batch.codes
        content, present, known = self._content[codes], self._present[codes], self._known[codes]
        by_content, items = self._towers.item(codes, content, present, known)
        users = self._users(batch, items[:, :-1])
        loss = two_tower_batches.sampled_softmax(users, items, batch)
        if self.settings.content_loss == 0:
            return loss
        describable = replace(batch, share=batch.share * present[batch.target])
        return loss + self.settings.content_loss * two_tower_batches.sampled_softmax(users, by_content, describable)

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

    def _profile(self, users: Tensor) -> two_tower_network.Profile | None:
        if self._profiles is None:
            return None
        return two_tower_network.Profile.of(self._profiles[users], self._towers.item.content)

    def _freeze(self) -> None:
        self._towers.eval()
        codes = torch.arange(len(self._known), device=self.device)
        _, items = self._towers.item(codes, self._content, self._present, self._known)
        self._vectors, biases = items[:, :-1], items[:, -1]
        self._new = (self._known == 0) & (self._present > 0)
        self._margin = self._margin_of(self._new.cpu().numpy())
        scale = self.settings.new_item_cosine * self._new[:, None].float()
        biases = biases - scale[:, 0] * self._margin
        self.item_vectors = torch.cat([self._vectors, biases[:, None], scale * self._content], dim=1).cpu().numpy()

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

    def _read(self, history: Interactions, start: int) -> Floats:
        users = np.arange(start, min(start + BLOCK_USERS, history.n_users))
        ends = history.offsets()[users + 1]
        longest = max(int((ends - history.offsets()[users]).max()), 1)
        window = windows.windows(history, users, ends, min(self.settings.history_items, longest)).to(self.device)
        codes, places = torch.unique(window.item, return_inverse=True)
        profile = self._profile(torch.from_numpy(users))
        vectors = self._towers.user(self._vectors[codes], replace(window, item=places), profile)
        return np.asarray(vectors.cpu().numpy(), np.float32)
