"""A FAISS index that is mapped into memory and searched from many threads.

- within a filter: by a selector while it searches; as many more cells are looked into, or candidates of a graph kept,
  as fewer items pass, and where few do, the product with each of them is made: a filter that leaves little is exact;
- without some items of each query: as deep as the answer and they are together; for who has all that is near, through
  every cell, or by the products with all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Int64s, Mask

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

NOTHING = -1
BLOCK_ROWS = 65_536
# Scores and rows, best first.
Answers = tuple[Floats, Int64s]


@dataclass(frozen=True)
class Passing:
    """The items that pass a filter. bits: one each, by row, the lowest first: uint8. count: how many.

    few: their rows, (count,) int64 in order, where they are so few that it is faster to go through them alone.
    """

    bits: npt.NDArray[np.uint8]
    count: int
    few: Int64s | None


class Searched:
    """Its labels are rows of `items.parquet`, its scores inner products."""

    def __init__(self, mapped: Callable[[], faiss.Index]) -> None:
        """mapped: opens the index."""
        self._index = mapped()
        self._cells = faiss.try_extract_index_ivf(self._index)
        self._graph = graph_of(self._index)
        # Cells find a label once they are told to, which changes an index in which others search meanwhile.
        self._labelled = mapped() if self._cells else self._index
        self._told, self._lock = False, Lock()

    @property
    def width(self) -> int:
        """d of its vectors."""
        return int(self._index.d)

    def nearest(
        self, vectors: Floats, k: int, passing: Passing | None = None, taken: Sequence[Int64s] | None = None
    ) -> Answers:
        """The best k rows of each vector, (n, k) int64, -1 where there are fewer, and their scores, (n, k) float32.

        vectors: (n, d) float32. passing: the items that may be answers. taken: of each vector, rows that may not.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        if passing is not None and passing.few is not None and self._labels is not None:
            return self._exact(queries, k, passing.few, taken)
        selector = None if passing is None else faiss.IDSelectorBitmap(passing.bits)  # type: ignore[arg-type,call-arg]
        probes = self._probes(passing)
        scores, rows = self._best(queries, k, taken, selector, probes)
        short = np.flatnonzero(rows[:, -1] == NOTHING).tolist()
        own = None if taken is None else [taken[place] for place in short]
        if short and self._cells and probes < self._cells.nlist:
            scores[short], rows[short] = self._best(queries[short], k, own, selector, self._cells.nlist)
        elif short and self._graph:
            every = None if passing is None else np.unpackbits(passing.bits, bitorder="little")
            among = np.arange(self._span) if every is None else np.flatnonzero(every)
            scores[short], rows[short] = self._exact(queries[short], k, among, own)
        return scores, rows

    def products(self, vector: Floats, rows: Int64s) -> Floats:
        """The scores of some rows for one vector, (d,): (m,) float32."""
        return np.asarray(self._by_label.reconstruct_batch(rows) @ vector, np.float32)

    def vector(self, row: int) -> Floats:
        """What the index holds under a label: (d,) float32."""
        return np.asarray(self._by_label.reconstruct(int(row)), np.float32)

    def vectors(self, rows: Int64s) -> Floats:
        """What the index holds under m labels: (m, d) float32."""
        return np.asarray(self._by_label.reconstruct_batch(rows), np.float32)

    @cached_property
    def _by_label(self) -> faiss.Index:
        with self._lock:
            if self._cells and not self._told:
                cells = faiss.extract_index_ivf(self._labelled)
                cells.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]
                self._told = True
        return self._labelled

    @cached_property
    def _labels(self) -> Mask | None:
        """Which rows are in cells or in a graph, by row; None where there are neither."""
        if isinstance(self._index, faiss.IndexIVF):
            cells: Any = self._index.invlists
            sizes = [cells.list_size(cell) for cell in range(self._index.nlist)]
            ids = [faiss.rev_swig_ptr(cells.get_ids(cell), size) for cell, size in enumerate(sizes) if size]
            labels = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        elif self._graph:
            named: Any = getattr(self._index, "id_map", None)
            labels = np.arange(self._index.ntotal) if named is None else faiss.vector_to_array(named)
        else:
            return None
        mask = np.zeros(labels.max(initial=-1) + 1, bool)
        mask[labels] = True
        return mask

    @property
    def _span(self) -> int:
        """The largest row that is in it, and one."""
        return 0 if self._labels is None else len(self._labels)

    def _exact(self, queries: Floats, k: int, few: Int64s, taken: Sequence[Int64s] | None) -> Answers:
        """As `nearest`, by the products with some rows."""
        assert self._labels is not None
        held = few[few < self._span]
        held = held[self._labels[held]]
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), NOTHING)
        for start in range(0, len(held), BLOCK_ROWS):
            block = held[start : start + BLOCK_ROWS]
            products = queries @ self._by_label.reconstruct_batch(block).T
            for line, own in enumerate(() if taken is None else taken):
                products[line, np.isin(block, own)] = -np.inf
            scores = np.concatenate([scores, products], axis=1)
            rows = np.concatenate([rows, np.broadcast_to(block, products.shape)], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, rows = (np.take_along_axis(array, order, axis=1) for array in (scores, rows))
        return scores, np.where(scores > -np.inf, rows, NOTHING)

    def _probes(self, passing: Passing | None) -> int:
        """How many cells are looked into, or candidates of a graph kept; 0 where there are neither."""
        if self._cells:
            probes, most = int(self._cells.nprobe), int(self._cells.nlist)
        elif self._graph:
            probes, most = int(self._graph.hnsw.efSearch), int(self._index.ntotal)
        else:
            return 0
        share = 1.0 if passing is None else passing.count / self._index.ntotal
        return most if share * most <= probes else min(most, int(np.ceil(probes / share)))

    def _best(
        self, queries: Floats, k: int, taken: Sequence[Int64s] | None, selector: faiss.IDSelector | None, probes: int
    ) -> Answers:
        """As `nearest`, through so many cells, or with so many candidates."""
        if taken is None:
            return self._search(queries, k, selector, probes)
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), NOTHING)
        # Those of like history are searched together.
        sizes = np.array([len(own) for own in taken], np.int64)
        depths = np.exp2(np.ceil(np.log2(k + sizes))).astype(np.int64)
        for depth in np.unique(depths):
            some = np.flatnonzero(depths == depth).tolist()
            deep, places = self._search(queries[some], int(depth), selector, probes)
            gone = _among(places, [taken[place] for place in some])
            order = np.argsort(gone, axis=1, kind="stable")[:, :k]
            rows[some] = np.take_along_axis(np.where(gone, NOTHING, places), order, axis=1)
            scores[some] = np.take_along_axis(deep, order, axis=1)
        return scores, rows

    def _search(self, queries: Floats, k: int, selector: faiss.IDSelector | None, probes: int) -> Answers:
        how: faiss.SearchParameters | None = None
        if self._cells:
            how = faiss.SearchParametersIVF(sel=selector, nprobe=probes)  # type: ignore[call-arg]
        elif self._graph:
            how = faiss.SearchParametersHNSW(sel=selector, efSearch=probes)  # type: ignore[attr-defined]
        elif selector is not None:
            how = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, rows = self._index.search(queries, k, params=how)
        return scores, rows


def graph_of(index: faiss.Index) -> faiss.IndexHNSW | None:
    """The graph that an index is, below its labels if it has any."""
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else index
    return inner if isinstance(inner, faiss.IndexHNSW) else None


def _among(rows: Int64s, taken: Sequence[Int64s]) -> Mask:
    """(n, k) bool, which rows of each line are among its own taken ones; any that are none may be."""
    sizes, own = [len(line) for line in taken], np.concatenate([np.zeros(0, np.int64), *taken])
    if not len(own):
        return np.zeros(rows.shape, bool)
    span, lines = int(max(rows.max(initial=0), own.max())) + 1, np.arange(len(rows))
    keys = np.sort(np.repeat(lines, sizes) * span + own)
    wanted = rows + lines[:, None] * span
    return np.asarray(keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted)
