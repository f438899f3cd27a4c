"""What an export sends: the items, users and lists of one published index, some rows at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.artefacts.published import ITEMS, LISTS, RECOMMEND, USERS, Published
from pipeline.artefacts.read import read_blocks, rows_of, schema_of
from pipeline.artefacts.vectors import matrix
from pipeline.interactions import Floats

if TYPE_CHECKING:
    import faiss

BLOCK_ROWS = 16_384
FILES = {"items": ITEMS, "users": USERS, "lists": LISTS}


@dataclass(frozen=True)
class Block:
    """Some rows of a table, the first of them `start`. vectors: (b, d) float32 of them, (b, 0) where they have none."""

    start: int
    table: pa.Table
    vectors: Floats


def apart(table: pa.Table, taken: Collection[str]) -> pa.Table:
    """The table with `_` behind the names of attributes that a place has a meaning for."""
    return table.rename_columns([f"{name}_" if name in taken else name for name in table.column_names])


@dataclass(frozen=True)
class Contents:
    """A published index as its tables. Whatever reads raises ShardCorrupt if a file is not what it was."""

    published: Published

    @property
    def digest(self) -> str:
        """The name of the index."""
        return self.published.digest

    @cached_property
    def item_index(self) -> faiss.Index:
        """`recommend.faiss`, whose vectors can be read by row."""
        import faiss

        index = self.published.faiss(RECOMMEND)
        cells = faiss.try_extract_index_ivf(index)
        if cells is not None:
            cells.make_direct_map()
        return index

    @property
    def width(self) -> int:
        """d: how many numbers a vector has."""
        return int(self.item_index.d)

    @property
    def n_items(self) -> int:
        """The number of items."""
        return int(self.item_index.ntotal)

    def count(self, name: str) -> int:
        """The rows of `items`, `users` or `lists`."""
        return rows_of(self.published.path(FILES[name]))

    @property
    def item_schema(self) -> pa.Schema:
        """The columns of `items`."""
        return schema_of(self.published.path(ITEMS))

    def vectors(self, start: int, stop: int) -> Floats:
        """The items' vectors from one row to another: (stop - start, d) float32, of any norm."""
        return np.asarray(self.item_index.reconstruct_n(start, stop - start), np.float32)

    def items(self) -> Iterator[Block]:
        """`item_id`, `title` and attributes, with the items' vectors."""
        for start, table in self._tables(ITEMS):
            yield Block(start, table, self.vectors(start, start + len(table)))

    def users(self) -> Iterator[Block]:
        """`user_id` and `seen`, the ids of what each has chosen, with the users' vectors."""
        for start, table in self._tables(USERS):
            yield Block(start, table.drop_columns(["vector"]), matrix(table["vector"]))

    def lists(self) -> Iterator[Block]:
        """`user_id`, `rank` from 1, `item_id` and `score`: each user's one list."""
        for start, table in self._tables(LISTS):
            yield Block(start, table, np.zeros((len(table), 0), np.float32))

    def lists_by_user(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Each user, and the item ids and scores of their one list, best first."""

        def rows() -> Iterator[tuple[str, str, float]]:
            for block in self.lists():
                columns = (block.table[name].to_pylist() for name in ("user_id", "item_id", "score"))
                yield from zip(*columns, strict=True)

        for user, own in groupby(rows(), key=lambda row: row[0]):
            yield user, [(item, score) for _, item, score in own]

    def _tables(self, name: str) -> Iterator[tuple[int, pa.Table]]:
        """A file's rows in blocks of BLOCK_ROWS, whatever groups it has, so that a block is the same every time."""
        path = self.published.path(name)
        schema, start = schema_of(path), 0
        held = schema.empty_table()
        for _, batch in read_blocks(path, schema.names):
            held = pa.concat_tables([held, pa.Table.from_batches([batch]).cast(schema)])
            while len(held) >= BLOCK_ROWS:
                yield start, held.slice(0, BLOCK_ROWS).combine_chunks()
                held, start = held.slice(BLOCK_ROWS), start + BLOCK_ROWS
        if len(held):
            yield start, held.combine_chunks()
