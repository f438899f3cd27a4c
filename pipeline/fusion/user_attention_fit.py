"""Learns attention over histories: users of the training part, stopped at random moments, and what they chose next.

- a seeded share of the users is held out, and judged by ranking at moments that are drawn once;
- each epoch, the others are stopped at new moments. The loss is softmax of one of the next choices, the nearest most
  often, against sampled items, each score corrected by the log of how often its item is drawn (Bengio and Senécal
  2008; Yi et al. 2019);
- the epoch of the best held-out ranking is kept, the start among them: on those users it is never worse than the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.config.training import Schedule
from pipeline.evaluation.hits import discount
from pipeline.fusion.user_attention import HistoryAttention, past_of
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.training.checkpoint import Generators
from pipeline.training.context import Context
from pipeline.training.loop import Learner, Validation
from pipeline.training.loop import fit as fit_epochs
from pipeline.training.negatives import Sampler
from pipeline.training.torch_runtime import reproducible

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
        state = fit_epochs(learner, SCHEDULE, validation, context)
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
        self._optimizers = [torch.optim.Adam([*attention.parameters(), self.scale], lr=LEARNING_RATE)]

    def _weights(self) -> dict[str, Tensor]:
        return {**dict(self.attention.named_parameters()), "scale": self.scale}

    def _generators(self) -> Generators:
        return [self.generator]

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
