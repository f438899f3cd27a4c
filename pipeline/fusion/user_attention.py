"""Attention over a history: which of a user's choices tell most of the next one.

The share of choice i, of weight w_i and vector v_i, in a user's vector is a softmax over the history of

    log w_i - φ age_i ln 2 / half life - order · log(1 + newer_i) + latest · cos(v_i, l_i) + rest · cos(v_i, r_i)

with l_i the mean of the latest choices, r_i the decayed mean of the history, both without i itself, and newer_i how
many choices are strictly newer: what a choice tells depends on its age, its place, and how it lies to the others. With
φ = 1 and the others 0 this is the time-decayed mean, where `fit` starts. It learns the four numbers from users of the
training part, stopped at random moments, and what they chose next:

- a seeded share of the users is held out, and judged by ranking at moments that are drawn once;
- each epoch, the others are stopped at new moments. The loss is softmax of one of the next choices, the nearest most
  often, against sampled items, each score corrected by the log of how often its item is drawn (Bengio and Senécal
  2008; Yi et al. 2019);
- the epoch of the best held-out ranking is kept, the start among them: on those users it is never worse than the mean.

Shapes are in brackets: b moments of users, h history, d width, n items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from pipeline.artefacts.read import readable
from pipeline.config.training import Schedule
from pipeline.evaluation.hits import discount
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.training import loop
from pipeline.training.batches import padded_batches
from pipeline.training.context import Context, Learner, Validation
from pipeline.training.negatives import Sampler
from pipeline.training.torch_runtime import reproducible
from pipeline.training.windows import windows

LATEST = 3.0  # newer choices that halve a choice's part in the mean of the latest
BLOCK_ROWS = 65_536
MEASURE = "next_choice"
HELD_OUT_SHARE = 0.5  # four numbers are learned from few users, and many are needed to tell small gains from chance
MAX_USERS = 8192
BATCH_USERS = 128
MOMENTS = 8
TARGET_FADE = 0.7
NEGATIVES = 1024
CANDIDATES = 8192
HISTORY_ITEMS = 128
LEARNING_RATE = 0.05
SCHEDULE = Schedule(max_epochs=40, patience_epochs=10, evaluate_every=1, precision="float32")


@dataclass(frozen=True)
class Past:
    """Histories that end at some moments, newest first, from a log in which every item has a vector.

    item: [b x h] int64. present: [b x h] bool. weight: [b x h] float32 > 0. half_lives: [b x h] float32, older than the
    newest by. newer: [b x h] float32, how many are strictly newer.
    """

    item: Tensor
    present: Tensor
    weight: Tensor
    half_lives: Tensor
    newer: Tensor


class HistoryAttention(nn.Module):
    """The four learned numbers (φ as softplus of `days`), and the half life of the mean which they start from."""

    def __init__(self, half_life_days: float) -> None:
        super().__init__()
        self.half_life_days = half_life_days
        self.days = nn.Parameter(torch.tensor(math.log(math.e - 1)))
        self.order = nn.Parameter(torch.zeros(()))
        self.latest = nn.Parameter(torch.zeros(()))
        self.rest = nn.Parameter(torch.zeros(()))

    def forward(self, vectors: Tensor, past: Past) -> Tensor:
        """vectors: [b x h x d] of unit norm, the past's items. Returns users [b x d] of unit norm, zero without any."""
        weight = torch.log(past.weight)
        logits = weight - softplus(self.days) * math.log(2) * past.half_lives - self.order * torch.log1p(past.newer)
        latest, mean = weight - math.log(2) / LATEST * past.newer, weight - math.log(2) * past.half_lives
        logits = logits + self.latest * self._likeness(vectors, latest, past.present)
        logits = logits + self.rest * self._likeness(vectors, mean, past.present)
        pooled = torch.einsum("bh,bhd->bd", _softmax(logits, past.present), vectors)
        return nn.functional.normalize(pooled, dim=1)

    @staticmethod
    def _likeness(vectors: Tensor, logits: Tensor, present: Tensor) -> Tensor:
        """[b x h]: cosine of each vector with the mean of the others by softmax of `logits`; 0 where it is alone."""
        share = _softmax(logits, present)
        total = torch.einsum("bh,bhd->bd", share, vectors)
        along = torch.einsum("bhd,bd->bh", vectors, total)
        length = (total * total).sum(dim=1, keepdim=True) - 2 * share * along + share**2
        cosine = (along - share) / torch.sqrt(torch.clamp_min(length, 1e-6))
        return torch.where(length > 1e-6, cosine, 0.0)

    def save(self, path: Path) -> None:
        """Writes the terms and the half life as safetensors."""
        tensors = {name: value.detach().clone() for name, value in self.state_dict().items()}
        save_file(tensors | {"half_life_days": torch.tensor(self.half_life_days, dtype=torch.float64)}, path)

    @classmethod
    def load(cls, path: Path) -> HistoryAttention:
        """Reads what `save` wrote. Raises ShardCorrupt if the file is not that."""
        with readable(path, "no attention over histories"):
            tensors = load_file(path)
            attention = cls(float(tensors.pop("half_life_days")))
            attention.load_state_dict(tensors)
            return attention


def _softmax(logits: Tensor, present: Tensor) -> Tensor:
    return torch.softmax(logits.masked_fill(~present, -1e9), dim=1) * present


def past_of(log: Interactions, users: Int64s, ends: Int64s, length: int, half_life_days: float) -> Past:
    """The last `length` interactions before row `ends` of the log, for each of `users`; see `towers.windows`."""
    window = windows(log, users, ends, length)
    rows = np.maximum(ends[:, None] - 1 - np.arange(length), 0)
    weight = torch.where(window.present, torch.from_numpy(log.weight[rows]), 1.0)
    return Past(window.item, window.present, weight, window.gap_days / half_life_days, window.newer)


class AttendedUser(nn.Module):
    """One user as `Pooling` has them, to be exported: by attention, and by their profile where it counts."""

    def __init__(self, attention: HistoryAttention, profile_weight: float) -> None:
        super().__init__()
        self.attention, self.profile_weight = attention, profile_weight

    def forward(
        self,
        items: Tensor,
        present: Tensor,
        newer: Tensor,
        gap_days: Tensor,
        weight: Tensor,
        profile: Tensor | None = None,
    ) -> Tensor:
        """items: [1 x h x d] of unit norm, the rest as in `Past`. profile: [1 x d], zeros without. Returns [1 x d]."""
        place = torch.arange(items.shape[1], device=items.device)[None]
        user = self.attention(items, Past(place, present, weight, gap_days / self.attention.half_life_days, newer))
        if profile is None:
            return user
        both = nn.functional.normalize((1 - self.profile_weight) * user + self.profile_weight * profile, dim=1)
        chosen, told = ((part != 0).any(dim=1, keepdim=True) for part in (user, profile))
        return torch.where(chosen, torch.where(told, both, user), profile)


@torch.no_grad()
def pool(attention: HistoryAttention, items: Floats, history: Interactions) -> Floats:
    """Every user's vector from the whole of the given history: (n_users, d) float32 of unit norm, zero without any.

    items: (n_items, d) float32 of unit norm, a zero row for an item without a vector, which counts for nothing.
    """
    history = history.subset(np.any(items != 0, axis=1)[history.item])
    ends = history.offsets()[1:]
    sizes = np.diff(history.offsets())
    users = np.zeros((history.n_users, items.shape[1]), np.float32)
    vectors = torch.from_numpy(items)
    # One thread, so that the bytes are the same on any number of cores.
    with reproducible(1):
        for block in padded_batches(sizes, BLOCK_ROWS):
            past = past_of(history, block, ends[block], int(sizes[block].max()), attention.half_life_days)
            users[block] = attention(vectors[past.item], past).numpy()
    return users


@dataclass(frozen=True)
class Fitted:
    """The attention, the epoch that was kept (0 is the mean itself), and the held-out measure of the mean and of it.

    The measure is the mean over moments of 1 / log2(1 + rank) of the choice, among the items of the training part that
    the user has not chosen, or CANDIDATES of them; 0 where there were too few users to hold any out.
    """

    attention: HistoryAttention
    epoch: int = 0
    mean: float = 0.0
    best: float = 0.0


@dataclass(frozen=True)
class _Moments:
    """Users (b,), the rows of a log (b,) that they are stopped before, and a choice that follows (b,)."""

    log: Interactions
    users: Int64s
    ends: Int64s
    targets: Int64s


def fit(items: Floats, train: Interactions, half_life_days: float, context: Context) -> Fitted:
    """Learns from the training interactions alone; the same bytes for the same seed and input.

    items: (n_items, d) float32 of unit norm, a zero row for an item without a vector, which is left out.
    """
    attention = HistoryAttention(half_life_days)
    train = train.subset(np.any(items != 0, axis=1)[train.item])
    users = np.flatnonzero(np.diff(train.offsets()) > 1)
    users = np.random.default_rng([context.seed, 0]).permutation(users)[:MAX_USERS]
    held_out, learners = np.split(users, [round(HELD_OUT_SHARE * len(users))])
    if not len(held_out):
        return Fitted(attention)
    # One thread, so that the bytes are the same on any number of cores.
    with reproducible(1):
        learner = _Learner(torch.from_numpy(items), train, attention, learners, context.seed)
        moments = list(learner.moments(held_out))
        validation = Validation(MEASURE, lambda: {MEASURE: learner.next_choice(moments)}, from_start=True)
        state = loop.fit(learner, SCHEDULE, validation, context)
    return Fitted(attention, state.epoch, state.curve[0][MEASURE], state.score)


class _Learner(Learner[_Moments]):
    """Attention, and the scale of the cosines that the softmax is over, from one seeded generator."""

    def __init__(
        self, items: Tensor, train: Interactions, attention: HistoryAttention, learners: Int64s, seed: int
    ) -> None:
        self.items, self.train, self.attention, self.learners = items, train, attention, learners
        self.generator = np.random.default_rng([seed, 1])
        self.offsets = train.offsets()
        self.chosen = train.matrix()
        self.scale = torch.nn.Parameter(torch.tensor(10.0).log())
        self.sampler = Sampler(train.subset(np.isin(train.user, learners)).item_counts(), self.generator)
        self.candidates = np.sort(self.generator.permutation(np.unique(train.item))[:CANDIDATES]).astype(np.int64)
        self._weights = {**dict(attention.named_parameters()), "scale": self.scale}
        self._generators = [self.generator]
        self._optimizers = [torch.optim.Adam([*attention.parameters(), self.scale], lr=LEARNING_RATE)]

    def _batches(self) -> Iterator[_Moments]:
        return self.moments(self.learners)

    def _loss(self, batch: _Moments) -> Tensor:
        negatives, log_expected = self.sampler.draw(NEGATIVES)
        own, others = self._scores(batch, negatives)
        others = torch.exp(self.scale) * others - torch.from_numpy(log_expected)
        scores = torch.cat([torch.exp(self.scale) * own, others], dim=1)
        return cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64))

    @torch.no_grad()
    def next_choice(self, held_out: list[_Moments]) -> float:
        """The measure of `Fitted` on moments of held-out users."""
        gains = []
        for moments in held_out:
            own, others = self._scores(moments, self.candidates)
            gains.append(discount(1 + (others > own).sum(dim=1).numpy()))
        return float(np.concatenate(gains).mean())

    def _scores(self, moments: _Moments, candidates: Int64s) -> tuple[Tensor, Tensor]:
        """Cosines with the target [b x 1] and with candidates [b x m], very low for what the user has chosen."""
        past = past_of(moments.log, moments.users, moments.ends, HISTORY_ITEMS, self.attention.half_life_days)
        users = self.attention(self.items[past.item], past)
        own = (users * self.items[moments.targets]).sum(dim=1, keepdim=True)
        chosen = torch.from_numpy(self.chosen[moments.users][:, candidates].toarray() > 0)
        return own, (users @ self.items[candidates].T).masked_fill(chosen, -1e9)

    def moments(self, users: Int64s) -> Iterator[_Moments]:
        """Every user at up to MOMENTS moments, in batches; what shares a moment is shuffled, its order not known."""
        log = self.train
        order = np.lexsort((self.generator.random(len(log)), -log.age_days, log.user))
        log = replace(log, item=log.item[order], age_days=log.age_days[order], weight=log.weight[order])
        sizes = np.diff(self.offsets)
        stopped = self.generator.permutation(np.repeat(users, np.minimum(sizes[users] - 1, MOMENTS)))
        for start in range(0, len(stopped), BATCH_USERS):
            batch = stopped[start : start + BATCH_USERS]
            ends = self.offsets[batch] + self.generator.integers(1, sizes[batch])
            steps = self.generator.geometric(1 - TARGET_FADE, len(batch)) - 1
            following = np.minimum(ends + steps, self.offsets[batch + 1] - 1)
            yield _Moments(log, batch, ends, log.item[following].astype(np.int64))
