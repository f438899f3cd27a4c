"""array: vectors that are given instead of made: a row of a file for each item.

| file | an item's column holds |
|---|---|
| .npy, (rows, width), memory-mapped | the number of its row, from 0 |
| .parquet, `item_id` and `vector` (FixedSizeList) | the `item_id` of its row |

The column is `image` or `audio`, or what `template` gives for text; for a modality of the user's own, the item's
`item_id` stands in its place. The file lies in the media folder. An item whose column is blank or names no row, or
whose row is zero or not finite, has no such modality. Nothing is unpickled.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from pipeline.config.shared import Array
from pipeline.encoders.base import Encoder, Input, Raw
from pipeline.errors import MediaError, SourceError
from pipeline.workspace import digest, sha256_of

VERSION = 1


class ArrayEncoder(Encoder):
    """Looks an item's vector up: `decode` gives its row, (width,) float32."""

    Settings = Array
    window = 8192
    batch_cost = window

    def __init__(self, settings: Array, root: Path | None, absent: str = "") -> None:
        """Raises SourceError if the file cannot be found below `root`.

        absent: why an item without a row has no vector, where that is no fault of the row.
        """
        from pipeline.media import find_media

        super().__init__()
        self.absent = absent
        self.settings = settings
        try:
            self.path = find_media(root or Path(), settings.file)
        except MediaError as error:
            raise SourceError(f"given vectors {settings.file}: {error}; set source.media_root to its folder") from None
        self.model = settings.file
        state = self.path.stat()
        self.identity = digest("array", VERSION, _sha256(self.path, state.st_size, state.st_mtime_ns))

    def load(self) -> None:
        """Opens the file. Raises SourceError if it is not whole, or no table of numbers."""
        from pyarrow import ArrowException

        try:
            self.vectors, self.positions = _opened(self.path)
        except (ValueError, OSError, KeyError, ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise SourceError(f"given vectors {self.settings.file}: cannot be read ({reason})") from None
        shape, kind = self.vectors.shape, self.vectors.dtype
        if len(shape) != 2 or 0 in shape or kind.kind not in "fiu":
            raise SourceError(
                f"given vectors {self.settings.file}: needs rows of numbers, found shape {shape} of {kind}"
            )
        self.width = shape[1]

    def decode(self, raw: Raw) -> Input:
        """The row that the item's column names. Raises MediaError if there is none."""
        assert isinstance(raw, bytes)
        name = raw.decode().strip()
        if self.positions is not None:
            row, fault = self.positions.get(name), "no item_id of the file"
        else:
            numbered = name.isascii() and name.isdigit() and int(name) < len(self.vectors)
            row, fault = int(name) if numbered else None, f"not a number from 0 to {len(self.vectors) - 1}"
        if row is None:
            raise MediaError(self.absent or f"no such row: {name[:40]} is {fault}")
        return [np.asarray(self.vectors[row], np.float32)]


def _opened(path: Path) -> tuple[np.ndarray, dict[str, int] | None]:
    """The vectors of a file, (rows, width), and of Parquet the row of each `item_id`."""
    if path.suffix != ".parquet":
        return np.load(path, mmap_mode="r", allow_pickle=False), None
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.artefacts.vectors import matrix

    table = pq.read_table(path, columns=["item_id", "vector"])
    if not pa.types.is_fixed_size_list(table.schema.field("vector").type):
        raise ValueError(f"its column vector is {table.schema.field('vector').type}, not a FixedSizeList")
    return matrix(table["vector"]), {str(name): row for row, name in enumerate(table["item_id"].to_pylist())}


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Cached while the file is unchanged: every step needs it."""
    return sha256_of(path)
