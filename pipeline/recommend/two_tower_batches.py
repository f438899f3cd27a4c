"""From a log to training batches: users stopped at random moments, what they chose next, and shared negatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding, softplus

from pipeline.errors import StepFailed
from pipeline.interactions import Int32s, Int64s, Interactions, Mask
from pipeline.recommend.models.two_tower import BLOCK_ROWS, TwoTowerSettings
from pipeline.training.distributed import ALONE, Processes
from pipeline.training.negatives import Balance, Sampler
from pipeline.training.softmax import HIDDEN, log_sum_exp
from pipeline.training.windows import Windows, windows


@dataclass(frozen=True)
class Batch:
    """b moments of users; items are given by their place in `codes`, so that only those are computed.

    user: [b] int64 user codes. codes: [n] int64 item codes. window: the history before the moment. target: [b x t] and
    share: [b x t], what came next and how much each counts, a row's sum 1 where items are not balanced and one process
    has the whole batch. negative: [m]. log_expected: [m], log of how often it is expected among the m. chosen: [2 x c],
    rows, and places in `negative` of what their users have chosen. hard: [b x h], each user's own negatives. not_hard:
    [b x h] bool, it is none.
    """

    user: Tensor
    codes: Tensor
    window: Windows
    target: Tensor
    share: Tensor
    negative: Tensor
    log_expected: Tensor
    chosen: Tensor
    hard: Tensor
    not_hard: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(**{name: part.to(device) for name, part in vars(self).items()})


class Batches:
    """The batches of one fit, epoch after epoch, from one seeded generator."""

    def __init__(
        self,
        train: Interactions,
        settings: TwoTowerSettings,
        seed: int,
        pool: Int32s | None = None,
        processes: Processes = ALONE,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        """pool: (n_users, p) item codes that are hard to tell from what each user chose, -1 for none.

        block_rows: interactions that are shuffled together; a longer log is read block by block.

        Raises StepFailed if no user has two interactions.
        """
        self._train, self.blocks = train, train.user_blocks(block_rows)
        self.generator = np.random.default_rng(seed)
        self._settings = settings
        self._processes = processes
        if not (np.diff(train.offsets()) > 1).any():
            raise StepFailed("no user has two training interactions to learn from; set train.model to content")
        counts = train.item_counts()
        self._sampler = Sampler(counts, self.generator)
        self._balance = Balance(settings.imbalance, counts, self.generator)
        self._pool = np.full((train.n_users, 1), -1, np.int32) if pool is None else pool

    @property
    def known(self) -> Mask:
        """(n_items,) bool: the item was chosen in training."""
        return self._sampler.known

    def read(self, block: int) -> Interactions:
        """The interactions of one of `blocks`, its users counted from 0."""
        return self._train.of_users(self.blocks[block])

    def epoch(self) -> Iterator[Batch]:
        """Every user with a past, at up to `moments_per_user` random moments of it; block after block."""
        for place in self.generator.permutation(len(self.blocks)):
            block = self.blocks[place]
            log, pool = self._shuffled_ties(self.read(place)), self._pool[block.start : block.stop]
            chosen, sizes = log.matrix(), np.diff(log.offsets())
            repeats = np.clip(sizes - 1, 0, self._settings.moments_per_user)
            users = self.generator.permutation(np.repeat(np.arange(len(sizes)), repeats))
            for start in range(0, len(users), self._settings.batch_rows):
                some = users[start : start + self._settings.batch_rows]
                batch = self._batch(log, chosen, some, pool[some])
                yield replace(batch, user=batch.user + block.start)

    def _shuffled_ties(self, log: Interactions) -> Interactions:
        order = np.lexsort((self.generator.random(len(log)), -log.age_days, log.user))
        weight = self._balance.log_weight(log)[order]
        return replace(log, user=log.user[order], item=log.item[order], age_days=log.age_days[order], weight=weight)

    def _batch(self, log: Interactions, chosen: sp.csr_matrix, users: Int64s, pool: Int32s) -> Batch:
        sizes = np.diff(log.offsets())
        moments = log.offsets()[users] + self.generator.integers(1, sizes[users])
        target, share = self._next(log, users, moments)
        others = target[:, 0] if self._settings.in_batch_negatives else target[:0, 0]
        negative, log_expected = self._sampler.draw(self._settings.negatives, others)
        hard = self._hard(pool)
        own, part = self._processes.own(np.arange(len(users)))
        users, target, share, hard = users[own], target[own], share[own] * np.float32(part), hard[own]
        chosen, moments = chosen[users], moments[own]
        longest = int((moments - log.offsets()[users]).max())
        window = windows(log, users, moments, min(self._settings.history_items, longest))
        codes, (history, wanted, drawn, hardest) = _places(window.item.numpy(), target, negative, np.maximum(hard, 0))
        return Batch(
            torch.from_numpy(users.astype(np.int64)),
            codes,
            replace(window, item=history),
            wanted,
            torch.from_numpy(share),
            drawn,
            torch.from_numpy(log_expected),
            torch.from_numpy(np.stack(chosen[:, negative].nonzero()).astype(np.int64)),
            hardest,
            torch.from_numpy((hard < 0) | _chose(chosen, hard)),
        )

    def _next(self, log: Interactions, users: Int64s, moments: Int64s) -> tuple[Int64s, npt.NDArray[np.float32]]:
        """The items after each moment, (b, t), and their shares, falling by `target_fade` from one to the next."""
        steps = np.arange(self._settings.targets)
        rows = moments[:, None] + steps
        inside = rows < log.offsets()[users + 1][:, None]
        share = inside * self._settings.target_fade**steps * log.weight[np.where(inside, rows, 0)]
        items = log.item[np.where(inside, rows, 0)]
        share = (share / share.sum(axis=1, keepdims=True)).astype(np.float32)
        return items.astype(np.int64), share * self._balance.of(items)

    def _hard(self, pool: Int32s) -> Int64s:
        """`hard_negatives` of each row of the pool, drawn anew: (b, h)."""
        if not self._settings.hard_negatives:
            return np.empty((len(pool), 0), np.int64)
        columns = self.generator.integers(pool.shape[1], size=(len(pool), self._settings.hard_negatives))
        return np.take_along_axis(pool, columns, axis=1).astype(np.int64)


def _chose(chosen: sp.csr_matrix, items: Int64s) -> Mask:
    """Whether each row's user chose that row's items: (b, h) bool."""
    if not items.size:
        return np.zeros(items.shape, bool)
    rows = np.repeat(np.arange(len(items)), items.shape[1])
    mask: Mask = np.asarray(chosen[rows, np.maximum(items, 0).ravel()]).reshape(items.shape) > 0
    return mask


def _places(*codes: Int64s) -> tuple[Tensor, list[Tensor]]:
    """The distinct codes of several arrays, and the arrays as indices into them."""
    distinct, places = np.unique(np.concatenate([part.ravel() for part in codes]), return_inverse=True)
    ends = np.cumsum([part.size for part in codes])[:-1]
    pieces = zip(np.split(places, ends), codes, strict=True)
    return torch.from_numpy(distinct), [torch.from_numpy(piece.reshape(part.shape)) for piece, part in pieces]


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
