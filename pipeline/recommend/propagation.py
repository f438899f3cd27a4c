"""Propagation over a sparse graph: one sparse–dense product a layer, with the gradient written by hand.

The gradient of A · X by X is Aᵀ · G, so that nothing but A and Aᵀ need be kept: autograd's own way through torch's
sparse tensors also makes ready for a gradient of A, which nothing here learns. Everything is float32 on the CPU, where
these products give the same bytes every time.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from pipeline.training.torch_runtime import full_precision


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
