"""The log of a softmax's denominator, over a table of inner products that is made once."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from pipeline.training.torch_runtime import full_precision

# Below any score, and finite: a row that is hidden altogether has a sum of next to nothing, and a gradient of nought.
HIDDEN = -1e9


def log_sum_exp(left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """log sum over columns of exp(left @ rightᵀ) without the hidden entries: [b].

    left: [b x d]. right: [n x d]. rows and columns: [m] int64 each, the entries hidden.
    """
    return cast(Tensor, _LogSumExp.apply(left, right, rows, columns))


class _LogSumExp(torch.autograd.Function):
    """See `log_sum_exp`.

    A b x n table is written once and then changed in place, on the way back too: written plainly, the softmax would
    pass through a dozen of them, which takes longer than the products.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        with full_precision(left.device):
            left, right = left.float(), right.float()
            table = left @ right.T
        table[rows, columns] = HIDDEN
        top = table.amax(dim=1, keepdim=True)
        total = table.sub_(top).exp_().sum(dim=1)
        ctx.kept = left, right, table, total
        return total.log() + top[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The two gradients."""
        left, right, table, total = ctx.kept
        table.mul_((gradients[0] / total)[:, None])
        return table @ right, table.T @ left, None, None
