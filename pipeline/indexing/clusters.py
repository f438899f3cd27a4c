"""Vectors in cells of like direction, of which a search by inner product looks into those that promise most.

A FAISS inverted file asks its quantizer which cells to look into. What that holds for a cell, its representative, needs
not be the centre that the cell was made around: see `longest` here, and `pipeline.indexing.routing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.indexing.inverted_file import LABEL_BYTES, InvertedFile
from pipeline.interactions import Floats, Int64s

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

# Rows a cell that cells are learned from, and in how many rounds; more of either find no more.
TRAINING_ROWS, ROUNDS = 39, 5
BLOCK_ROWS = 65_536
# Bits of a number that cells can keep.
Bits = Literal[32, 16, 8]
BITS: tuple[Bits, ...] = (32, 16, 8)


@dataclass(frozen=True)
class Indexed:
    """What an index is made of. vectors: (n, d) float32. rows: (m,) int64, those of them that are in it, in order.

    labels: (m,) int64 in order, what a search returns for them; their places in `rows`, if None.
    """

    vectors: Floats
    rows: Int64s
    labels: Int64s | None = None

    @property
    def width(self) -> int:
        """d."""
        return int(self.vectors.shape[1])

    def blocks(self) -> Iterator[slice]:
        """Some of `rows` at a time, so that no more than those are copied."""
        return (slice(start, start + BLOCK_ROWS) for start in range(0, len(self.rows), BLOCK_ROWS))

    def places_of(self, labels: Int64s) -> Int64s:
        """The places of labels, of the same shape; -1 of -1."""
        if self.labels is None:
            return labels
        return np.where(labels < 0, labels, np.searchsorted(self.labels, labels))

    def of(self, block: slice | Int64s) -> Floats:
        """The vectors of some places of `rows`: (b, d) float32."""
        return np.ascontiguousarray(self.vectors[self.rows[block]])

    def labels_of(self, block: slice | Int64s) -> Int64s:
        """What a search returns for them: (b,)."""
        if self.labels is not None:
            return self.labels[block]
        return np.arange(block.start, min(block.stop, len(self.rows))) if isinstance(block, slice) else block


@dataclass(frozen=True)
class Clusters:
    """Cells. centres: (cells, d) float32 of unit norm. cell: (m,) int64, of each place of the items.

    seconds: that finding them took elsewhere.
    """

    items: Indexed
    centres: Floats
    cell: Int64s
    seconds: float = 0.0

    @cached_property
    def sizes(self) -> Int64s:
        """(cells,) how many items each has."""
        return np.bincount(self.cell, minlength=len(self.centres))

    @cached_property
    def longest(self) -> Floats:
        """The centres, each as long as the longest vector in its cell, (cells, d) float32; of no length where empty.

        Asked first are then the cells that may hold the largest products.
        """
        lengths = np.zeros(len(self.centres), np.float32)
        for block in self.items.blocks():
            np.maximum.at(lengths, self.cell[block], np.linalg.norm(self.items.of(block), axis=1))
        return self.centres * lengths[:, None]

    def bytes(self, bits: Bits) -> int:
        """What an index takes that keeps so many bits of a number: vectors, labels and representatives."""
        width = self.items.width
        return len(self.cell) * (width * bits // 8 + LABEL_BYTES) + len(self.centres) * width * 4

    def write(self, representatives: Floats, bits: Bits, path: Path) -> InvertedFile:
        """The inverted file whose quantizer holds the representatives, with so many bits of a number, see BITS."""
        how = faiss.IndexFlatIP(self.items.width), self.items.width, len(self.centres)
        how[0].add(representatives)
        if bits == 32:
            index: faiss.IndexIVF = faiss.IndexIVFFlat(*how, faiss.METRIC_INNER_PRODUCT)
        else:
            kind = {16: faiss.ScalarQuantizer.QT_fp16, 8: faiss.ScalarQuantizer.QT_8bit}[bits]
            # Vectors are kept as they are, and not as what they differ from a representative by.
            index = faiss.IndexIVFScalarQuantizer(*how, kind, faiss.METRIC_INNER_PRODUCT, False)
        index.train(self.items.of(sample_of(len(self.cell), len(self.centres))))
        blocks = ((self.items.of(block), self.items.labels_of(block)) for block in self.items.blocks())
        return InvertedFile(index, path, self.cell, blocks)


def clustered(items: Indexed, seed: int = 0) -> Clusters:
    """Cells, see `cell_count`, learned from TRAINING_ROWS seeded rows a cell."""
    rows = len(items.rows)
    count = cell_count(rows)
    centres = centres_of(items.of(sample_of(rows, count, seed)), count)
    return Clusters(
        items, centres, np.concatenate([nearest_cells(items.of(block), centres) for block in items.blocks()])
    )


def cell_count(rows: int) -> int:
    """4 √rows; fewer where there are no TRAINING_ROWS for each, and one at least."""
    return max(1, min(int(4 * np.sqrt(rows)), rows // TRAINING_ROWS))


def centres_of(sample: Floats, count: int) -> Floats:
    """The centres of so many cells, (count, d) float32 of unit norm, learned from vectors (n, d) float32."""
    quantizer = faiss.IndexFlatIP(sample.shape[1])
    index = faiss.IndexIVFFlat(quantizer, sample.shape[1], count, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.spherical, index.cp.niter = 0, True, ROUNDS
    index.train(sample)
    return np.asarray(quantizer.reconstruct_n(0, count))


def nearest_cells(vectors: Floats, centres: Floats) -> Int64s:
    """The cell that each vector is in, (n,), by centres as `centres_of` returns them; -1 of one that is not finite."""
    quantizer = faiss.IndexFlatIP(centres.shape[1])
    quantizer.add(centres)
    return np.asarray(quantizer.search(vectors, 1)[1][:, 0])


def sample_of(rows: int, cells: int, seed: int = 0) -> Int64s:
    """Places of rows, sorted, that so many cells are learned from."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[: TRAINING_ROWS * cells])


def exact_bytes(rows: int, width: int, labelled: bool) -> int:
    """What `exact_index` takes. labelled: whether a search returns other than places."""
    return rows * (4 * width + (LABEL_BYTES if labelled else 0))


def exact_index(items: Indexed) -> faiss.Index:
    """An index that compares every vector."""
    index: faiss.Index = faiss.IndexFlatIP(items.width)
    if items.labels is not None:
        index = faiss.IndexIDMap2(index)
    for block in items.blocks():
        index.add(items.of(block)) if items.labels is None else index.add_with_ids(items.of(block), items.labels[block])
    return index
