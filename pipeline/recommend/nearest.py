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
# Of an inverted file: rows a cell that cells are learned from, and in how many rounds; more of either find no more.
TRAINING_ROWS, ROUNDS = 39, 5
# Recall wanted of neighbours, and rows that it is measured on.
RECALL, SAMPLE, FEWEST_PROBES = 0.95, 256, 8
EXACT_BLOCK, SEARCH_BLOCK = 1024, 65_536


def nearest(unit: Floats, count: int, exact_rows: int = EXACT_ROWS) -> Int64s:
    """The `count` other rows of the largest inner product with each, in no order: (n, count) int64, count < n.

    Exact up to `exact_rows`; above, by an inverted file in which as many cells are probed as a sample of rows needs to
    find RECALL of its nearest, and -1 where the probed cells held fewer. unit: (n, d) float32 of unit norm.
    """
    if len(unit) <= exact_rows:
        return np.concatenate([_exact(unit, at, count) for at in range(0, len(unit), EXACT_BLOCK)])
    index = _probed(unit, count)
    blocks = [_others(index, unit, range(at, at + SEARCH_BLOCK), count) for at in range(0, len(unit), SEARCH_BLOCK)]
    return np.concatenate(blocks)


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


def _probed(unit: Floats, count: int) -> faiss.IndexIVFFlat:
    """An inverted file of which as many cells are probed as RECALL takes."""
    every = np.arange(len(unit))
    index = inverted_file(unit, every, every)
    rows, cells = np.random.default_rng(0).permutation(len(unit)), index.nlist
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
