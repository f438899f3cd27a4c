"""From one vector a token (or a frame) to one vector: hidden [b × t × d] and mask [b × t] give [b × d]."""

from __future__ import annotations

import torch


def pool(hidden: torch.Tensor, mask: torch.Tensor, kind: str) -> torch.Tensor:
    """Pools over the t positions whose mask is 1; positions are filled from the left.

    - mean: Reimers and Gurevych, "Sentence-BERT" (2019)
    - max: the largest value of each dimension
    - cls: the first position
    - last: the last position that is not padding, for causal models
    - attention: softmax(h·q / √d) over positions, q the mean: scaled dot-product attention (Vaswani et al. 2017)
      that asks with the text's own average
    """
    if kind == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    if kind == "last":
        last = (mask.sum(1) - 1).clamp(min=0).to(torch.long)
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1])).squeeze(1)
    if kind == "max":
        return (hidden + (weights - 1) * 1e9).max(dim=1).values
    mean = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    if kind == "mean":
        return mean
    scores = (hidden * mean[:, None]).sum(-1, keepdim=True) / hidden.shape[-1] ** 0.5
    attention = torch.softmax(scores + (weights - 1) * 1e9, dim=1)
    return (hidden * attention).sum(1)
