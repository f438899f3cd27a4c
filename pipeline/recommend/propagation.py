"""Propagation over a sparse graph: one sparse–dense product a layer, with the gradient written by hand.

The gradient of A · X by X is Aᵀ · G, so that nothing but A and Aᵀ need be kept: autograd's own way through torch's
sparse tensors also makes ready for a gradient of A, which nothing here learns. Everything is float32 on the CPU, where
these products give the same bytes every time.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor

from pipeline.interactions import Floats, Int64s, Interactions, unit_rows
from pipeline.training.torch_runtime import full_precision

NEIGHBOUR_BLOCK = 1024


class Graph:
    """A constant sparse matrix [n x m] to multiply with, and its transpose for the way back."""

    def __init__(self, matrix: sp.spmatrix) -> None:
        self.forward, self.backward = _tensor(matrix), _tensor(matrix.T)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """The product with [m x d] float32, differentiable by that: [n x d]."""
        return cast(Tensor, _Product.apply(self.forward, self.backward, dense))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forward: Tensor, backward: Tensor, dense: Tensor) -> Tensor:
        ctx.back = backward
        with full_precision(dense.device):
            return forward @ dense.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.back @ gradients[0]


def _tensor(matrix: sp.spmatrix) -> Tensor:
    rows = sp.csr_matrix(matrix, dtype=np.float32)
    rows.sort_indices()
    with warnings.catch_warnings():
        # torch calls every CSR tensor a beta feature, once a process.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(rows.indptr.astype(np.int64)),
            torch.from_numpy(rows.indices.astype(np.int64)),
            torch.from_numpy(rows.data),
            size=rows.shape,
            check_invariants=False,
        )


def pairs(log: Interactions) -> sp.csr_matrix:
    """Who chose what: (n_users, n_items) float32 of ones, a repeated pair once."""
    matrix = log.matrix()
    matrix.data[:] = 1
    return matrix


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


def neighbours(vectors: Floats, present: npt.NDArray[np.bool_], count: int) -> sp.csr_matrix:
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
    nearest = np.concatenate([_nearest(unit, at, count) for at in range(0, len(rows), NEIGHBOUR_BLOCK)])
    ends = (np.repeat(rows, count), rows[nearest.ravel()])
    return symmetric(sp.csr_matrix((np.ones(len(ends[0]), np.float32), ends), shape=shape))


def _nearest(unit: Floats, start: int, count: int) -> Int64s:
    cosines = unit[start : start + NEIGHBOUR_BLOCK] @ unit.T
    cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
    # A copy: what is sliced would keep the order of all items alive, for every block.
    return np.argpartition(cosines, -count, axis=1)[:, -count:].copy()
