"""From a log to training batches: users stopped at random moments, what they chose next, and shared negatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.config.sections import Train
from pipeline.errors import StepFailed
from pipeline.interactions import Interactions, Mask
from pipeline.recommend.towers import Windows, windows

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """b moments of users; items are given by their place in `codes`, so that only those are computed.

    codes: [n] int64 item codes. window: the history before the moment. target: [b x t] and share: [b x t], what came
    next and how much each counts, a row's sum 1. negative: [m]. log_expected: [m], log of how often it is expected
    among the m. chosen: [b x m] bool, the user has chosen that negative.
    """

    codes: Tensor
    window: Windows
    target: Tensor
    share: Tensor
    negative: Tensor
    log_expected: Tensor
    chosen: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(
            self.codes.to(device),
            self.window.to(device),
            self.target.to(device),
            self.share.to(device),
            self.negative.to(device),
            self.log_expected.to(device),
            self.chosen.to(device),
        )


class Sampler:
    """Draws negatives half by popularity, half uniformly, among the items that were ever chosen.

    An item nobody has chosen yet may be new: that it was not chosen says nothing, so it is never a negative.
    """

    def __init__(self, train: Interactions, generator: np.random.Generator) -> None:
        counts = np.bincount(train.item, minlength=train.n_items)
        self.known: Mask = counts > 0
        self._share = 0.5 * counts / counts.sum() + 0.5 * self.known / self.known.sum()
        self._cumulated = np.cumsum(self._share)
        self._generator = generator

    def draw(self, count: int) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Item codes (m,), and (m,) log of how often each is expected among the m.

        Where `count` reaches the number of chosen items, each of them is drawn once: the softmax is then full.
        """
        known = np.flatnonzero(self.known)
        if count >= len(known):
            return known, np.zeros(len(known), np.float32)
        points = self._generator.random(count) * self._cumulated[-1]
        drawn = np.searchsorted(self._cumulated, points, side="right").astype(np.int64)
        return drawn, np.log(count * self._share[drawn]).astype(np.float32)


class Batches:
    """The batches of one fit, epoch after epoch, from one seeded generator."""

    def __init__(self, train: Interactions, settings: Train, seed: int) -> None:
        """Raises StepFailed if no user has two interactions."""
        self._train = train
        self._settings = settings
        self._generator = np.random.default_rng(seed)
        self._offsets = train.offsets()
        self._sizes = np.diff(self._offsets)
        if not (self._sizes > 1).any():
            raise StepFailed("no user has two training interactions to learn from; set train.model to content")
        self._sampler = Sampler(train, self._generator)
        self._chosen = train.matrix()

    @property
    def known(self) -> Mask:
        """(n_items,) bool: the item was chosen in training."""
        return self._sampler.known

    def epoch(self) -> Iterator[Batch]:
        """Every user with a past, at up to `moments_per_user` random moments of it."""
        log = self._shuffled_ties()
        repeats = np.clip(self._sizes - 1, 0, self._settings.moments_per_user)
        users = self._generator.permutation(np.repeat(np.arange(len(self._sizes)), repeats))
        for start in range(0, len(users), self._settings.batch_rows):
            yield self._batch(log, users[start : start + self._settings.batch_rows])

    def _shuffled_ties(self) -> Interactions:
        log = self._train
        order = np.lexsort((self._generator.random(len(log)), -log.age_days, log.user))
        return replace(
            log, user=log.user[order], item=log.item[order], age_days=log.age_days[order], weight=log.weight[order]
        )

    def _batch(self, log: Interactions, users: Rows) -> Batch:
        moments = self._offsets[users] + self._generator.integers(1, self._sizes[users])
        window = windows(log, users, moments, self._settings.history_items)
        target, share = self._next(log, users, moments)
        negative, log_expected = self._sampler.draw(self._settings.negatives)
        chosen = self._chosen[users][:, negative].toarray() > 0
        codes, (history, wanted, drawn) = _places(window.item.numpy(), target, negative)
        return Batch(
            codes,
            replace(window, item=history),
            wanted,
            torch.from_numpy(share),
            drawn,
            torch.from_numpy(log_expected),
            torch.from_numpy(chosen),
        )

    def _next(self, log: Interactions, users: Rows, moments: Rows) -> tuple[Rows, npt.NDArray[np.float32]]:
        """The items after each moment, (b, t), and their shares, falling by `target_fade` from one to the next."""
        steps = np.arange(self._settings.targets)
        rows = moments[:, None] + steps
        inside = rows < self._offsets[users + 1][:, None]
        share = inside * self._settings.target_fade**steps * log.weight[np.where(inside, rows, 0)]
        items = log.item[np.where(inside, rows, 0)].astype(np.int64)
        return items, (share / share.sum(axis=1, keepdims=True)).astype(np.float32)


def _places(*codes: Rows) -> tuple[Tensor, list[Tensor]]:
    """The distinct codes of several arrays, and those arrays as places among them."""
    distinct, places = np.unique(np.concatenate([part.ravel() for part in codes]), return_inverse=True)
    ends = np.cumsum([part.size for part in codes])[:-1]
    pieces = zip(np.split(places, ends), codes, strict=True)
    return torch.from_numpy(distinct), [torch.from_numpy(piece.reshape(part.shape)) for piece, part in pieces]
