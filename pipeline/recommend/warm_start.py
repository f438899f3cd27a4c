"""What this fit takes from an earlier night's: initial weights or singular vectors, and hard negatives.

An evaluated fit is given the earlier evaluated fit, and a published one the earlier published: the latter has seen what
this night's test part holds. Items and users are matched by their ids; what the earlier night did not have begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors import safe_open
from torch import Tensor

from pipeline.artefacts.model import Fitted
from pipeline.artefacts.read import FULL, readable
from pipeline.evaluation.ranking import InnerProduct, best_of
from pipeline.interactions import Floats, Int32s, Int64s, Interactions
from pipeline.recommend.item_sides import FILE
from pipeline.recommend.two_tower_batches import BLOCK_ROWS


@dataclass(frozen=True)
class Before:
    """An earlier fit: its weights by name, and how its vectors are read, (n_items, d) and (n_users, d) float32.

    rows: for `items` and for `users`, (n,) int64, the earlier row of each of today's, -1 for none. counts: of the
    earlier rows. warm_start: whether training begins at the weights.
    """

    weights: Mapping[str, Tensor]
    vectors: Callable[[], tuple[Floats, Floats]]
    rows: Mapping[str, Int64s]
    counts: Mapping[str, int]
    warm_start: bool

    @staticmethod
    def read(folder: Path, member: str, items: list[str], users: list[str], warm_start: bool) -> Before:
        """folder: `evaluated` or `published` of a trained model. member: whose weights in a blend, else empty.

        items and users: today's ids, by code.
        """
        fit = Fitted(folder)
        earlier = {"items": fit.item_ids(), "users": fit.user_ids()}
        rows = {"items": _places(items, earlier["items"]), "users": _places(users, earlier["users"])}
        counts = {name: len(ids) for name, ids in earlier.items()}
        weights = SavedTensors(folder / member / FILE)
        return Before(weights, lambda: (fit.items()[1], fit.users()[1]), rows, counts, warm_start)

    def of_items(self, name: str) -> Floats | None:
        """A weight with a row for each item, as rows of today's, (n_items, d), zero for a new one; None if not there.

        Read anew: what is as large as a catalogue is the caller's to hold.
        """
        weight = self.weights.get(name)
        if weight is None or len(weight) != self.counts["items"]:
            return None
        rows = self.rows["items"]
        own: Floats = weight.numpy()[np.maximum(rows, 0)]
        own[rows < 0] = 0
        return own

    @torch.no_grad()
    def begin(self, weights: Mapping[str, Tensor], tables: Mapping[str, tuple[str, ...]]) -> None:
        """Copies into today's weights what the earlier fit has of them.

        tables: of the weights with a row for each item or user, whose rows they are, one after the other. A weight
        whose shape has changed stays as it was drawn.
        """
        for name, weight in weights.items():
            earlier = self.weights.get(name)
            if earlier is None or earlier.shape[1:] != weight.shape[1:] or earlier.dim() != weight.dim():
                continue
            if name in tables:
                starts = np.cumsum([0, *(self.counts[of] for of in tables[name])])
                if len(earlier) != starts[-1]:
                    continue
                parts = [np.where(self.rows[of] < 0, -1, self.rows[of] + at) for of, at in zip(tables[name], starts)]  # noqa: B905
                places = torch.from_numpy(np.concatenate(parts))
                weight[(places >= 0).to(weight.device)] = earlier[places[places >= 0]].to(weight)
            elif earlier.shape == weight.shape:
                weight.copy_(earlier)

    def hard(self, train: Interactions, count: int) -> Int32s:
        """Each user's hard negatives, the best unchosen items by the earlier vectors: (n_users, count), or -1.

        Only items that anybody chose in `train`: of a new item, that nobody chose it says nothing.
        """
        rows = self.rows["items"]
        codes = np.flatnonzero((rows >= 0) & (train.item_counts() > 0))
        item_vectors, user_vectors = self.vectors()
        vectors = item_vectors[rows[codes]]
        place = np.full(train.n_items, -1)
        place[codes] = np.arange(len(codes))
        lists = np.full((train.n_users, count), -1, np.int32)
        for block in train.user_blocks(BLOCK_ROWS):
            log, earlier = train.of_users(block), self.rows["users"][block.start : block.stop]
            known = np.flatnonzero(earlier >= 0) if len(codes) else np.empty(0, np.int64)
            chosen = log.matrix()
            users = user_vectors[np.maximum(earlier, 0)]
            ranked = best_of(InnerProduct(users, vectors), np.arange(len(codes)))
            for part in np.split(known, range(ranked.rows, len(known), ranked.rows)):
                history = chosen[part]
                seen = np.repeat(np.arange(len(part)), np.diff(history.indptr)), place[history.indices]
                hidden = seen[0][seen[1] >= 0], seen[1][seen[1] >= 0]
                best, scores = ranked.of(part.astype(np.int32), hidden, count)
                items = np.where(np.isfinite(scores), codes[best], -1)
                lists[block.start + part, : best.shape[1]] = items
        return lists


class SavedTensors(Mapping[str, Tensor]):
    """The tensors of a file, each read when it is asked for; none if there is no file.

    Raises ShardCorrupt if it is not one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: tuple[str, ...] = ()
        if path.exists():
            with self._open() as file:
                self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with self._open() as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    @contextmanager
    def _open(self) -> Iterator[Any]:
        fault = "not the weights that the published night fitted"
        with readable(self._path, fault, FULL), safe_open(self._path, framework="pt") as file:
            yield file

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _places(ids: list[str], earlier: pa.ChunkedArray) -> Int64s:
    places = pc.index_in(pa.array(ids, pa.string()), earlier.cast(pa.string()))
    return np.asarray(pc.fill_null(places, -1).to_numpy(), np.int64)
