"""A causal language model reads what a user chose, as titles and as vectors, and says who the user is by now.

- history: a prompt, then every item's title and its fused vector as a soft token (`llm_network`), as E4SRec (Li et al.
  2023), LLaRA (Liao et al. 2024) and CoLLM (Zhang et al. 2023) give vectors to language models that they tune by LoRA
  (Hu et al. 2021). Theirs answer once for a history; here there is a vector for every moment of it;
- item: v_i = (W f + e + c) / |W f + e + c|, as in `sequence`: f the fused vector, e the item's own where it was ever
  chosen, c that of its semantic ids, if any. So a new item has a vector too;
- user: u = (v_last + H h) / |v_last + H h|, h the last hidden state at the user's last soft token. H starts as zeros:
  at first a user is the latest item, from which the language model learns to depart;
- score: u·v / temperature; loss: cross-entropy of the softmax over all items chosen in training, in large catalogues
  over a draw, corrected by the log of how often an item is expected in it, see `sequence`. Every item of a history but
  the first is a target of one pass, since the model is causal;
- tuning: `frozen` trains W, e, c and H alone. A history's hidden states are then always the same, so the language
  model reads it once and never again; `lora` adds low-rank updates of every linear layer, and the soft tokens;
  `full` trains everything;
- stop: the epoch of the best NDCG@10 on the validation part, full ranking.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from pipeline.interactions import Floats, Int64s, Interactions, Mask
from pipeline.recommend.base import Content
from pipeline.recommend.item_sides import FILE
from pipeline.recommend.llm_checkpoint import language_model
from pipeline.recommend.llm_network import Reader
from pipeline.recommend.models.llm import LlmKind, LlmSettings
from pipeline.recommend.models.sequence import SequenceSettings
from pipeline.recommend.sequence import Batch, Pieces, shared_axes
from pipeline.recommend.sequence_network import ItemVectors, SoftmaxLoss, code_vectors
from pipeline.recommend.trained import Trained
from pipeline.recommend.two_tower_network import Dropout
from pipeline.training.batches import padded_batches
from pipeline.training.checkpoint import Generators
from pipeline.training.distributed import Processes
from pipeline.training.torch_runtime import device, full_precision, reproducible

# Hidden states that a frozen model's histories are remembered by: 1 GB at a width of 576.
MOST_STATES = 450_000
INNER = "reader.network."


class Stretches(Pieces):
    """The latest stretches of every history; ties are shuffled only where the model reads a history anew each epoch."""

    def __init__(self, train: Interactions, settings: LlmSettings, seed: int, processes: Processes) -> None:
        """Raises StepFailed if no user has two interactions."""
        cut = SequenceSettings(
            history_items=settings.history_items - 1,  # and the target of the last
            full_softmax_items=settings.full_softmax_items,
            negatives=settings.negatives,
            batch_positions=settings.batch_positions,
            imbalance=settings.imbalance,
        )
        super().__init__(train, cut, seed, processes)
        user = np.searchsorted(train.offsets(), self._start, side="right") - 1
        latest = np.arange(len(user)) - np.searchsorted(user, user) < settings.pieces_per_user
        self._start, self._size, self._user = self._start[latest], self._size[latest], user[latest]
        self._frozen = settings.tuning == "frozen"

    def _shuffled_ties(self) -> Interactions:
        return self._train if self._frozen else super()._shuffled_ties()

    def _own(self, pieces: Int64s) -> tuple[Mask, float]:
        # What a frozen model reads once, the same process must ask for every time, and when users are ranked.
        return self._processes.own(self._user[pieces]) if self._frozen else super()._own(pieces)


class Network(nn.Module):
    """Items, the language model that reads them, and how its states become users."""

    def __init__(
        self, content: Content, train: Interactions, settings: LlmSettings, seed: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        network, tokenizer = language_model(settings, content.titles, seed)
        shared = code_vectors(content, settings.semantic_ids, settings.width, seed)
        self.items = ItemVectors(train.n_items, content.vectors.shape[1], settings.width, shared)
        self.reader = Reader(network, tokenizer, content, settings, shared)
        self.norm = nn.LayerNorm(self.reader.width)
        self.head = nn.Linear(self.reader.width, settings.width)
        self.dropout = Dropout(settings.dropout, generator)
        for weight in (self.items.content.weight, self.items.ids):
            weight.data.normal_(0, weight.shape[1] ** -0.5, generator=generator)
        self.items.ids.data += torch.from_numpy(shared_axes(train, settings.width, seed))
        self.head.weight.data.zero_()
        self.head.bias.data.zero_()
        if settings.tuning == "frozen":
            self.reader.requires_grad_(False)

    def states(self, last: Tensor, hidden: Tensor) -> Tensor:
        """Users by their last items [.. x d] and hidden states [.. x h]: [.. x d] of unit norm."""
        return normalize(last + self.head(self.dropout(self.norm(hidden))), dim=-1)

    def trained(self) -> dict[str, Tensor]:
        """The weights that training changes, by name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


class LanguageModel(LlmKind, Trained[Batch]):
    """See above; the same bytes for the same seed, threads, device and input."""

    def __init__(self, settings: LlmSettings, seed: int, threads: int) -> None:
        super().__init__(settings, seed, threads)
        self.settings = settings
        self.device = device()

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width + 1) float32: the state after the latest `history_items`, of norm 1 / temperature, and 1.

        A user without history gets a zero row.
        """
        users = np.zeros((history.n_users, self._items.shape[1]), np.float32)
        ends = history.offsets()[1:]
        sizes = np.minimum(np.diff(history.offsets()), self.settings.history_items)
        self._network.eval()
        with reproducible(self.threads), torch.no_grad():
            for batch in padded_batches(sizes, self.settings.batch_positions):
                users[batch, :-1] = self._last(history, ends[batch] - sizes[batch], sizes[batch])
                users[batch, -1] = 1
        return users

    def save(self, folder: Path) -> None:
        """Writes `model.safetensors`: all weights but those of the language model that training left as they were,
        and which items had been chosen or are below all.
        """
        trained = self._weights()
        tensors = {
            name: value.detach().cpu().contiguous()
            for name, value in self._network.state_dict().items()
            if name in trained or not name.startswith(INNER)
        }
        items = {"known": self._known.cpu(), "below": torch.from_numpy(self._items[:, -1].copy())}
        save_file(tensors | items, folder / FILE)

    def _prepare(self, content: Content, train: Interactions) -> None:
        self._pieces = Stretches(train, self.settings, self.seed, self.processes)
        self._generator = torch.Generator().manual_seed(self.seed)
        known = np.bincount(train.item, minlength=train.n_items) > 0
        self._known = torch.from_numpy(known.astype(np.float32)).to(self.device)
        self._present = torch.from_numpy(content.present.astype(np.float32)).to(self.device)
        self._network = Network(content, train, self.settings, self.seed, self._generator).to(self.device)
        self._content = self._network.reader.content
        self._memory: dict[bytes, Tensor] = {}
        rates = {True: self.settings.model_learning_rate, False: self.settings.learning_rate}
        groups = [{"params": [weight], "lr": rates[name.startswith(INNER)]} for name, weight in self._weights().items()]
        self._optimizers = [torch.optim.AdamW(groups, weight_decay=self.settings.weight_decay)]

    def _weights(self) -> dict[str, Tensor]:
        return self._network.trained()

    def _tables(self) -> dict[str, tuple[str, ...]]:
        # Codes are told anew every night, see `sequence`.
        return {"items.ids": ("items",), "items.shared.table": (), "reader.codes.table": ()}

    def _generators(self) -> Generators:
        return [self._pieces.generator, self._generator]

    def _batches(self) -> Iterator[Batch]:
        self._network.train()
        # Its own dropout, where it has some, draws from a generator that a fit cannot go on with after a kill.
        self._network.reader.eval()
        return self._pieces.epoch()

    def _loss(self, batch: Batch) -> Tensor:
        hidden = self._moments(batch)
        batch = batch.to(self.device)
        drawn = torch.rand(len(batch.codes), generator=self._generator).to(self.device)
        hidden_ids = (drawn < self.settings.id_dropout) & (self._present[batch.codes] > 0)
        vectors = self._network.items(batch.codes, self._content[batch.codes], (~hidden_ids).float())
        states = self._network.states(vectors[batch.history], hidden).flatten(0, 1)[batch.at]
        with full_precision(self.device):
            scale = 1 / self.settings.temperature
            loss: Tensor = SoftmaxLoss.apply(states.float(), vectors.float(), batch.aims, scale, 0.0)
        return loss

    def _moments(self, batch: Batch) -> Tensor:
        """The hidden states at the items of a batch's histories: [b x l x h]."""
        items = batch.codes.numpy()[batch.aims.chosen.numpy()]
        size = np.bincount(batch.aims.row.numpy(), minlength=len(items))
        if self.settings.tuning != "frozen":
            return self._hidden(items[:, :-1], size)
        # The last target is read as well: then this stretch is, to the letter, what a user's vector is made from.
        items[np.arange(len(items)), size] = items[:, -1]
        return self._hidden(items, size + 1)[:, :-1]

    def _hidden(self, items: Int64s, size: Int64s) -> Tensor:
        """The language model's last hidden states: [b x l x h]; those of a frozen one are read once."""
        if self.settings.tuning != "frozen":
            states: Tensor = self._network.reader(items, size)
            return states
        keys = [row[:length].tobytes() for row, length in zip(items, size, strict=True)]
        new = [at for at, key in enumerate(keys) if key not in self._memory]
        if new:
            with torch.no_grad():
                states = self._network.reader(items[new], size[new])
            self._memory |= {keys[at]: state[: size[at]].clone() for at, state in zip(new, states, strict=True)}
        hidden = pad_sequence([self._memory[key] for key in keys], batch_first=True)
        if len(self._memory) * self.settings.history_items > MOST_STATES:
            self._memory.clear()
        return hidden

    def _last(self, history: Interactions, start: Int64s, size: Int64s) -> Floats:
        """The states after `size` interactions from row `start` on: (b, width) float32."""
        steps = np.arange(size.max())
        items = history.item[np.where(steps < size[:, None], start[:, None] + steps, 0)].astype(np.int64)
        end = torch.arange(len(size)), torch.from_numpy(size - 1)
        last = torch.from_numpy(items)[end].to(self.device)
        states = self._network.states(self._vectors[last], self._hidden(items, size)[end])
        return np.asarray((states / self.settings.temperature).cpu().numpy(), np.float32)

    @torch.no_grad()
    def _freeze(self) -> None:
        codes = torch.arange(len(self._known), device=self.device)
        self._vectors = self._network.items(codes, self._content, self._known)
        blank = (self._known == 0) & (self._present == 0)
        below = torch.where(blank, -2 / self.settings.temperature, 0.0)[:, None]
        self._items = torch.cat([self._vectors, below], dim=1).cpu().numpy()
