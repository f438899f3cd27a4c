"""Losses by softmax: the contrastive one of a batch, and the log of a denominator over a table that is made once."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.training.torch_runtime import full_precision

# Below any score, and finite: a row that is hidden altogether has a sum of next to nothing, and a gradient of nought.
HIDDEN = -1e9


def info_nce(scores: Tensor, queries: Tensor, answers: Tensor) -> Tensor:
    """Mean over rows of -log softmax of the row's own answer (InfoNCE, van den Oord et al. 2018).

    scores: [b x b], the right answers on the diagonal. queries, answers: [b] item codes; an answer equal to the row's
    own, or to its query, is no negative.
    """
    same = (answers[None] == answers[:, None]) | (answers[None] == queries[:, None])
    same.fill_diagonal_(False)
    right = torch.arange(len(scores), device=scores.device)
    return cross_entropy(scores.masked_fill(same, HIDDEN), right)


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
        ctx.parts = left, right, table, total
        return total.log() + top[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The two gradients."""
        left, right, table, total = ctx.parts
        table.mul_((gradients[0] / total)[:, None])
        return table @ right, table.T @ left, None, None
