"""A Parquet file that is mapped once and asked many times, from many threads.

What is read of it are the groups of rows that a question is about: those that hold some rows, or those whose statistics
allow some ids. The file stays readable while it is open, also where its folder is swept meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artefacts.read import AGAIN, VERIFIED, readable
from pipeline.artefacts.verified import Blocks

if TYPE_CHECKING:
    import pyarrow as pa

# What a Parquet file ends with: the length of its metadata, and `PAR1`.
FOOTER = 8


class MappedTable:
    """See above. hint: the way out, said where the file is not what it was.

    Every method that reads raises ShardCorrupt if a page has changed, or the file has no such column.
    """

    def __init__(self, path: Path, hint: str = AGAIN, sha256: Sequence[str] | None = None) -> None:
        """sha256: of the file's blocks, each of which is then verified before anything is read from it.

        Raises ShardCorrupt if the file cannot be read, or is not Parquet.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path, self._hint = path, hint
        self._blocks: Blocks | None = None
        with readable(path, hint=hint):
            self._source = pa.memory_map(str(path))
            if sha256 is not None:
                self._blocks = Blocks(path, memoryview(self._source.read_buffer()), sha256, hint)
                self._blocks.verify_end(FOOTER)
                self._blocks.verify_end(FOOTER + self._blocks.number(FOOTER))
            self._metadata = pq.read_metadata(self._source)

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self._metadata.schema.to_arrow_schema().names)

    def __len__(self) -> int:
        return int(self._metadata.num_rows)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows."""
        return self._groups(range(self._metadata.num_row_groups), columns)

    def at(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Some rows, one for one."""
        import pyarrow as pa

        with readable(self.path, hint=self._hint):
            of = [bisect_right(self._ends, row) for row in rows]
            groups = sorted(set(of))
            starts = dict(zip(groups, accumulate((self._sizes[group] for group in groups), initial=0), strict=False))
            places = [starts[at] + row - (self._ends[at] - self._sizes[at]) for at, row in zip(of, rows, strict=True)]
            return self._groups(groups, columns).take(pa.array(places, pa.int64()))

    def of(self, column: str, ids: Collection[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows whose text in a column is one of some, in the order of rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        with readable(self.path, hint=self._hint):
            wanted, groups = pa.array(sorted(set(ids)), pa.string()), self._holding(column, sorted(set(ids)))
            # The ids first: of most groups that may hold them, no row is wanted.
            places = [pc.indices_nonzero(pc.is_in(self._groups([at], [column])[column], wanted)) for at in groups]
            parts = [
                self._groups([at], columns).take(rows) for at, rows in zip(groups, places, strict=True) if len(rows)
            ]
            return pa.concat_tables(parts or [self._groups([], columns)])

    def _holding(self, column: str, ids: list[str]) -> list[int]:
        """The groups that may hold some sorted ids, by their statistics."""
        lows, highs = self._ranges(column)
        starts = (bisect_right(ids, high) for high in highs)
        return [at for at, (low, end) in enumerate(zip(lows, starts, strict=True)) if end and ids[end - 1] >= low]

    def _ranges(self, column: str) -> tuple[list[str], list[str]]:
        """The first and last text of a column in each group; of one without statistics, what allows all."""
        if column not in self._known:
            leaves = [self._metadata.schema.column(at).path for at in range(self._metadata.num_columns)]
            place = leaves.index(column)
            groups = (self._metadata.row_group(at) for at in range(self._metadata.num_row_groups))
            bounds = [group.column(place).statistics for group in groups]
            known = [bound is not None and bound.has_min_max for bound in bounds]
            self._known[column] = (
                [bound.min if there else "" for bound, there in zip(bounds, known, strict=True)],
                [bound.max if there else chr(0x10FFFF) for bound, there in zip(bounds, known, strict=True)],
            )
        return self._known[column]

    @cached_property
    def _known(self) -> dict[str, tuple[list[str], list[str]]]:
        return {}

    @cached_property
    def _sizes(self) -> list[int]:
        return [self._metadata.row_group(at).num_rows for at in range(self._metadata.num_row_groups)]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(self._sizes))

    def _groups(self, groups: Sequence[int], columns: Sequence[str] | None) -> pa.Table:
        import pyarrow.parquet as pq

        names = self.names if columns is None else list(columns)
        with readable(self.path, hint=self._hint):
            self._verify(groups, names)
            file = pq.ParquetFile(self._source, metadata=self._metadata, **VERIFIED)
            return file.read_row_groups(list(groups), names, use_threads=False).select(names)

    def _verify(self, groups: Sequence[int], names: Sequence[str]) -> None:
        """Verifies the blocks of some columns in some groups, where the file is verified by blocks."""
        if self._blocks is None:
            return
        paths = [self._metadata.schema.column(at).path for at in range(self._metadata.num_columns)]
        leaves = [
            at for at, path in enumerate(paths) if any(path == name or path.startswith(f"{name}.") for name in names)
        ]
        for group in map(self._metadata.row_group, groups):
            for column in map(group.column, leaves):
                first = column.data_page_offset
                if column.has_dictionary_page:
                    first = min(first, column.dictionary_page_offset)
                self._blocks.verify(first, first + column.total_compressed_size)
