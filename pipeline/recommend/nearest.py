"""Nearest items of all items: by brute force in a small catalogue, in near cells of measured recall in a large one."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.config.kinds import Lazy
from pipeline.evaluation.metrics import product_threads
from pipeline.evaluation.ranking import parts_of
from pipeline.evaluation.top_k import top_k
from pipeline.interactions import Floats, Int64s

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

log = logging.getLogger("medley")
# Above so many rows, every row against every other takes longer than an index does with all that it needs.
EXACT_ROWS = 30_000
# Of an inverted file: rows a cell that cells are learned from, and in how many rounds; more of either find no more.
TRAINING_ROWS, ROUNDS = 39, 5
# Recall wanted of neighbours, and rows that it is measured on.
RECALL, SAMPLE, FEWEST_PROBES = 0.95, 256, 8
EXACT_BLOCK, SEARCH_BLOCK, BLOCK_ROWS = 1024, 65_536, 64


def nearest(unit: Floats, count: int, exact_rows: int = EXACT_ROWS) -> Int64s:
    """The `count` other rows of the largest inner product with each, in no order: (n, count) int64, count < n.

    Exact up to `exact_rows`; above, among the rows of the cells nearest to a row's own: of as many cells as a sample of
    rows needs to find RECALL of its nearest. -1 where these hold fewer. unit: (n, d) float32 of unit norm.
    """
    if len(unit) <= exact_rows:
        return np.concatenate([_exact(unit, at, count) for at in range(0, len(unit), EXACT_BLOCK)])
    cells = Cells(unit)
    return cells.nearest(np.arange(len(unit)), count, cells.probes(count))


class Cells:
    """Rows in cells of like direction; those of one cell are asked together, which is a product of two matrices."""

    def __init__(self, unit: Floats) -> None:
        self.unit = unit
        every = np.arange(len(unit))
        index = inverted_file(unit, every, every)
        lists, centres = index.invlists, index.quantizer.reconstruct_n(0, index.nlist)
        self.members = [_ids(lists, cell) for cell in range(index.nlist)]
        self.cell = np.empty(len(unit), np.int64)
        for cell, rows in enumerate(self.members):
            self.cell[rows] = cell
        # Of each cell, all cells from near to far: itself comes first.
        likeness = centres @ centres.T
        likeness[np.diag_indices(len(centres))] = np.inf
        self.order = np.argsort(-likeness, axis=1).astype(np.int32)

    def probes(self, count: int) -> int:
        """How many cells a row is looked for in."""
        sample = np.sort(np.random.default_rng(0).permutation(len(self.unit))[:SAMPLE])
        truth = [_exact(self.unit, row, count, 1)[0] for row in sample.tolist()]
        probes, cells = min(FEWEST_PROBES, len(self.members)), len(self.members)
        while True:
            answers = self.nearest(sample, count, probes)
            recall = np.mean([np.isin(answer, own).mean() for answer, own in zip(answers, truth, strict=True)])
            if recall >= RECALL or probes == cells:
                log.info(
                    "nearest of %d items in %d of %d cells each, recall %.3f", len(self.unit), probes, cells, recall
                )
                return probes
            probes = min(2 * probes, cells)

    def nearest(self, rows: Int64s, count: int, probes: int) -> Int64s:
        """The nearest others of some rows (b,), sorted, in so many cells: (b, count) int64."""
        answers = np.full((len(rows), count), -1)
        order = np.argsort(self.cell[rows], kind="stable")
        blocks = np.split(order, np.flatnonzero(np.diff(self.cell[rows][order])) + 1)

        def ask(places: Int64s) -> None:
            near = np.concatenate([self.members[cell] for cell in self.order[self.cell[rows[places[0]]], :probes]])
            candidates, most = self.unit[near], min(count, len(near) - 1)
            for part in parts_of(places, BLOCK_ROWS):
                own = rows[part]
                cosines = self.unit[own] @ candidates.T
                cosines[near == own[:, None]] = -np.inf
                answers[part, :most] = near[top_k(cosines, most, own.astype(np.int32))]

        with threadpool_limits(1, "blas"), ThreadPoolExecutor(product_threads()) as pool:
            list(pool.map(ask, blocks))
        return answers


def _ids(lists: Any, cell: int) -> Int64s:
    size = lists.list_size(cell)
    return np.sort(faiss.rev_swig_ptr(lists.get_ids(cell), size)) if size else np.zeros(0, np.int64)


def inverted_file(vectors: Floats, rows: Int64s, labels: Int64s, seed: int = 0) -> faiss.IndexIVFFlat:
    """Some rows of `vectors`, (n, d) float32, in 4 √len(rows) cells of like direction, to be searched by inner product.

    Cells are learned from TRAINING_ROWS seeded rows a cell. A cell's centre is made as long as the longest vector in
    it: those that are probed first are then those that may hold the largest products. labels: (len(rows),) int64, what
    a search returns. Only blocks of rows are copied.
    """
    cells, width = max(1, min(int(4 * np.sqrt(len(rows))), len(rows) // TRAINING_ROWS)), vectors.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.spherical, index.cp.niter = 0, True, ROUNDS
    sample = np.random.default_rng(seed).permutation(len(rows))[: TRAINING_ROWS * cells]
    index.train(vectors[rows[np.sort(sample)]])
    for start in range(0, len(rows), SEARCH_BLOCK):
        block = slice(start, start + SEARCH_BLOCK)
        index.add_with_ids(np.ascontiguousarray(vectors[rows[block]]), labels[block])
    centres, lists = index.quantizer.reconstruct_n(0, cells), index.invlists
    for cell in range(cells):
        if size := lists.list_size(cell):  # type: ignore[union-attr]
            members = faiss.rev_swig_ptr(lists.get_codes(cell), size * index.code_size)  # type: ignore[union-attr]
            centres[cell] *= np.linalg.norm(members.view(np.float32).reshape(size, width), axis=1).max()
    index.quantizer.reset()
    index.quantizer.add(centres)
    return index


def _exact(unit: Floats, start: int, count: int, rows: int = EXACT_BLOCK) -> Int64s:
    cosines = unit[start : start + rows] @ unit.T
    cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
    # A copy: what is sliced would keep the order of all items alive, for every block.
    return np.argpartition(cosines, -count, axis=1)[:, -count:].copy()
