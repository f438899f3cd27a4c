"""A log in blocks of whole users, so that what training holds in memory does not grow with the log.

A log in memory is cut into slices. A log in a Parquet file is read one row group at a time, and each holds whole users:
`user`, `item` int32, `age_days` float64, `weight` float32, sorted as in `Interactions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StepFailed
from pipeline.interactions import Interactions

COLUMNS = ("user", "item", "age_days", "weight")


@dataclass(frozen=True)
class Block:
    """Some users of a log: the code of the first, and a way to read their interactions, users counted from 0."""

    first_user: int
    read: Callable[[], Interactions]


class ParquetLog:
    """A coded log in a Parquet file, of which one row group is in memory at a time."""

    def __init__(self, path: Path, n_users: int, n_items: int) -> None:
        """Raises StepFailed if a user's interactions are in more than one row group."""
        self.n_users, self.n_items = n_users, n_items
        self._file = pq.ParquetFile(path)
        meta = self._file.metadata
        column = meta.schema.names.index("user")
        ends = [meta.row_group(group).column(column).statistics for group in range(meta.num_row_groups)]
        self._first = [int(end.min) for end in ends]
        if any(int(end.max) >= first for end, first in zip(ends, self._first[1:], strict=False)):
            raise StepFailed(f"{path}: a row group ends within a user's interactions; write it with ParquetLog.write")

    @staticmethod
    def write(path: Path, blocks: Iterable[Interactions]) -> None:
        """Writes blocks of whole users, in ascending order of users, each as a row group."""
        types = (pa.int32(), pa.int32(), pa.float64(), pa.float32())
        schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
        with pq.ParquetWriter(path, schema) as writer:
            for block in blocks:
                table = pa.table([getattr(block, name) for name in COLUMNS], schema=schema)
                writer.write_table(table, row_group_size=max(len(block), 1))

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def item_counts(self) -> npt.NDArray[np.int64]:
        """How often each item was chosen: (n_items,) int64."""
        counts = np.zeros(self.n_items, np.int64)
        for group in range(len(self._first)):
            counts += np.bincount(self._file.read_row_group(group, ["item"])["item"].to_numpy(), minlength=self.n_items)
        return counts

    def blocks(self) -> list[Block]:
        """Every row group."""
        return [Block(first, partial(self._read, group)) for group, first in enumerate(self._first)]

    def _read(self, group: int) -> Interactions:
        table = self._file.read_row_group(group, list(COLUMNS))
        user, item, age_days, weight = (table[name].to_numpy() for name in COLUMNS)
        n_users = int(user[-1]) - self._first[group] + 1
        return Interactions(user - np.int32(self._first[group]), item, age_days, weight, n_users, self.n_items)


def blocks_of(log: Interactions | ParquetLog, rows: int) -> list[Block]:
    """The log in blocks; one in memory is cut after about `rows` interactions, or left whole where it has no more."""
    if isinstance(log, ParquetLog):
        return log.blocks()
    if len(log) <= rows:
        return [Block(0, lambda: log)]
    offsets = log.offsets()
    cuts = np.searchsorted(offsets, np.arange(rows, len(log), rows))
    ends = np.unique(np.concatenate([[0], cuts, [log.n_users]]))
    return [Block(int(a), partial(_slice, log, int(a), int(b))) for a, b in pairwise(ends)]


def _slice(log: Interactions, first: int, stop: int) -> Interactions:
    rows = slice(*log.offsets()[[first, stop]])
    user, item = log.user[rows] - np.int32(first), log.item[rows]
    return Interactions(user, item, log.age_days[rows], log.weight[rows], stop - first, log.n_items)
