"""The item side of a saved two-tower model, read row by row: what its items would be with other content.

    v = [W f + c + e, w·f + b - s · margin, s · f]

f the fused vector, which W, c and w see only where there is one; e and b the item's own, where it was ever chosen;
s is `new_item_cosine` for an item that was new when the model was made, and 0 for any other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from pipeline.errors import ShardCorrupt
from pipeline.interactions import Floats
from pipeline.recommend.contract import Content, ItemSide, Rows

FILE = "model.safetensors"


class TowerItems(ItemSide):
    """See above; of what belongs to single items, only the rows asked for are read."""

    def __init__(self, folder: Path) -> None:
        """folder: what `TwoTower.save` wrote. Raises ShardCorrupt if it is not that."""
        self._path = folder / FILE
        shared = ("item.content.weight", "item.content.bias", "item.content_bias", "margin", "new_item_cosine")
        self._weight, self._bias, self._content_bias, self._margin, self._cosine = self._read(shared)

    def vectors(self, content: Content, codes: Rows) -> Floats:
        """See ItemSide: (n, width + 1 + fused width) float32."""
        ids, id_bias, known, new = self._read(("item.ids", "item.id_bias", "known", "new"), codes)
        f, present = content.vectors, content.present.astype(np.float32)
        towers = (f @ self._weight.T + self._bias) * present[:, None] + ids * known[:, None]
        scale = self._cosine * new
        biases = f @ self._content_bias * present + id_bias * known - scale * self._margin
        return np.concatenate([towers, biases[:, None], scale[:, None] * f], axis=1).astype(np.float32)

    def _read(self, names: tuple[str, ...], codes: Rows | None = None) -> list[Floats]:
        try:
            with safe_open(self._path, framework="numpy") as file:
                if codes is None:
                    return [file.get_tensor(name) for name in names]
                return [_rows(file.get_slice(name), codes) for name in names]
        except (OSError, SafetensorError) as error:
            raise ShardCorrupt(
                f"{self._path}: not the weights of a two-tower model of this version ({error}); run the night again"
            ) from None


def _rows(table: object, codes: Rows) -> Floats:
    read = [table[int(code) : int(code) + 1] for code in codes]  # type: ignore[index]
    return np.concatenate(read) if read else np.asarray(table[0:0])  # type: ignore[index]
