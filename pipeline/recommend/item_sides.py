"""The item side of a saved model, read row by row: what its items would be with other content.

    two towers:  v = [W f + c + e, w·f + b - s · margin, s · f]
    sequence:    v = [(W f + e + c) / |W f + e + c|, below], and llm the same

f the fused vector, which W, c and w see only where there is one; e and b the item's own, where it was ever chosen;
s is `new_item_cosine` for an item that was new when the model was made, and 0 for any other; c is the sum of what was
learned for the codes of f, where the model has semantic ids; below is 0 but for an item that had neither content nor
anyone who chose it.

    blend:       v = [a v' of each member], v' the member's vector, or its `neutral` where that is zero

a the member's factor; the vector of a member that cannot be made again stays what it is, whatever the content.

    vbpr:        v = o + sum of p_m over its modalities m,    o = [e, 0, b],   p_m = [0, W_m f_m, β_m·f_m]
    graph:       v = [h / |h|, b],    h = e + sum of p_m,    p_m = W_m f_m + w / M · S_m z

f_m are each modality's own vectors, and z of the neighbours is what it is with all that they have. o and p_m are saved
for every item.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.interactions import Floats, Int64s, unit_rows
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content
from pipeline.recommend.semantic_ids import Codebooks
from pipeline.recommend.sides import ItemSide

FILE = "model.safetensors"
BLEND_FILE = "blend.safetensors"
PARTS_FILE = "parts.safetensors"


class TowerItems(ItemSide):
    """See above; of what belongs to single items, only the rows asked for are read."""

    def __init__(self, folder: Path) -> None:
        """folder: what `TwoTower.save` wrote. Raises ShardCorrupt if it is not that."""
        self._file = SavedRows(folder / FILE, "two-tower")
        shared = ("item.content.weight", "item.content.bias", "item.content_bias", "margin", "new_item_cosine")
        self._weight, self._bias, self._content_bias, self._margin, self._cosine = self._file.read(shared)

    def vectors(self, content: Content, codes: Int64s, modalities: Collection[str]) -> Floats:
        """See ItemSide: (n, width + 1 + fused width) float32."""
        ids, id_bias, known, new = self._file.read(("item.ids", "item.id_bias", "known", "new"), codes)
        f, present = content.vectors, content.present.astype(np.float32)
        towers = (f @ self._weight.T + self._bias) * present[:, None] + ids * known[:, None]
        scale = self._cosine * new
        biases = f @ self._content_bias * present + id_bias[:, 0] * known - scale * self._margin
        return np.concatenate([towers, biases[:, None], scale[:, None] * f], axis=1).astype(np.float32)


class SequenceItems(ItemSide):
    """See above, likewise."""

    def __init__(self, folder: Path, kind: str) -> None:
        """folder: what `save` of a sequence model or an llm wrote. Raises ShardCorrupt if it is not that."""
        self._file = SavedRows(folder / FILE, kind)
        (self._weight,) = self._file.read(("items.content.weight",))
        names = ("items.shared.centroids", "items.shared.table")
        self._shared = self._file.read(names) if names[0] in self._file.names() else None

    def vectors(self, content: Content, codes: Int64s, modalities: Collection[str]) -> Floats:
        """See ItemSide: (n, width + 1) float32."""
        ids, known, below = self._file.read(("items.ids", "known", "below"), codes)
        f = content.vectors * content.present[:, None]
        unit = unit_rows(f @ self._weight.T + ids * known[:, None] + self._of_codes(content))
        return np.concatenate([unit, below[:, None]], axis=1).astype(np.float32)

    def _of_codes(self, content: Content) -> Floats:
        """What the semantic ids of this content add: (n, width) float32."""
        if self._shared is None:
            return np.zeros((len(content.vectors), len(self._weight)), np.float32)
        centroids, table = self._shared
        codes = Codebooks(centroids).codes(content.vectors, content.present)
        sums: Floats = table[np.arange(codes.shape[1]), np.maximum(codes, 0)].sum(axis=1) * content.present[:, None]
        return sums


class SummedItems(ItemSide):
    """See above, likewise."""

    reads_fused = False

    def __init__(self, folder: Path, kind: str, unit: bool) -> None:
        """folder: what `save_parts` wrote. unit: whether all but the last column are scaled to unit norm.

        Raises ShardCorrupt if the folder is not that.
        """
        self._file = SavedRows(folder / PARTS_FILE, kind)
        self._names = self._file.names()
        self._unit = unit

    def vectors(self, content: Content, codes: Int64s, modalities: Collection[str]) -> Floats:
        """See ItemSide: (n, d) float32."""
        names = sorted(self._names & {f"part.{name}" for name in modalities})
        own, *parts = self._file.read(("own", *names), codes)
        sums = own.copy()
        for part in parts:
            sums[:, -part.shape[1] :] += part
        if self._unit:
            sums[:, :-1] = unit_rows(sums[:, :-1])
        return sums


def save_parts(folder: Path, own: Floats, parts: Mapping[str, Floats]) -> None:
    """Writes what item vectors are sums of. own: (n_items, d) float32. parts: of each modality, its last columns."""
    tensors = {"own": own, **{f"part.{name}": part for name, part in parts.items()}}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / PARTS_FILE)


class BlendItems(ItemSide):
    """See above."""

    def __init__(self, folder: Path) -> None:
        """folder: what `BlendModel.save` wrote. Raises ShardCorrupt if it is not that."""
        self._file = SavedRows(folder / BLEND_FILE, "blend")
        self.sides = {name: kind_of(name).item_side(folder / name) for name in self._file.metadata()["members"].split()}
        self.fixed = tuple(name for name, side in self.sides.items() if side is None)
        self.reads_fused = any(side.reads_fused for side in self.sides.values() if side is not None)

    def vectors(self, content: Content, codes: Int64s, modalities: Collection[str]) -> Floats:
        """See ItemSide: (n, sum of the members' widths) float32."""
        return np.concatenate([self._member(name, content, codes, modalities) for name in self.sides], axis=1)

    def _member(self, name: str, content: Content, codes: Int64s, modalities: Collection[str]) -> Floats:
        factor, neutral = self._file.read((f"{name}.factor", f"{name}.neutral"))
        side = self.sides[name]
        if side is None:
            (items,) = self._file.read((f"{name}.items",), codes)
        else:
            items = side.vectors(content, codes, modalities)
            items = np.where(items.any(axis=1, keepdims=True), items, neutral)
        return (items * factor).astype(np.float32)


class SavedRows:
    """A file of a model's weights; kind: which model's, for the message.

    Once it was read, it stays readable, also where its folder is swept meanwhile.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        self._file: Any = None

    def names(self) -> set[str]:
        """The tensors' names. Raises ShardCorrupt if it is not such a file."""
        with self._open() as file:
            return set(file.keys())

    def read(self, names: tuple[str, ...], codes: Int64s | None = None) -> list[Floats]:
        """The named tensors, or their rows of some items. Raises ShardCorrupt if they are not there."""
        with self._open() as file:
            if codes is None:
                return [file.get_tensor(name) for name in names]
            return [_rows(file.get_slice(name), codes) for name in names]

    def metadata(self) -> dict[str, str]:
        """What is written beside the tensors. Raises ShardCorrupt if the file is not what it should be."""
        with self._open() as file:
            return dict(file.metadata() or {})

    @contextmanager
    def _open(self) -> Iterator[Any]:
        from pipeline.artefacts.read import readable  # imports pyarrow

        fault = f"not the weights of a {self._kind} model of this version"
        with readable(self._path, fault):
            self._file = self._file or safe_open(self._path, framework="numpy")
            yield self._file


def _rows(table: object, codes: Int64s) -> Floats:
    read = [table[int(code) : int(code) + 1] for code in codes]  # type: ignore[index]
    return np.concatenate(read) if read else np.asarray(table[0:0])  # type: ignore[index]
