"""A FAISS index that is mapped into memory and searched from many threads.

- within a filter: by a selector while it searches; through cells, as many more are looked into as fewer items pass, and
  where few do, the product with each of them is made, so that a filter that leaves little is exact;
- without some items of each query: as deep as the answer and they are together, and through every cell for who has all
  that the near ones hold.
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
        probes, every = self._probes(passing), self._cells.nlist if self._cells else 0
        scores, rows = self._best(queries, k, taken, selector, probes)
        if probes < every and len(short := np.flatnonzero(rows[:, -1] == NOTHING).tolist()):
            own = None if taken is None else [taken[place] for place in short]
            scores[short], rows[short] = self._best(queries[short], k, own, selector, every)
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
        """Which rows are in the cells, by row; None where there are no cells."""
        if not isinstance(self._index, faiss.IndexIVF):
            return None
        cells: Any = self._index.invlists
        sizes = [cells.list_size(cell) for cell in range(self._index.nlist)]
        ids = [faiss.rev_swig_ptr(cells.get_ids(cell), size) for cell, size in enumerate(sizes) if size]
        labels = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        mask = np.zeros(labels.max(initial=-1) + 1, bool)
        mask[labels] = True
        return mask

    def _exact(self, queries: Floats, k: int, few: Int64s, taken: Sequence[Int64s] | None) -> Answers:
        """As `nearest`, by the products with a few rows."""
        assert self._labels is not None
        held = few[few < len(self._labels)]
        held = held[self._labels[held]]
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), NOTHING)
        products = queries @ self._by_label.reconstruct_batch(held).T
        for line, own in enumerate(() if taken is None else taken):
            products[line, np.isin(held, own)] = -np.inf
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(products, order, axis=1)
        scores[:, : best.shape[1]] = best
        rows[:, : best.shape[1]] = np.where(best > -np.inf, held[order], NOTHING)
        return scores, rows

    def _probes(self, passing: Passing | None) -> int:
        """How many cells are looked into; 0 where there are none."""
        if not self._cells:
            return 0
        share = 1.0 if passing is None else passing.count / self._index.ntotal
        cells, probes = int(self._cells.nlist), int(self._cells.nprobe)
        return cells if share * cells <= probes else min(cells, int(np.ceil(probes / share)))

    def _best(
        self, queries: Floats, k: int, taken: Sequence[Int64s] | None, selector: faiss.IDSelector | None, probes: int
    ) -> Answers:
        """As `nearest`, through so many cells."""
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
        elif selector is not None:
            how = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, rows = self._index.search(queries, k, params=how)
        return scores, rows


def _among(rows: Int64s, taken: Sequence[Int64s]) -> np.ndarray:
    """(n, k) bool, which rows of each line are among its own taken ones; any that are none may be."""
    span = int(max(rows.max(initial=0), *(own.max(initial=0) for own in taken))) + 1
    lines = np.arange(len(rows))[:, None] * span
    keys = np.concatenate([line + own for line, own in zip(lines.ravel(), taken, strict=True)])
    return np.asarray(np.isin(rows + lines, keys))
