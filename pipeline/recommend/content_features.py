"""Graphs of items and users, normalised, and content as the pairwise and graph recommenders read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Mask, unit_rows
from pipeline.recommend.base import Content
from pipeline.recommend.nearest import nearest

if TYPE_CHECKING:
    import scipy.sparse as sp
else:
    sp = Lazy("scipy.sparse")

Modalities = dict[str, tuple[Floats, Mask]]
Neighbours = tuple["sp.csr_matrix", Floats, Mask]
# At a time, as both ends' vectors are laid side by side.
EDGES = 1 << 17
# At a time, when vectors are prepared.
ROWS = 1 << 16


def modalities(content: Content) -> Modalities:
    """Each modality's vectors (n_items, d) float32, and (n_items,) bool, whether an item has it, sorted by name.

    Without vectors by modality, the fused ones are the only modality. What an item without a modality has
    in its row is never read: the row comes back as zeros.
    """
    return {name: (prepared(*own), own[1]) for name, own in _by_modality(content).items()}


def _by_modality(content: Content) -> Modalities:
    return dict(sorted((content.modalities or {"fused": (content.vectors, content.present)}).items()))


def prepared_in_place(spaces: Iterable[tuple[str, Floats]]) -> Modalities:
    """The same of vectors with NaN rows where missing, which these become: a catalogue's stand in memory once."""
    inputs: Modalities = {}
    for name, vectors in spaces:
        present = ~np.isnan(vectors[:, 0])
        inputs[str(name)] = prepared(vectors, present, vectors), present
    return inputs


def prepared(vectors: Floats, present: Mask, out: Floats | None = None) -> Floats:
    """Rows less the mean of those present, of unit norm; zero where not present: (n, d) float32.

    out: where they are written, which may be the vectors themselves.
    """
    made: Floats = np.zeros(vectors.shape, np.float32) if out is None else out
    made[~present] = 0
    if present.any():
        mean = (vectors if present.all() else vectors[present]).mean(axis=0, dtype=np.float32)
        # Some at a time: all at once would be four tables as large as the vectors.
        for part in np.split(np.flatnonzero(present), range(ROWS, int(present.sum()), ROWS)):
            made[part] = unit_rows(np.asarray(vectors[part], np.float32) - mean)
    return made


def rows_of_content(content: Content, count: int) -> list[sp.csr_matrix]:
    """Content as extra rows of a linear model's log: (n_items, n_items) float32, one of each modality.

    An item's row has the item and its `count` nearest, these by their cosine, and is empty where it lacks the modality.
    """
    matrices = []
    for near, cosines, present in neighbours_of(content, count).values():
        row = sp.csr_matrix((np.maximum(cosines, 0), near.indices, near.indptr), near.shape)
        matrices.append((row + sp.diags(present.astype(np.float32))).tocsr())
    return matrices


def neighbours_of(content: Content, count: int) -> dict[str, Neighbours]:
    """Each modality's graph, see `neighbours`, its edges' cosines (edges,) float32, and (n,) bool, who has it.

    They are looked for once, and kept in `content.memo`.
    """
    if count not in content.memo:
        content.memo[count] = {}
        for name, (given, present) in _by_modality(content).items():
            vectors = prepared(given, present)
            near = neighbours(vectors, present, count)
            row, cosines = np.repeat(np.arange(len(vectors)), np.diff(near.indptr)), np.empty(near.nnz, np.float32)
            for part in np.split(np.arange(near.nnz), range(EDGES, near.nnz, EDGES)):
                cosines[part] = np.einsum("nd,nd->n", vectors[row[part]], vectors[near.indices[part]])
            content.memo[count][name] = near, cosines, present
    memo: dict[str, Neighbours] = content.memo[count]
    return memo


def degrees(matrix: sp.spmatrix, axis: int) -> Floats:
    """Sums over an axis: (n,) float32."""
    return np.asarray(matrix.sum(axis=axis), np.float32).ravel()


def scaled(matrix: sp.csr_matrix, rows: Floats, columns: Floats, power: float = 0.5) -> sp.csr_matrix:
    """Entries divided by (row's degree)^power · (column's degree)^power; what has no degree has no entries either.

    With power ½ and the matrix's own degrees this is the symmetric normalisation of Kipf and Welling (2017).
    rows: (n,) and columns: (m,) degrees.
    """
    left, right = (sp.diags(np.maximum(degree, 1e-9) ** -power * (degree > 0)) for degree in (rows, columns))
    return sp.csr_matrix(left @ matrix @ right, dtype=np.float32)


def symmetric(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """The matrix normalised by its own degrees."""
    return scaled(matrix, degrees(matrix, 1), degrees(matrix, 0))


def neighbours(vectors: Floats, present: Mask, count: int) -> sp.csr_matrix:
    """The graph that joins each item with its `count` nearest by cosine of the centred vectors, normalised.

    Frozen, as in FREEDOM (Zhou and Shen 2023). vectors: (n, d) float32; centred, because encoders put all of a
    catalogue into one narrow cone. present: (n,) bool; other items have no edges. Returns (n, n) float32.
    """
    rows = np.flatnonzero(present)
    count = min(count, len(rows) - 1)
    shape = (len(vectors), len(vectors))
    if count < 1:
        return sp.csr_matrix(shape, dtype=np.float32)
    unit = unit_rows(vectors[rows] - vectors[rows].mean(axis=0))
    near = nearest(unit, count)
    row, column = np.nonzero(near >= 0)
    ends = (rows[row], rows[near[row, column]])
    return symmetric(sp.csr_matrix((np.ones(len(row), np.float32), ends), shape=shape))
