"""Attention over a history: which of a user's choices tell most of the next one.

The share of choice i, of weight w_i and vector v_i, in a user's vector is a softmax over the history of

    log w_i - φ age_i ln 2 / half life - order · log(1 + newer_i) + latest · cos(v_i, l_i) + rest · cos(v_i, r_i)

with l_i the mean of the latest choices, r_i the decayed mean of the history, both without i itself, and newer_i how
many choices are strictly newer: what a choice tells depends on its age, its place, and how it lies to the others. With
φ = 1 and the others 0 this is the time-decayed mean; `attention_fit` starts there and learns the four numbers.

Shapes are in brackets: b moments of users, h history, d width, n items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import softplus

from pipeline.artefacts.read import readable
from pipeline.interactions import Floats, Int64s, Interactions
from pipeline.training.batches import padded_batches
from pipeline.training.torch_runtime import reproducible
from pipeline.training.windows import windows

LATEST = 3.0  # newer choices that halve a choice's part in the mean of the latest
BLOCK_ROWS = 65_536


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
