"""Nearest items of all items: by brute force in a small catalogue, in near cells of measured recall in a large one."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.evaluation.metrics import product_threads
from pipeline.evaluation.ranking import parts_of
from pipeline.evaluation.top_k import top_k
from pipeline.indexing.clusters import Indexed, clustered
from pipeline.interactions import Floats, Int64s

log = logging.getLogger("medley")
# Above so many rows, every row against every other takes longer than an index does with all that it needs.
EXACT_ROWS = 30_000
# Recall wanted of neighbours, and rows that it is measured on.
RECALL, SAMPLE, FEWEST_PROBES = 0.95, 256, 8
EXACT_BLOCK, BLOCK_ROWS = 1024, 64


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
        clusters = clustered(Indexed(unit, np.arange(len(unit))))
        self.unit, self.cell, centres = unit, clusters.cell, clusters.longest
        order = np.argsort(self.cell, kind="stable")
        self.members = np.split(order, np.cumsum(clusters.sizes)[:-1])
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


def _exact(unit: Floats, start: int, count: int, rows: int = EXACT_BLOCK) -> Int64s:
    cosines = unit[start : start + rows] @ unit.T
    cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
    # A copy: what is sliced would keep the order of all items alive, for every block.
    return np.argpartition(cosines, -count, axis=1)[:, -count:].copy()
