"""Filters: which items pass conditions on their attributes, as bits that FAISS reads while it searches.

    {"genre": "jazz"}            equal
    {"genre": ["jazz", "soul"]}  one of
    {"price": (None, 20)}        within, both ends included, None for an open one
    {"in_stock": True}           all conditions hold; an item without the attribute does not pass

Of an attribute that is a list, any of its values may be the one. What passes is kept for the filters used last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.mapped import MappedTable
from pipeline.errors import ConfigError
from pipeline.indexing.searched import Passing
from pipeline.interactions import Mask

Filter: TypeAlias = Mapping[str, object]
# Filters whose items are kept; of 10⁶ items one takes 125 kB.
KEPT = 128
# To fetch the vectors of so many items out of cells takes as long as to go through 10⁶ ids.
FEW = 8192


class Filters:
    """The filters of one index. items: its `items.parquet`; the columns of a filter are read when it is first used."""

    def __init__(self, items: MappedTable) -> None:
        self._items = items
        self._known: OrderedDict[str, Passing] = OrderedDict()
        self._lock = Lock()

    def passing(self, wanted: Filter) -> Passing:
        """Which items pass. Raises ConfigError if there is no such attribute, or a value is not of its type."""
        key = repr(sorted(wanted.items(), key=lambda condition: condition[0]))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        mask = np.ones(len(self._items), bool)
        for name, value in wanted.items():
            mask &= self._mask(name, value)
        count = int(mask.sum())
        few = np.flatnonzero(mask) if count <= FEW else None
        passing = Passing(np.packbits(mask, bitorder="little"), count, few)
        with self._lock:
            self._known[key] = passing
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return passing

    def _mask(self, name: str, value: object) -> Mask:
        if name not in self._items.names:
            raise ConfigError(f"filter: items have no attribute {name}; they have {', '.join(self._items.names)}")
        column = self._items.read([name])[name].combine_chunks()
        try:
            return _holds(column, value)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise ConfigError(f"filter: {name} is {column.type}, to which {value!r} cannot be compared") from None


def _holds(column: pa.Array, value: object) -> Mask:
    """(n,) bool, whether each value of a column is as wanted."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        mask = np.zeros(len(column), bool)
        mask[pc.list_parent_indices(column).to_numpy()[_holds(pc.list_flatten(column), value)]] = True
        return mask
    if isinstance(value, tuple):
        low, high = value
        bounds = [
            compare(column, _as(bound, column.type))
            for compare, bound in ((pc.greater_equal, low), (pc.less_equal, high))
            if bound is not None
        ]
        conditions = bounds or [pc.is_valid(column)]
    elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        conditions = [pc.is_in(column, pa.array([_as(one, column.type).as_py() for one in value], column.type))]
    else:
        conditions = [pc.equal(column, _as(value, column.type))]
    masks = [condition.fill_null(False).to_numpy(zero_copy_only=False) for condition in conditions]
    return np.asarray(np.logical_and.reduce(masks), bool)


def _as(value: object, kind: pa.DataType) -> pa.Scalar:
    """A value of the column's type; numbers may be of another width, and text is read as it, but no number is text."""
    scalar = pa.scalar(value)
    if scalar.as_py() is None or (pa.types.is_string(kind) and not pa.types.is_string(scalar.type)):
        raise TypeError(value)
    if pa.types.is_integer(kind) and pa.types.is_floating(scalar.type):
        return scalar  # a price of whole numbers may be held against 19.99
    return scalar.cast(kind)
