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

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.config.shared import Array
from pipeline.encoders.base import Encoder, Input, Raw
from pipeline.errors import MediaError, SourceError
from pipeline.workspace import digest, sha256_of

VERSION = 1


class Rows(ABC):
    """The vectors of a file, (rows, width), and where an item's is."""

    vectors: np.ndarray

    @abstractmethod
    def position(self, name: str) -> int:
        """The row that an item's column names. Raises MediaError if there is none."""


class Numbered(Rows):
    """Rows of a .npy file, found by their number."""

    def __init__(self, path: Path) -> None:
        self.vectors = np.load(path, mmap_mode="r", allow_pickle=False)

    def position(self, name: str) -> int:
        """See Rows."""
        if not (name.isascii() and name.isdigit() and int(name) < len(self.vectors)):
            raise MediaError(f"no such row: {name[:40]} is not a number from 0 to {len(self.vectors) - 1}")
        return int(name)


class Named(Rows):
    """Rows of a Parquet file, found by their `item_id`."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from pipeline.artefacts.vectors import matrix

        table = pq.read_table(path, columns=["item_id", "vector"])
        if not pa.types.is_fixed_size_list(table.schema.field("vector").type):
            raise ValueError(f"its column vector is {table.schema.field('vector').type}, not a FixedSizeList")
        self.vectors = matrix(table["vector"])
        self.positions = {str(name): row for row, name in enumerate(table["item_id"].to_pylist())}

    def position(self, name: str) -> int:
        """See Rows."""
        if name not in self.positions:
            raise MediaError(f"no such row: {name[:40]} is no item_id of the file")
        return self.positions[name]


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
            self.rows: Rows = (Named if self.path.suffix == ".parquet" else Numbered)(self.path)
        except (ValueError, OSError, KeyError, ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise SourceError(f"given vectors {self.settings.file}: cannot be read ({reason})") from None
        shape, kind = self.rows.vectors.shape, self.rows.vectors.dtype
        if len(shape) != 2 or 0 in shape or kind.kind not in "fiu":
            raise SourceError(
                f"given vectors {self.settings.file}: needs rows of numbers, found shape {shape} of {kind}"
            )
        self.width = shape[1]

    def decode(self, raw: Raw) -> Input:
        """The row that the item's column names. Raises MediaError if there is none."""
        assert isinstance(raw, bytes)
        try:
            row = self.rows.position(raw.decode().strip())
        except MediaError as error:
            raise MediaError(self.absent or str(error)) from None
        return [np.asarray(self.rows.vectors[row], np.float32)]


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Cached while the file is unchanged: every step needs it."""
    return sha256_of(path)
