"""The causal transformer over item vectors, and the softmax over the catalogue that it is trained by.

Shapes are in brackets: b sequences, l places, d width, h heads, n items, p places that have a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from pipeline.recommend.base import Content
from pipeline.recommend.models.sequence import SemanticIds, SequenceSettings
from pipeline.recommend.semantic_ids import Codebooks
from pipeline.recommend.two_tower_network import Dropout

CHUNK_SCORES = 1_500_000  # of float32: what the caches of a core hold


class CodeVectors(nn.Module):
    """A learned vector for every code of every level of semantic ids; zeros for an item without codes."""

    codes: Tensor
    centroids: Tensor

    def __init__(self, centroids: Tensor, codes: Tensor, width: int) -> None:
        """centroids: saved beside, so that other content can be given codes. codes: [n_items x levels], -1 for none."""
        super().__init__()
        self.register_buffer("centroids", centroids)
        self.register_buffer("codes", codes)
        # Zeros: at first, an item is what it would be without codes.
        self.table = nn.Parameter(torch.zeros(*centroids.shape[:2], width))

    def of_width(self, width: int) -> CodeVectors:
        """Other vectors of the same codes."""
        return CodeVectors(self.centroids.clone(), self.codes.clone(), width)

    def forward(self, items: Tensor) -> Tensor:
        """items: [n]. Returns [n x levels x width]."""
        codes = self.codes[items]
        level = torch.arange(codes.shape[1], device=codes.device)
        return self.table[level, codes.clamp_min(0)] * (codes >= 0)[:, :, None]


def code_vectors(content: Content, settings: SemanticIds, width: int, seed: int) -> CodeVectors | None:
    """The vectors of a catalogue's semantic ids, which are learned from all its items; None where there are none."""
    if not settings.levels:
        return None
    books = Codebooks.fit(content.vectors, content.present, settings, seed)
    codes = books.codes(content.vectors, content.present)
    return CodeVectors(torch.from_numpy(books.centroids), torch.from_numpy(codes), width)


class ItemVectors(nn.Module):
    """v = (W f + e + c) / |W f + e + c|, f the fused vector; an item that nobody has chosen has no e of its own.

    c is the sum of the vectors of the item's semantic ids, where there are any.
    """

    def __init__(self, items: int, content_width: int, width: int, shared: CodeVectors | None = None) -> None:
        super().__init__()
        self.content = nn.Linear(content_width, width, bias=False)
        self.ids = nn.Parameter(torch.empty(items, width))
        self.shared = shared

    def forward(self, codes: Tensor, content: Tensor, own: Tensor) -> Tensor:
        """codes: [n]. content: [n x width], zeros without. own: [n], 0 where e is left out. Returns [n x d], unit."""
        vectors = self.content(content) + self.ids[codes] * own[:, None]
        if self.shared is not None:
            vectors = vectors + self.shared(codes).sum(dim=1)
        return normalize(vectors, dim=1)


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each normed before and added after (Xiong et al. 2020).

    A head adds to its logits a learned number for how many places back it looks (as T5, Raffel et al. 2020): a place is
    known by its distance, so that where a sequence starts, and what pads it, changes nothing.
    """

    def __init__(self, settings: SequenceSettings, generator: torch.Generator) -> None:
        super().__init__()
        width, self.heads = settings.width, settings.heads
        self.back = nn.Parameter(torch.zeros(self.heads, settings.history_items))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.read = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = Dropout(settings.dropout, generator)

    def forward(self, states: Tensor) -> Tensor:
        """[b x l x d] to the same."""
        states = states + self.dropout(self.join(self._attended(self.norms[0](states))))
        hidden = self.dropout(gelu(self.widen(self.norms[1](states))))
        return states + self.dropout(self.narrow(hidden))

    def _attended(self, states: Tensor) -> Tensor:
        b, length, width = states.shape
        parts = self.read(states).view(b, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        places = torch.arange(length, device=states.device)
        distance = places[:, None] - places
        # Equal rows of a batch share one mask; the future is at minus infinity.
        mask = self.back[:, distance.clamp_min(0)].masked_fill(distance < 0, float("-inf"))
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask[None].expand(b, -1, -1, -1))
        return attended.transpose(1, 2).reshape(b, length, width)


class Transformer(nn.Module):
    """Reads item vectors in order; the state at a place knows that place and what came before, and has unit norm."""

    def __init__(
        self,
        shape: tuple[int, ...],
        settings: SequenceSettings,
        generator: torch.Generator,
        shared: CodeVectors | None = None,
    ) -> None:
        """shape: (n_items, width) of the fused vectors."""
        super().__init__()
        self.items = ItemVectors(shape[0], shape[1], settings.width, shared)
        self.first = nn.LayerNorm(settings.width)
        self.blocks = nn.ModuleList([Block(settings, generator) for _ in range(settings.layers)])
        self.last = nn.LayerNorm(settings.width)
        self.dropout = Dropout(settings.dropout, generator)
        for name, weight in self.named_parameters():
            if name.endswith(("bias", "join.weight", "narrow.weight")):
                # Blocks that add nothing: at first a state is its item's vector, from which they learn to depart.
                weight.data.zero_()
            elif weight.dim() == 2 and not name.endswith("back"):
                weight.data.normal_(0, weight.shape[1] ** -0.5, generator=generator)

    def forward(self, history: Tensor) -> Tensor:
        """history: [b x l x d], oldest first, padded at the end. Returns [b x l x d]."""
        states = self.dropout(self.first(history))
        for block in self.blocks:
            states = block(states)
        return normalize(self.last(states), dim=2)


class ReadUser(nn.Module):
    """What is exported of the transformer: one user's vector, from the vectors of their choices."""

    def __init__(self, network: Transformer, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, items: Tensor, present: Tensor) -> Tensor:
        """items: [1 x l x d], newest first. present: [1 x l] bool. Returns [1 x d + 1], see `HistoryModel`."""
        state = self.network(items.flip(1))[:, -1] / self.temperature
        return nn.functional.pad(state, (0, 1), value=1.0) * present.any(dim=1)[:, None]


@dataclass(frozen=True)
class Aims:
    """What the places of a batch predict, items given by their row among the n that are scored.

    target: [p]. weight: [p] float32, of total 1 in the whole batch. chosen: [b x c], the items of each sequence and its
    last target. row: [p], the place's sequence. offset: [n] float32.
    """

    target: Tensor
    weight: Tensor
    chosen: Tensor
    row: Tensor
    offset: Tensor


class SoftmaxLoss(torch.autograd.Function):
    """Cross-entropy of a softmax over items, with its gradient, in chunks of places: [p x n] scores never exist.

    The loss of a place with state u, target t and weight w is

        w (log sum_j exp(s_j + o_j) - (1 - ε) s_t - ε sum_j q_j s_j),    s_j = u·v_j / temperature

    with o_j the item's offset, but 0 for the target and minus infinity for what else the sequence holds, which is no
    negative; q the softmax of all offsets, over which ε is spread (Szegedy et al. 2016). For a full softmax the
    offsets are 0; for a sampled one, see `sequence.Pieces`. States and items have unit norm, which bounds the scores.
    All is float32: a core without AMX multiplies bfloat16 at half the speed, or less.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, states: Tensor, items: Tensor, aims: Aims, scale: float, ease: float
    ) -> Tensor:
        """states: [p x d]. items: [n x d]. scale: 1 / temperature. ease: ε. Returns the loss, []."""
        to_states, to_items = torch.empty_like(states), torch.zeros_like(items)
        spread, offset, loss = torch.softmax(aims.offset, dim=0) * ease, aims.offset - scale, states.new_zeros(())
        rows = max(1, CHUNK_SCORES // len(items))
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            state, wanted, share = states[part] * scale, aims.target[part, None], aims.weight[part, None]
            scores = state @ items.T
            hit = scores.gather(1, wanted)
            aimed = (1 - ease) * hit[:, 0] + (scores @ spread if ease else 0)
            scores.add_(offset).scatter_(1, aims.chosen[aims.row[part]], float("-inf")).scatter_(1, wanted, hit - scale)
            total = scores.exp_().sum(dim=1, keepdim=True)
            loss += (total[:, 0].log() + scale - aimed) @ aims.weight[part]
            scores.mul_(share / total)
            scores.scatter_(1, wanted, scores.gather(1, wanted) - (1 - ease) * share)
            if ease:
                scores.sub_(share * spread)
            to_states[part] = scores @ items * scale
            to_items.addmm_(scores.T, state)
        ctx.save_for_backward(to_states, to_items)
        return loss

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient is there already."""
        to_states, to_items = ctx.saved_tensors  # type: ignore[attr-defined]
        return to_states * grad, to_items * grad, None, None, None
