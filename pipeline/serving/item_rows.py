"""Items by id and by row: two columns of `items.parquet` in memory, and the ids in their order beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.mapped import MappedTable
from pipeline.interactions import Int64s


class ItemRows:
    """ids: (n,) string array, by row.

    once: for one question alone, for which the ids are gone through, and not sorted, and those titles are read that are
    shown: of 10⁶ items that takes a tenth of a second, instead of one before and microseconds after.
    """

    def __init__(self, items: MappedTable, once: bool = False) -> None:
        """items: `items.parquet`."""
        self._items, self._once = items, once
        self.ids = items.read(["item_id"])["item_id"].combine_chunks()
        if not once:
            _ = self._sorted, self._titles

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Sequence[str] | pa.Array) -> Int64s:
        """The row of each of some ids: (m,) int64, -1 for one that no item has."""
        wanted = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1)
        if self._once:
            held = pc.indices_nonzero(pc.is_in(self.ids, wanted))
            places = pc.index_in(wanted, self.ids.take(held)).fill_null(-1).to_numpy(zero_copy_only=False)
            return np.append(held.to_numpy().astype(np.int64), -1)[places]
        order, ordered = self._sorted
        places = np.minimum(pc.search_sorted(ordered, wanted).to_numpy(zero_copy_only=False), len(self) - 1)
        same = pc.equal(ordered.take(pa.array(places)), wanted).to_numpy(zero_copy_only=False)
        return np.where(same, order[places.astype(np.int64)], -1)

    def named(self, rows: Int64s) -> list[tuple[str, str]]:
        """The id and the title of some rows, empty where there is none."""
        # Of a list, as arrow imports numpy.ma for an array, which nothing else does.
        places = pa.array(rows.tolist(), pa.int64())
        titles = self._items.at(rows.tolist(), ["title"])["title"] if self._once else self._titles.take(places)
        titles = titles.fill_null("").to_pylist()
        return list(zip(self.ids.take(places).to_pylist(), titles, strict=True))

    @cached_property
    def _titles(self) -> pa.Array:
        return self._items.read(["title"])["title"].combine_chunks()

    @cached_property
    def _sorted(self) -> tuple[Int64s, pa.Array]:
        order = pc.sort_indices(self.ids)
        return order.to_numpy().astype(np.int64), self.ids.take(order)
