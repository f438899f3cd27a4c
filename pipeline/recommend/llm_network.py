"""Histories as a language model reads them: a prompt, then for each item its title's tokens and its soft tokens.

    prompt   title of item 1   codes of 1 …  soft 1   title of item 2   codes of 2 …  soft 2   …
                                             → state 1                                → state 2

The soft token of an item is U f + a, f its fused vector; with semantic ids, each code is a soft token before it. U and
a start as the ridge regression from fused vectors to the mean embedding of a title's tokens, and a code's as U of its
centroid: to the language model, a soft token is at first a word like those of such titles. As the model is causal, the
last hidden state at an item's soft token knows that item and what came before it, so that one pass over a history gives
a state for every moment of it.

Shapes are in brackets: b histories, l items, t tokens, s soft tokens, h the language model's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.encoders.transformer_networks import longest_text
from pipeline.errors import ConfigError
from pipeline.interactions import Int64s, Interactions, Mask
from pipeline.recommend.base import Content
from pipeline.recommend.llm_checkpoint import language_model
from pipeline.recommend.models.llm import LlmSettings
from pipeline.recommend.models.sequence import SequenceSettings
from pipeline.recommend.sequence_batches import Pieces, shared_axes
from pipeline.recommend.sequence_network import CodeVectors, ItemVectors, code_vectors
from pipeline.recommend.two_tower_network import Dropout
from pipeline.training.distributed import Processes

RIDGE = 1e-2


@dataclass(frozen=True)
class Layout:
    """b histories as tokens. token: [b x t], 0 where a soft token stands or nothing does. soft: [n x s], places of the
    flat tokens; item: [n], whose they are. at: [b x l], each item's last soft token.
    """

    token: Tensor
    soft: Tensor
    item: Tensor
    at: Tensor


class Titles:
    """Token ids of the prompt and of every item's title, cut at `title_tokens`, side by side in one array."""

    def __init__(self, tokenizer: Any, titles: Sequence[str], settings: LlmSettings) -> None:
        self.prompt = np.asarray(tokenizer(settings.prompt, add_special_tokens=False)["input_ids"], np.int64)
        read = list(titles) if settings.title_tokens else [""] * len(titles)
        ids = tokenizer(read, add_special_tokens=False)["input_ids"] if read else []
        cut = [np.asarray(tokens[: settings.title_tokens], np.int64) for tokens in ids]
        self.size = np.array([len(tokens) for tokens in cut], np.int64)
        self.start = np.cumsum(self.size) - self.size
        self.tokens = np.concatenate([np.zeros(0, np.int64), *cut])

    def layout(self, items: Int64s, size: Int64s, soft: int) -> Layout:
        """items: (b, l) codes, of which the first `size` of a row count, (b,). soft: tokens of an item."""
        real = np.arange(items.shape[1]) < size[:, None]
        count = np.where(real, self.size[items] + soft, 0)
        end = len(self.prompt) + np.cumsum(count, axis=1)
        token = np.zeros((len(items), int(end.max())), np.int64)
        token[:, : len(self.prompt)] = self.prompt
        first = (end - count + np.arange(len(items))[:, None] * token.shape[1])[real]
        used = self.size[items[real]]
        steps = np.arange(used.sum()) - np.repeat(np.cumsum(used) - used, used)
        token.flat[np.repeat(first, used) + steps] = self.tokens[np.repeat(self.start[items[real]], used) + steps]
        places = (first + used)[:, None] + np.arange(soft)
        return Layout(*map(torch.from_numpy, (token, places, items[real], np.maximum(end - 1, 0))))


class Reader(nn.Module):
    """The language model and its soft tokens; `forward` gives its last hidden state at every item."""

    content: Tensor

    def __init__(
        self, network: Any, tokenizer: Any, content: Content, settings: LlmSettings, shared: CodeVectors | None
    ) -> None:
        """shared: semantic ids of the items. Raises ConfigError where the model has too few positions for a history."""
        super().__init__()
        self.network = network
        self.titles = Titles(tokenizer, content.titles or [""] * len(content.vectors), settings)
        self.soft_tokens = 1 + settings.semantic_ids.levels
        self._refuse_longer(settings)
        vectors = np.ascontiguousarray(content.vectors * content.present[:, None], np.float32)
        self.register_buffer("content", torch.from_numpy(vectors), persistent=False)
        self.width: int = network.get_input_embeddings().embedding_dim
        self.soft = nn.Linear(vectors.shape[1], self.width)
        self.codes = None if shared is None else shared.of_width(self.width)
        self._start(content)

    def forward(self, items: Int64s, size: Int64s) -> Tensor:
        """items: (b, l) codes, padded with any; size: (b,), at least 1. Returns [b x l x h] float32."""
        layout, device = self.titles.layout(items, size, self.soft_tokens), self.content.device
        embedded = self.network.get_input_embeddings()(layout.token.to(device))
        soft = self._soft(layout.item.to(device)).flatten(0, 1).to(embedded.dtype)
        filled = embedded.flatten(0, 1).index_copy(0, layout.soft.flatten().to(device), soft).view(embedded.shape)
        # What pads a text stands at its end, where a causal model's earlier states do not see it: no mask is needed.
        states = self.network(inputs_embeds=filled, use_cache=False).last_hidden_state
        return states[torch.arange(len(items), device=device)[:, None], layout.at.to(device)].float()

    def _soft(self, items: Tensor) -> Tensor:
        last = self.soft(self.content[items])[:, None]
        return last if self.codes is None else torch.cat([self.codes(items), last], dim=1)

    @torch.no_grad()
    def _start(self, content: Content) -> None:
        items = np.flatnonzero(content.present & (self.titles.size > 0))
        self.soft.weight.zero_()
        self.soft.bias.zero_()
        if len(items):
            words = self._mean_words(items)
            vectors = self.content[torch.from_numpy(items)]
            middle, mean = vectors.mean(dim=0), words.mean(dim=0)
            gram = (vectors - middle).T @ (vectors - middle)
            gram += (RIDGE * gram.trace() / len(gram) + 1e-6) * torch.eye(len(gram))
            self.soft.weight.copy_(torch.linalg.solve(gram, (vectors - middle).T @ (words - mean)).T)
            self.soft.bias.copy_(mean - self.soft.weight @ middle)
        if self.codes is not None:
            self.codes.table.copy_(self.codes.centroids @ self.soft.weight.T)

    def _mean_words(self, items: Int64s) -> Tensor:
        """The mean embedding of each title's tokens: [n x h]."""
        table = self.network.get_input_embeddings()
        size, start = self.titles.size[items], self.titles.start[items]
        owner = np.repeat(np.arange(len(items)), size)
        steps = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        tokens = torch.from_numpy(self.titles.tokens[np.repeat(start, size) + steps])
        total = torch.zeros(len(items), self.width)
        total.index_add_(0, torch.from_numpy(owner), table(tokens).float())
        return total / torch.from_numpy(size)[:, None]

    def _refuse_longer(self, settings: LlmSettings) -> None:
        most = len(self.titles.prompt) + settings.history_items * (settings.title_tokens + self.soft_tokens)
        room = longest_text(self.network)
        if room is not None and most > room:
            raise ConfigError(
                f"llm: a history may take {most} tokens, but the model has positions for {room}; "
                "lower train.history_items or train.title_tokens"
            )


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
