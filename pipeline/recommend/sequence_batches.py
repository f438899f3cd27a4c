"""From a log to batches of pieces of histories, and where items begin, for `sequence` and `llm`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Int32s, Int64s, Interactions, Mask, unit_rows
from pipeline.recommend.models.sequence import SequenceSettings
from pipeline.recommend.sequence_network import Aims
from pipeline.training.batches import padded_batches
from pipeline.training.distributed import ALONE, Processes
from pipeline.training.negatives import Balance, Sampler

SMALLEST = np.float32(1e-12)


@dataclass(frozen=True)
class Batch:
    """b pieces of histories; items are given by their place in `codes`, so that only those are computed.

    codes: [n] int64, ascending. history: [b x l], padded at the end. at: [p] places of the flat history that have a
    target. aims: what those predict.
    """

    codes: Tensor
    history: Tensor
    at: Tensor
    aims: Aims

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        aims = Aims(**{name: part.to(device) for name, part in vars(self.aims).items()})
        return Batch(self.codes.to(device), self.history.to(device), self.at.to(device), aims)


class Pieces:
    """The batches of one fit, epoch after epoch, from one seeded generator."""

    def __init__(
        self, train: Interactions, settings: SequenceSettings, seed: int, processes: Processes = ALONE
    ) -> None:
        """Raises StepFailed if no user has two interactions."""
        self._settings = settings
        self._processes = processes
        self.generator = np.random.default_rng(seed)
        self._start, self._size = _pieces(train.offsets(), settings.history_items)
        if not len(self._start):
            raise StepFailed("no user has two training interactions to learn from; set train.model to content")
        self._sampler = Sampler(train.item_counts(), self.generator)
        self._balance = Balance(settings.imbalance, train.item_counts(), self.generator)
        self._train = replace(train, weight=self._balance.log_weight(train))

    def epoch(self) -> Iterator[Batch]:
        """Every interaction that has one before it is a target once."""
        log = self._shuffled_ties()
        mixed = self.generator.permutation(len(self._start))
        batches = list(padded_batches(self._size[mixed], self._settings.batch_positions))
        for place in self.generator.permutation(len(batches)):
            yield self._batch(log, mixed[batches[place]])

    def _shuffled_ties(self) -> Interactions:
        log = self._train
        order = np.lexsort((self.generator.random(len(log)), -log.age_days, log.user))
        return replace(log, item=log.item[order], weight=log.weight[order])

    def _own(self, pieces: Int64s) -> tuple[Mask, float]:
        """Which pieces of a batch are this process's, and their share."""
        return self._processes.own(np.arange(len(pieces)))

    def _batch(self, log: Interactions, pieces: Int64s) -> Batch:
        size = self._size[pieces]
        aimed = np.repeat(self._start[pieces] + size - np.cumsum(size), size) + np.arange(1, size.sum() + 1)
        weight = log.weight[aimed] * self._balance.of(log.item[aimed])
        weight = weight / max(weight.sum(), SMALLEST)
        own, share = self._own(pieces)
        pieces, target = pieces[own], log.item[aimed[np.repeat(own, size)]]
        weight = weight[np.repeat(own, size)] * (share > 0)
        size = self._size[pieces, None]
        steps = np.arange(size.max())
        real = steps < size
        # Padding repeats the last item, so that it names nothing that the user has not chosen.
        history = log.item[self._start[pieces, None] + np.minimum(steps, size - 1)]
        last = self._start[pieces, None] + size
        codes, offset = self._scored(history, target)
        chosen = np.searchsorted(codes, np.concatenate([history, log.item[last]], axis=1))
        aims = Aims(
            torch.from_numpy(np.searchsorted(codes, target)),
            torch.from_numpy(weight),
            torch.from_numpy(chosen),
            torch.from_numpy(np.nonzero(real)[0]),
            torch.from_numpy(offset),
        )
        read, at = torch.from_numpy(chosen[:, :-1].copy()), torch.from_numpy(np.flatnonzero(real))
        return Batch(torch.from_numpy(codes), read, at, aims)

    def _scored(self, *used: Int32s) -> tuple[Int64s, Floats]:
        """The items of a batch, and how far each one's score is moved in the sum over items.

        An item drawn c times where E are expected counts as c / E, so that the sum is right on average; one that is
        only read, and was not drawn, counts for nothing but as a target.
        """
        known = np.flatnonzero(self._sampler.known)
        if len(known) <= self._settings.full_softmax_items:
            return known, np.zeros(len(known), np.float32)
        drawn, log_expected = self._sampler.draw(self._settings.negatives)
        codes = np.unique(np.concatenate([drawn, *(part.ravel() for part in used)])).astype(np.int64)
        counted = np.bincount(np.searchsorted(codes, drawn), np.exp(-log_expected), len(codes))
        with np.errstate(divide="ignore"):
            return codes, np.log(counted).astype(np.float32)


def shared_axes(train: Interactions, width: int, seed: int) -> Floats:
    """Items by what chose them: (n_items, width) float32 of unit norm, a zero row for an item that nobody has chosen.

    The leading right singular vectors of the log, its rows and columns divided by the roots of their sums, each times
    its singular value: what is often chosen by the same users points the same way.
    """
    matrix = train.matrix()
    users, items = (np.asarray(matrix.sum(axis=axis), np.float64).ravel() for axis in (1, 0))
    matrix = sp.diags(np.maximum(users, 1e-9) ** -0.5) @ matrix @ sp.diags(np.maximum(items, 1e-9) ** -0.5)
    rank = min(width, *(size - 1 for size in matrix.shape))
    _, values, axes = randomized_svd(matrix.astype(np.float32), rank, n_iter=4, random_state=seed)
    vectors = np.zeros((train.n_items, width), np.float32)
    vectors[:, :rank] = axes.T * values
    return unit_rows(vectors * (items > 0)[:, None])


def _pieces(offsets: Int64s, length: int) -> tuple[Int64s, Int64s]:
    """Histories cut from their end into pieces of at most `length` inputs: first row and number of inputs of each.

    Every row but a user's first is the target of one input, the row before it.
    """
    inputs = np.maximum(np.diff(offsets) - 1, 0)
    count = -(-inputs // length)
    user = np.repeat(np.arange(len(inputs)), count)
    back = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    stop = offsets[user] + inputs[user] - back * length
    start = np.maximum(stop - length, offsets[user])
    return start, stop - start
