"""A FAISS index that is mapped into memory and searched from many threads.

- within a filter: by a selector while it searches. Of cells, those alone that hold something which passes, and more of
  them as less does; where few items pass, and below a graph, by the product with each, which is exact;
- without some items of each query: as deep as the answer and they are together; for who has all that is near, through
  every cell, or by the products with all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Int64s, Mask

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

NOTHING = -1
# Scores and rows, best first.
Answers = tuple[Floats, Int64s]


@dataclass(frozen=True, eq=False)
class Passing:
    """The items that pass a filter. bits: one each, by row, the lowest first: uint8. count: how many.

    few: their rows, (count,) int64 in order, where they are so few that it is faster to go through them alone.
    """

    bits: npt.NDArray[np.uint8]
    count: int
    few: Int64s | None


@dataclass(frozen=True)
class _Reach:
    """What a search looks at. selector: of rows. cells: of cells, all if None.

    probes: how many cells, or candidates of a graph. every: how many there are; of so many of a graph, it is exact.
    """

    selector: faiss.IDSelector | None = None
    cells: faiss.IDSelector | None = None
    probes: int = 0
    every: int = 0


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
        self._occupied: WeakKeyDictionary[Passing, tuple[npt.NDArray[np.uint8], int, int]] = WeakKeyDictionary()

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
        if passing is not None and passing.few is not None and self._cell is not None:
            return self._exact(queries, k, passing.few, taken)
        reach = self._reach(passing)
        scores, rows = self._best(queries, k, taken, reach)
        if reach.probes < reach.every and len(short := np.flatnonzero(rows[:, -1] == NOTHING).tolist()):
            own = None if taken is None else [taken[place] for place in short]
            scores[short], rows[short] = self._best(queries[short], k, own, replace(reach, probes=reach.every))
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
    def _cell(self) -> npt.NDArray[np.int32] | None:
        """The cell of each row, (m,), -1 for one that is in none; None where there are no cells."""
        if not isinstance(self._index, faiss.IndexIVF):
            return None
        cells: Any = self._index.invlists
        sizes = [cells.list_size(cell) for cell in range(self._index.nlist)]
        ids = [faiss.rev_swig_ptr(cells.get_ids(cell), size) for cell, size in enumerate(sizes) if size]
        labels = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        cell = np.full(labels.max(initial=-1) + 1, NOTHING, np.int32)
        cell[labels] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        return cell

    def _exact(self, queries: Floats, k: int, few: Int64s, taken: Sequence[Int64s] | None) -> Answers:
        """As `nearest`, by the products with a few rows."""
        assert self._cell is not None
        held = few[few < len(self._cell)]
        held = held[self._cell[held] != NOTHING]
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), NOTHING)
        products = queries @ self._by_label.reconstruct_batch(held).T
        for line, own in enumerate(() if taken is None else taken):
            products[line, np.isin(held, own)] = -np.inf
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(products, order, axis=1)
        scores[:, : best.shape[1]] = best
        rows[:, : best.shape[1]] = np.where(best > -np.inf, held[order], NOTHING)
        return scores, rows

    def _reach(self, passing: Passing | None) -> _Reach:
        """What is looked at within a filter."""
        selector = None if passing is None else faiss.IDSelectorBitmap(passing.bits)  # type: ignore[arg-type,call-arg]
        if self._graph:
            every = int(self._index.ntotal)
            candidates = min(int(self._graph.hnsw.efSearch), every)
            return _Reach(selector, None, candidates if passing is None else every, every)
        if not self._cells:
            return _Reach(selector)
        probes, every = int(self._cells.nprobe), int(self._cells.nlist)
        if passing is None:
            return _Reach(None, None, probes, every)
        bits, occupied, count = self._occupied_by(passing)
        # Of cells that hold half as much each, so many more have as good a chance to hold the best.
        more = int(np.ceil(probes * np.sqrt(self._index.ntotal / max(count, 1))))
        cells = None if bits is None else faiss.IDSelectorBitmap(bits)  # type: ignore[arg-type,call-arg]
        return _Reach(selector, cells, max(1, min(more, occupied)), occupied)

    def _occupied_by(self, passing: Passing) -> tuple[npt.NDArray[np.uint8] | None, int, int]:
        """Which cells hold something that passes, as bits by number, how many, and how many items these are.

        All cells, where it is not known which rows they hold.
        """
        assert self._cells is not None
        if self._cell is None:
            return None, self._cells.nlist, passing.count
        with self._lock:
            if passing not in self._occupied:
                rows = np.flatnonzero(np.unpackbits(passing.bits, bitorder="little")[: len(self._cell)])
                cells = self._cell[rows]
                sizes = np.bincount(cells[cells != NOTHING], minlength=self._cells.nlist)
                occupied = sizes > 0
                bits = np.packbits(occupied, bitorder="little")
                self._occupied[passing] = bits, int(occupied.sum()), int(sizes.sum())
            return self._occupied[passing]

    def _best(self, queries: Floats, k: int, taken: Sequence[Int64s] | None, reach: _Reach) -> Answers:
        """As `nearest`, as far as that reaches."""
        if taken is None:
            return self._search(queries, k, reach)
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), NOTHING)
        # Those of like history are searched together.
        depths = depth_of(k, np.array([len(own) for own in taken], np.int64))
        for depth in np.unique(depths):
            some = np.flatnonzero(depths == depth).tolist()
            deep, places = self._search(queries[some], int(depth), reach)
            gone = _among(places, [taken[place] for place in some])
            order = np.argsort(gone, axis=1, kind="stable")[:, :k]
            rows[some] = np.take_along_axis(np.where(gone, NOTHING, places), order, axis=1)
            scores[some] = np.take_along_axis(deep, order, axis=1)
        return scores, rows

    def _search(self, queries: Floats, k: int, reach: _Reach) -> Answers:
        how: faiss.SearchParameters | None = None
        if self._cells:
            of_cells = faiss.SearchParameters(sel=reach.cells)  # type: ignore[call-arg]
            how = faiss.SearchParametersIVF(  # type: ignore[call-arg]
                sel=reach.selector, nprobe=reach.probes, quantizer_params=of_cells
            )
        elif self._graph and reach.probes == reach.every:
            return self._below_graph(queries, k, reach.selector)
        elif self._graph:
            how = faiss.SearchParametersHNSW(efSearch=reach.probes)  # type: ignore[attr-defined]
        elif reach.selector is not None:
            how = faiss.SearchParameters(sel=reach.selector)  # type: ignore[call-arg]
        scores, rows = self._index.search(queries, k, params=how)
        return scores, rows

    def _below_graph(self, queries: Floats, k: int, selector: faiss.IDSelector | None) -> Answers:
        """By the product with every vector that a graph is of."""
        assert self._graph is not None
        named: Any = getattr(self._index, "id_map", None)
        if named is not None and selector is not None:
            selector = faiss.IDSelectorTranslated(named, selector)
        how = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, places = faiss.downcast_index(self._graph.storage).search(queries, k, params=how)
        if named is not None:
            places = np.where(places < 0, NOTHING, faiss.vector_to_array(named)[places])
        return scores, places


def depth_of(k: int, sizes: Int64s) -> Int64s:
    """How deep to search for k items without so many others, (n,): few depths, each asked for together."""
    return np.exp2(np.ceil(np.log2(k + sizes))).astype(np.int64)


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
