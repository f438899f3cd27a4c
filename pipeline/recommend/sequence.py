"""A causal transformer over what a user chose, in order: every place predicts the next item.

- model: SASRec (Kang and McAuley 2018), with places known by their distance; an item's vector is an id embedding plus
  a linear map of its fused vector, the same where it is read and where it is scored; the score is a cosine;
- loss: cross-entropy of the softmax over all items chosen in training, which is what makes this model strong
  (Klenitskiy and Vasilev 2023; Petrov and Macdonald 2023); in catalogues above `full_softmax_items` over a draw, half
  by popularity and half uniform, corrected by the log of how often an item is expected in it (Bengio and Senécal 2008);
- new items: each step hides the ids of some items that have content, so that content learns to stand alone;
- batch: sequences of like length, so that little is padding; what shares a moment is shuffled anew each epoch;
- stop: the epoch of the best NDCG@10 on the validation part, full ranking, with averaged weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from safetensors.torch import save_file
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Int32s, Int64s, Interactions, Mask, unit_rows
from pipeline.recommend.base import Content
from pipeline.recommend.item_sides import FILE
from pipeline.recommend.models.sequence import SequenceKind, SequenceSettings
from pipeline.recommend.sequence_network import Aims, SoftmaxLoss, Transformer, code_vectors
from pipeline.recommend.trained import Trained
from pipeline.training.batches import padded_batches
from pipeline.training.checkpoint import Generators
from pipeline.training.distributed import ALONE, Processes
from pipeline.training.negatives import Sampler
from pipeline.training.torch_runtime import device, full_precision, reproducible
from pipeline.training.weighting import Balance

BLOCK_PLACES = 32_768
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


class SequenceModel(SequenceKind, Trained[Batch]):
    """The trained recommender; the same bytes for the same seed, threads, device and input."""

    def __init__(self, settings: SequenceSettings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)
        self.settings = settings
        self.device = device()

    @property
    def item_vectors(self) -> Floats:
        """(n_items, width + 1) float32: unit norm, and 0; or zeros and -2 / temperature, below any score.

        The latter are items with neither content nor anyone who chose them: nothing is known of them.
        """
        return self._items

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width + 1) float32: the state after the latest `history_items`, of norm 1 / temperature, and 1.

        A user without history gets a zero row.
        """
        users = np.zeros((history.n_users, self._items.shape[1]), np.float32)
        ends = history.offsets()[1:]
        sizes = np.minimum(np.diff(history.offsets()), self.settings.history_items)
        with reproducible(self.threads):
            for batch in padded_batches(sizes, BLOCK_PLACES):
                users[batch, :-1] = self._read(history, ends[batch] - sizes[batch], sizes[batch])
                users[batch, -1] = 1
        return users

    def save(self, folder: Path) -> None:
        """Writes the served weights, and which items had been chosen or are below all, as `model.safetensors`."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self._model.state_dict().items()}
        items = {"known": self._known.cpu(), "below": torch.from_numpy(self._items[:, -1].copy())}
        save_file(tensors | items, folder / FILE)

    def _prepare(self, content: Content, train: Interactions) -> None:
        self._pieces = Pieces(train, self.settings, self.seed, self.processes)
        self._generator = torch.Generator().manual_seed(self.seed)
        vectors = np.ascontiguousarray(content.vectors * content.present[:, None], np.float32)
        known = np.bincount(train.item, minlength=train.n_items) > 0
        self._content = torch.from_numpy(vectors).to(self.device)
        self._present = torch.from_numpy(content.present.astype(np.float32)).to(self.device)
        self._known = torch.from_numpy(known.astype(np.float32)).to(self.device)
        shared = code_vectors(content, self.settings.semantic_ids, self.settings.width, self.seed)
        self._model = Transformer(content.vectors.shape, self.settings, self._generator, shared).to(self.device)
        ids = self._model.items.ids
        ids.data += torch.from_numpy(shared_axes(train, ids.shape[1], self.seed)).to(self.device)
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        self._optimizers = [torch.optim.AdamW(self._model.parameters(), lr=rate, weight_decay=decay, fused=True)]

    def _weights(self) -> dict[str, Tensor]:
        return dict(self._model.named_parameters())

    def _tables(self) -> dict[str, tuple[str, ...]]:
        # Codes are told anew every night: what an earlier night learned for one is of no use to whoever has it now.
        return {"items.ids": ("items",), "items.shared.table": ()}

    def _generators(self) -> Generators:
        return [self._pieces.generator, self._generator]

    def _batches(self) -> Iterator[Batch]:
        self._model.train()
        return self._pieces.epoch()

    def _loss(self, batch: Batch) -> Tensor:
        batch = batch.to(self.device)
        codes = batch.codes
        drawn = torch.rand(len(codes), generator=self._generator).to(self.device)
        hidden = (drawn < self.settings.id_dropout) & (self._present[codes] > 0)
        vectors = self._model.items(codes, self._content[codes], (~hidden).float())
        states = self._model(vectors[batch.history]).flatten(0, 1)[batch.at]
        scale, ease = 1 / self.settings.temperature, self.settings.label_smoothing
        with full_precision(self.device):
            loss: Tensor = SoftmaxLoss.apply(states.float(), vectors.float(), batch.aims, scale, ease)
        return loss

    @torch.no_grad()
    def _freeze(self) -> None:
        self._model.eval()
        codes = torch.arange(len(self._known), device=self.device)
        self._vectors = self._model.items(codes, self._content, self._known)
        blank = (self._known == 0) & (self._present == 0)
        below = torch.where(blank, -2 / self.settings.temperature, 0.0)[:, None]
        self._items = torch.cat([self._vectors, below], dim=1).cpu().numpy()

    @torch.no_grad()
    def _read(self, history: Interactions, start: Int64s, size: Int64s) -> Floats:
        """The states after `size` interactions from row `start` on: (b, width) float32."""
        steps = np.arange(size.max())
        rows = np.where(steps < size[:, None], start[:, None] + steps, 0)
        items = torch.from_numpy(history.item[rows].astype(np.int64)).to(self.device)
        states = self._model(self._vectors[items])
        last = states[torch.arange(len(size)), torch.from_numpy(size - 1)] / self.settings.temperature
        return np.asarray(last.cpu().numpy(), np.float32)


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
