"""Nearest items of all items: by brute force in a small catalogue, by an index of measured recall in a large one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Int64s

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

log = logging.getLogger("medley")
# Above so many rows, every row against every other takes longer than an index does with all that it needs.
EXACT_ROWS = 30_000
# Of an inverted file: rows a cell that cells are learned from, recall wanted, and rows that it is measured on.
TRAINING_ROWS, RECALL, SAMPLE, FEWEST_PROBES = 64, 0.95, 256, 8
EXACT_BLOCK, SEARCH_BLOCK = 1024, 65_536


def nearest(unit: Floats, count: int, exact_rows: int = EXACT_ROWS) -> Int64s:
    """The `count` other rows of the largest inner product with each, in no order: (n, count) int64, count < n.

    Exact up to `exact_rows`; above, by an inverted file in which as many cells are probed as a sample of rows needs to
    find RECALL of its nearest, and -1 where the probed cells held fewer. unit: (n, d) float32 of unit norm.
    """
    if len(unit) <= exact_rows:
        return np.concatenate([_exact(unit, at, count) for at in range(0, len(unit), EXACT_BLOCK)])
    index = _inverted_file(unit, count)
    blocks = [_others(index, unit, range(at, at + SEARCH_BLOCK), count) for at in range(0, len(unit), SEARCH_BLOCK)]
    return np.concatenate(blocks)


def _inverted_file(unit: Floats, count: int) -> faiss.IndexIVFFlat:
    """Cells of 4 √n, learned from TRAINING_ROWS rows a cell, and as many of them probed as RECALL takes."""
    cells = int(4 * np.sqrt(len(unit)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(unit.shape[1]), unit.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.spherical = 0, True
    rows = np.random.default_rng(0).permutation(len(unit))
    index.train(np.ascontiguousarray(unit[np.sort(rows[: TRAINING_ROWS * cells])]))
    index.add(unit)
    sample = np.sort(rows[:SAMPLE])
    truth = [_exact(unit, row, count, 1)[0] for row in sample.tolist()]
    index.nprobe = FEWEST_PROBES
    while True:
        answers = (_others(index, unit, range(row, row + 1), count)[0] for row in sample.tolist())
        recall = np.mean([np.isin(answer, own).mean() for answer, own in zip(answers, truth, strict=True)])
        if recall >= RECALL or index.nprobe >= cells:
            log.info("nearest of %d items by %d of %d cells each, recall %.3f", len(unit), index.nprobe, cells, recall)
            return index
        index.nprobe = min(2 * index.nprobe, cells)


def _others(index: faiss.Index, unit: Floats, block: range, count: int) -> Int64s:
    """The index's answers for a block of its own rows, less each row itself."""
    block = range(block.start, min(block.stop, len(unit)))
    _, answers = index.search(unit[block.start : block.stop], count + 1)
    own = answers == np.array(block)[:, None]
    own[~own.any(axis=1), -1] = True
    return answers[~own].reshape(len(block), count)


def _exact(unit: Floats, start: int, count: int, rows: int = EXACT_BLOCK) -> Int64s:
    cosines = unit[start : start + rows] @ unit.T
    cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
    # A copy: what is sliced would keep the order of all items alive, for every block.
    return np.argpartition(cosines, -count, axis=1)[:, -count:].copy()
