"""array: vectors that are given instead of made: a row of a file for each item.

| file | an item's column holds |
|---|---|
| .npy, (rows, width), memory-mapped | the number of its row, from 0 |
| .parquet, `item_id` and lists in `vector`, `embedding` or `settings.column` | the `item_id` of its row |

The column is `image` or `audio`, or what `template` gives for text; for a modality of the user's own, the item's
`item_id` stands in its place. The file lies in the media folder. An item whose column is blank or names no row, or
whose row is null, zero or not finite, has no such modality. Nothing is unpickled. Of Parquet, see
`pipeline.encoders.vector_table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.shared import Array
from pipeline.encoders.base import Encoder, Input, Raw
from pipeline.encoders.vector_table import VectorTable
from pipeline.errors import MediaError, SourceError
from pipeline.workspace import digest

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.artefacts.encoded import Reasons
    from pipeline.interactions import Floats, Int64s, Mask

VERSION = 2
SHOWN_CHARACTERS = 40


class ArrayEncoder(Encoder):
    """Looks vectors up, many at a time: `find` and `read`; `decode` gives one.

    Its identity is the width alone: a vector is known by its own content, so that another file changes what it changes.
    Parquet is read into memory whole, 4 bytes a number and some 30 a row; .npy is mapped.
    """

    Settings = Array
    window = 8192
    batch_cost = window
    seconds_a_row = 1e-5

    def __init__(self, settings: Array, root: Path | None, absent: str = "") -> None:
        """Raises SourceError if the file cannot be found below `root`, cannot be read, or is no table of numbers.

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
        is_table = self.path.suffix == ".parquet"
        self.table = VectorTable(self.path, f"given vectors {settings.file}", settings.column) if is_table else None
        with self._readable():
            shape, kind = self._shape()
        if len(shape) != 2 or 0 in shape or kind.kind not in "fiu":
            raise SourceError(f"given vectors {settings.file}: needs rows of numbers, found shape {shape} of {kind}")
        self.width = shape[1]
        self.identity = digest("array", VERSION, self.width)

    def load(self) -> None:
        """Opens the file. Raises SourceError if it is not whole, a list is of another width, or an id stands twice."""
        with self._readable():
            _ = self._rows, self._ids

    def names(self, items: pa.Table) -> pa.Array | None:
        """What names each item's row, blank where nothing does; None where the modality's own column holds it."""
        return None

    def find(self, names: pa.Array) -> tuple[Int64s, Reasons]:
        """The row of the file that each of some texts names, -1 where none, and then why.

        There is no reason for a null text, and for a row that holds no vector.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        self.load()
        vectors, present = self._rows
        trimmed = pc.utf8_trim_whitespace(names)
        if self._ids is not None:
            fault, (ids, order) = "no item_id of the file", self._ids
            after = pc.fill_null(pc.search_sorted(ids, trimmed, side="right"), 0).to_numpy().astype(np.int64)
            at = pa.array(np.maximum(after - 1, 0))
            same = pc.equal(ids.take(at), trimmed).fill_null(False).to_numpy(zero_copy_only=False)
            places = np.where(same, order[at.to_numpy()], -1)
        else:
            fault = f"not a number from 0 to {len(vectors) - 1}"
            numbered = pc.match_substring_regex(trimmed, "^0*[0-9]{1,18}$")
            places = pc.if_else(numbered, trimmed, "-1").cast(pa.int64()).fill_null(-1).to_numpy()
            places = np.where(places < len(vectors), places, -1)
        problems = np.full(len(names), None, object)
        lacking = np.flatnonzero(places < 0)
        shown = pc.utf8_slice_codeunits(trimmed.take(pa.array(lacking)), 0, SHOWN_CHARACTERS).to_pylist()
        problems[lacking] = [name and (self.absent or f"no such row: {name} is {fault}") for name in shown]
        return places if present is None else np.where(present[places], places, -1), problems

    def read(self, places: Int64s) -> Floats:
        """The vectors of rows of the file, (n, width) float32."""
        return np.asarray(self._rows[0][places], np.float32)

    def decode(self, raw: Raw) -> Input:
        """The row that an item's column names. Raises MediaError if there is none."""
        import pyarrow as pa

        assert isinstance(raw, bytes)
        places, (problem,) = self.find(pa.array([raw.decode()]))
        if places[0] < 0:
            raise MediaError(problem or self.absent or "its vector is null")
        return list(self.read(places))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (ValueError, OSError, KeyError, ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise SourceError(f"given vectors {self.settings.file}: cannot be read ({reason})") from None

    def _shape(self) -> tuple[tuple[int, ...], np.dtype]:
        """The shape of the file's vectors, and the type of their numbers."""
        if self.table:
            return self.table.shape()
        vectors = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return vectors.shape, vectors.dtype

    @cached_property
    def _rows(self) -> tuple[np.ndarray, Mask | None]:
        """The vectors, (rows, width), and which of them are there, (rows,) bool; None for all."""
        if self.table:
            return self.table.vectors(self.width)
        return np.load(self.path, mmap_mode="r", allow_pickle=False), None

    @cached_property
    def _ids(self) -> tuple[pa.ChunkedArray, Int64s] | None:
        """The ids of a Parquet file, sorted, and the row of each."""
        return self.table.ids() if self.table else None
