"""The learned kinds as networks over an item's projected modalities.

All begin as the weighted sum, with every learned part adding nothing, so training can only be kept where it is better.
Shapes are in brackets: n items, m modalities, w the width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.training.softmax import HIDDEN


class Network(nn.Module):
    """Projected modalities [n x m x w] float and mask [n x m] bool become unit vectors [n x w] and weights [n x m]."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.log(weights.clamp_min(1e-6)))

    def forward(self, projected: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum; rows of weights sum to 1, or are 0 where the mask is."""
        weights = masked_softmax(self.logits.expand(mask.shape), mask)
        return functional.normalize(torch.einsum("nm,nmw->nw", weights, projected), dim=-1), weights


class Towers(nn.Module):
    """One tower a modality, g·x + B·gelu(A·x), back to unit norm: [n x m x w] to [n x m x w].

    B begins at zero and g at one. Projections of different modalities are unrelated at first: to agree, a tower must
    outweigh x, so g is learned.
    """

    def __init__(self, modalities: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.scale = width**0.5
        self.kept = nn.Parameter(torch.ones(modalities, 1))
        self.towers = nn.ModuleList(residual(width, hidden, width, dropout) for _ in range(modalities))

    def forward(self, projected: Tensor) -> Tensor:
        """Each modality through its tower; what is missing is zero here, and masked later."""
        lifted = [tower(projected[:, place] * self.scale) for place, tower in enumerate(self.towers)]
        return functional.normalize(self.kept * projected + torch.stack(lifted, dim=1), dim=-1)


class Align(Network):
    """Towers, then the weighted sum: any one modality lands near the item that it belongs to."""

    def __init__(self, weights: Tensor, width: int, hidden: int, dropout: float) -> None:
        super().__init__(weights)
        self.towers = Towers(len(weights), width, hidden, dropout)

    def forward(self, projected: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See Network."""
        return super().forward(self.towers(projected), mask)


class Dnn(Align):
    """The multi-input network: towers, then fully connected layers over all of them, added to the weighted sum."""

    def __init__(self, weights: Tensor, width: int, hidden: int, dropout: float) -> None:
        super().__init__(weights, width, hidden, dropout)
        self.joint = residual(len(weights) * (width + 1), hidden, width, dropout)

    def forward(self, projected: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See Network; present modalities are scaled up for missing ones, and the mask itself is an input."""
        lifted = self.towers(projected)
        present = mask.to(lifted.dtype)
        weights = masked_softmax(self.logits.expand(mask.shape), mask)
        share = mask.shape[1] / present.sum(dim=1).clamp_min(1)
        known = lifted * present[..., None] * share[:, None, None]
        joint = self.joint(torch.cat([known.flatten(1), present], dim=1)) * mask.any(dim=1, keepdim=True)
        return functional.normalize(torch.einsum("nm,nmw->nw", weights, lifted) + joint, dim=-1), weights


class Attention(Align):
    """Towers, self-attention among an item's modalities, and a gate that weighs them for this item.

    The tokens attend to each other in one pre-norm transformer block (Vaswani et al. 2017; Xiong et al. 2020); the
    gate is a softmax over the modalities that the item has, and begins at the configured weights.
    """

    def __init__(self, weights: Tensor, width: int, hidden: int, dropout: float) -> None:
        super().__init__(weights, width, hidden, dropout)
        self.modality = nn.Parameter(torch.randn(len(weights), width) * 0.02)
        self.block = nn.TransformerEncoderLayer(
            width, _heads(width), hidden, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.gate = zeroed(nn.Linear(width, 1))
        self.out = zeroed(nn.Linear(width, width))

    def forward(self, projected: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See Network; the weights are the gate's."""
        lifted = self.towers(projected)
        # A row without any modality may attend to itself, or its softmax would be over nothing.
        hidden = ~mask & mask.any(dim=1, keepdim=True)
        tokens = functional.normalize(self.block(lifted + self.modality, src_key_padding_mask=hidden), dim=-1)
        weights = masked_softmax(self.logits + self.gate(tokens)[..., 0], mask)
        return functional.normalize(torch.einsum("nm,nmw->nw", weights, lifted + self.out(tokens)), dim=-1), weights


def residual(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Two layers with dropout before each; the second begins at zero."""
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        zeroed(nn.Linear(hidden, outputs)),
    )


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with weights and bias of zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where the mask is true, zero elsewhere: rows sum to 1, or to 0 under no mask."""
    weights = torch.softmax(logits.masked_fill(~mask, HIDDEN), dim=-1)
    return weights * mask


def _heads(width: int) -> int:
    return next(heads for heads in (4, 2, 1) if width % heads == 0)
