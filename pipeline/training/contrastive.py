"""The contrastive loss: each row's own answer among those of the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NEGATIVE = -1e9


def info_nce(scores: Tensor, asked: Tensor, answers: Tensor) -> Tensor:
    """Mean over rows of -log softmax of the row's own answer (InfoNCE, van den Oord et al. 2018).

    scores: [b x b], the right answers on the diagonal. asked, answers: [b] item codes; an answer equal to the row's
    own, or to its query, is no negative.
    """
    same = (answers[None] == answers[:, None]) | (answers[None] == asked[:, None])
    same.fill_diagonal_(False)
    right = torch.arange(len(scores), device=scores.device)
    return functional.cross_entropy(scores.masked_fill(same, NEGATIVE), right)
