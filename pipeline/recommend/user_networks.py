"""Users that a network reads from their histories, without the model: the network as ONNX, and its items row by row.

| in the model's folder | what it holds |
|---|---|
| user.onnx | the network, whose inputs are some of INPUTS, for one user of any length of history |
| user.safetensors | `items`, (n_items, d) float32, what it reads each item as; and how histories are cut |
| beside/ | what makes the rest of the vector, where there is more: such a network again, or a sum |

A network says nothing of which choice added what: such users are made of a history, and not explained by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from pipeline.interactions import Floats, Interactions
from pipeline.recommend.item_sides import SavedRows
from pipeline.recommend.sides import FoldSide, PastOf
from pipeline.training.exported import Run, export, loaded
from pipeline.training.windows import latest

if TYPE_CHECKING:
    from torch import nn

    from pipeline.recommend.user_sides import AdditiveUsers

NETWORK, ROWS, BESIDE = "user.onnx", "user.safetensors", "beside"
# What a network may read of a user, by name. Of each of h choices, newest first: its row, (1, h, d) float32; whether
# there is one, (1, h) bool, false only where a user has none, whose h is 1; how many are newer and by how many days the
# newest is, as in `training.windows`, and its weight, (1, h) float32. And the profile, (1, w) float32, zeros without.
INPUTS = ("items", "present", "newer", "gap_days", "weight", "profile")
EXAMPLE_LENGTH = 3


@dataclass(frozen=True)
class UserNetwork:
    """What reads a user's history, in a fitted model.

    network: takes `reads`, some of INPUTS, and the profile last where it has a width; returns (1, d), the vector or
    what it begins with. items: (n_items, d) float32. history_items: the latest choices that are read; 0 for all.
    described: whether choices of items whose row is zero are left out. beside: what makes the rest of the vector.
    """

    network: nn.Module
    reads: tuple[str, ...]
    items: Floats
    history_items: int = 0
    profile_width: int = 0
    described: bool = False
    beside: AdditiveUsers | UserNetwork | None = None

    def save(self, folder: Path) -> None:
        """Writes the files above."""
        import torch

        inputs = dict(zip(INPUTS, _inputs(self.items, self._example(), 0, self.profile_width, None), strict=True))
        names = (*self.reads, *(["profile"] if self.profile_width else []))
        where = next((weight.device for weight in self.network.parameters()), torch.device("cpu"))
        example = {name: torch.from_numpy(inputs[name]).to(where) for name in names}
        export(self.network, example, dict.fromkeys(self.reads, 1), folder / NETWORK)
        told = {"history_items": self.history_items, "profile": self.profile_width, "described": self.described}
        numbers = {name: np.array([value], np.int64) for name, value in told.items()}
        save_file({"items": np.ascontiguousarray(self.items), **numbers}, folder / ROWS)
        if self.beside is not None:
            (folder / BESIDE).mkdir()
            self.beside.save(folder / BESIDE)

    def _example(self) -> Interactions:
        none = np.zeros(EXAMPLE_LENGTH, np.int32)
        ages = np.arange(EXAMPLE_LENGTH, 0, -1, dtype=np.float64)
        return Interactions(none, none, ages, np.ones(EXAMPLE_LENGTH, np.float32), 1, len(self.items))


class NetworkUser(FoldSide):
    """See above; of what belongs to single items, only the rows asked for are read."""

    def __init__(self, folder: Path, kind: str, beside: FoldSide | None) -> None:
        """folder: what `UserNetwork.save` wrote. Raises ShardCorrupt if it is not that."""
        self._path, self._kind, self._beside = folder / NETWORK, kind, beside
        self._file = SavedRows(folder / ROWS, kind)
        told = self._file.read(("history_items", "profile", "described"))
        self._history_items, self._width, self._described = (int(number) for (number,) in told)
        self.profiles = self._width > 0 or (beside is not None and beside.profiles)

    def prepare(self) -> None:
        """See FoldSide."""
        _ = self._network
        if self._beside is not None:
            self._beside.prepare()

    def fold_in(self, past: PastOf) -> Floats:
        """See FoldSide."""
        (items,) = self._file.read(("items",), past.codes)
        history, (names, run) = past.history, self._network
        if self._described:
            history = history.subset((items != 0).any(axis=1)[history.item])
        given = dict(zip(INPUTS, _inputs(items, history, self._history_items, self._width, past.profile), strict=True))
        (user,) = run({name: given[name] for name in names})
        return user if self._beside is None else np.concatenate([user, self._beside.fold_in(past)])

    @cached_property
    def _network(self) -> tuple[tuple[str, ...], Run]:
        return loaded(self._path, f"what reads the users of a {self._kind} model of this version")


def _inputs(
    items: Floats, history: Interactions, most: int, profile_width: int, profile: Floats | None
) -> list[np.ndarray]:
    """Everything of INPUTS. items: (n, d), of the history's places. most: choices at most, 0 for all."""
    size = min(len(history), most or len(history))
    told = np.zeros((1, profile_width), np.float32) if profile is None else profile[None].astype(np.float32)
    if not size:
        nothing, absent = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.bool_)
        return [np.zeros((1, 1, items.shape[1]), np.float32), absent, nothing, nothing, nothing + 1, told]
    end = len(history)
    item, present, gap_days, newer = latest(history, np.zeros(1, np.int64), np.array([end]), size)
    return [items[item], present, newer, gap_days, history.weight[end - size :][None, ::-1].copy(), told]
