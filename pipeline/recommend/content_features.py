"""Content as the pairwise and graph recommenders read it: each modality centred, of unit norm, zero where missing."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pipeline.interactions import Floats, Int32s, Mask, unit_rows
from pipeline.recommend.base import Content
from pipeline.recommend.propagation import neighbours

Modalities = dict[str, tuple[Floats, Mask]]


def modalities(content: Content) -> Modalities:
    """Each modality's vectors (n_items, d) float32, and (n_items,) bool, whether an item has it, sorted by name.

    Without vectors by modality, the fused ones are the only modality. What an item without a modality has
    in its row is never read: the row comes back as zeros.
    """
    by_modality = content.modalities or {"fused": (content.vectors, content.present)}
    return {name: (prepared(*by_modality[name]), by_modality[name][1]) for name in sorted(by_modality)}


def prepared(vectors: Floats, present: Mask) -> Floats:
    """Rows less the mean of those present, of unit norm; zero where not present: (n, d) float32."""
    made: Floats = np.zeros(vectors.shape, np.float32)
    if present.any():
        rows = np.asarray(vectors[present], np.float32)
        made[present] = unit_rows(rows - rows.mean(axis=0))
    return made


def known(items: Int32s, n_items: int) -> Mask:
    """Which items of the catalogue are among these codes: (n_items,) bool."""
    return np.bincount(items, minlength=n_items) > 0


def rows_of_content(content: Content, count: int) -> list[sp.csr_matrix]:
    """Content as extra rows of a linear model's log: (n_items, n_items) float32, one of each modality.

    An item's row has the item and its `count` nearest, these by their cosine, and is empty where it lacks the modality.
    """
    matrices = []
    for vectors, present in modalities(content).values():
        near = neighbours(vectors, present, count)
        rows = np.repeat(np.arange(len(vectors)), np.diff(near.indptr))
        near.data = np.maximum(np.einsum("nd,nd->n", vectors[rows], vectors[near.indices]), 0)
        matrices.append((near + sp.diags(present.astype(np.float32))).tocsr())
    return matrices
