"""Given vectors in Parquet: a column of lists of numbers beside `item_id`, as any library writes it.

The lists are FixedSizeList, list or large_list, all of one width. An item whose list is null or empty has no vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import SourceError
from pipeline.interactions import Floats, Int64s, Mask

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("vector", "embedding")
BATCH_ROWS = 4096


@dataclass(frozen=True)
class VectorTable:
    """A Parquet file of vectors. name: what errors call it. column: of the lists; the first of COLUMNS, if empty."""

    path: Path
    name: str
    column: str = ""

    @cached_property
    def vector_column(self) -> str:
        """The column of the lists. Raises SourceError if there is none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(self.path)
        column = next((name for name in ([self.column] if self.column else COLUMNS) if name in schema.names), None)
        if column is None or "item_id" not in schema.names:
            lacking = "item_id" if column else self.column or " or ".join(COLUMNS)
            raise SourceError(
                f"{self.name}: needs item_id and a column of vectors, and has no {lacking}; it has "
                f"{', '.join(schema.names)}; name the one of vectors by the encoder's `column`"
            )
        kind = schema.field(column).type
        if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise SourceError(f"{self.name}: its column {column} is {kind}; needs lists of numbers, all of one width")
        return column

    def shape(self) -> tuple[tuple[int, int], np.dtype]:
        """Rows and width, and the type of the numbers; of the lists, those before the first vector are read."""
        import pyarrow.parquet as pq

        lengths = (_lengths(batch) for _, batch in self._batches())
        width = next((int(own[own > 0][0]) for own in lengths if own.any()), 0)
        numbers = pq.read_schema(self.path).field(self.vector_column).type.value_type
        return (pq.read_metadata(self.path).num_rows, width), np.dtype(numbers.to_pandas_dtype())

    def vectors(self, width: int) -> tuple[Floats, Mask]:
        """(rows, width) float32, where a number is null NaN, and (rows,) bool, who has a vector.

        Raises SourceError if a list is of another width.
        """
        import pyarrow.parquet as pq

        rows = pq.read_metadata(self.path).num_rows
        vectors, present = np.empty((rows, width), np.float32), np.zeros(rows, bool)
        for start, batch in self._batches():
            lengths, own = _lengths(batch), slice(start, start + len(batch))
            wrong = np.flatnonzero((lengths > 0) & (lengths != width))
            if len(wrong):
                self._refuse_width(start + int(wrong[0]), int(lengths[wrong[0]]), width)
            present[own] = lengths > 0
            numbers = batch.flatten().to_numpy(zero_copy_only=False)
            vectors[own][present[own]] = np.asarray(numbers, np.float32).reshape(-1, width)
        return vectors, present

    def ids(self) -> tuple[pa.ChunkedArray, Int64s]:
        """The ids, sorted, and the row of each; null ones are left out. Raises SourceError if one stands twice."""
        import pyarrow.compute as pc

        ids = self._ids()
        order = pc.sort_indices(ids)[: len(ids) - ids.null_count]
        ordered = ids.take(order)
        twice = pc.equal(ordered[1:], ordered[:-1])
        if pc.any(twice).as_py():
            item_id = ordered[pc.index(twice, True).as_py()]
            raise SourceError(f"{self.name}: item_id {item_id} stands twice; give each item one vector")
        return ordered, order.to_numpy().astype(np.int64)

    def _ids(self) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pq.read_table(self.path, columns=["item_id"])["item_id"].cast(pa.string())

    def _batches(self) -> Iterator[tuple[int, pa.Array]]:
        """Some lists at a time, and the row of the first: a whole row group beside its decoded numbers would be three
        times the vectors.
        """
        import pyarrow.parquet as pq

        start = 0
        with pq.ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=[self.vector_column]):
                yield start, batch.column(0)
                start += len(batch)

    def _refuse_width(self, row: int, found: int, width: int) -> None:
        raise SourceError(
            f"{self.name}: the vector of item_id {self._ids()[row]} has {found} numbers, and those before it {width}; "
            "give vectors of one width"
        )


def _lengths(lists: pa.Array) -> Int64s:
    """How many numbers each list has, 0 where it is null: (n,) int64."""
    import pyarrow.compute as pc

    return np.asarray(pc.list_value_length(lists).fill_null(0), np.int64)
