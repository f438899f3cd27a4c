"""The two towers.

Shapes are in brackets: b moments of users, h history, d width, n items.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from pipeline.recommend.models.two_tower import TwoTowerSettings
from pipeline.training.windows import Windows


@dataclass(frozen=True)
class Profile:
    """Profiles of some users, each read as an item that has content alone.

    vectors: [b x d], of the item tower. present: [b] bool, false without a profile.
    """

    vectors: Tensor
    present: Tensor

    @classmethod
    def of(cls, fused: Tensor, content: nn.Linear) -> Profile:
        """fused: [b x width of content], zero rows without. content: of the item tower."""
        return cls(content(fused), (fused != 0).any(dim=1))


class ItemTower(nn.Module):
    """v = W f + e and bias w·f + b: f the fused vector; e and b are the item's own, where it was ever chosen."""

    def __init__(self, items: int, content_width: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.content = _linear(content_width, width, generator)
        self.content_bias = nn.Parameter(torch.zeros(content_width))
        self.ids = nn.Parameter(torch.randn(items, width, generator=generator) * 0.05)
        self.id_bias = nn.Parameter(torch.zeros(items, 1))

    def forward(self, codes: Tensor, content: Tensor, present: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """n items' vectors from content alone, and with their ids: [n x d + 1] each, b last.

        codes: [n], of content: [n x width], present, known: [n] float, 1 or 0.
        """
        by_content = torch.cat([self.content(content), (content @ self.content_bias)[:, None]], dim=1)
        by_content = by_content * present[:, None]
        own = torch.cat([embedding(codes, table, sparse=True) for table in (self.ids, self.id_bias)], dim=1)
        return by_content, by_content + own * known[:, None]


class UserTower(nn.Module):
    """Reads a history in several ways at once: each head pools it with attention that fades with age.

    The weight of an interaction in head k is softmax over the history of q_k·v - λ_k log(1 + newer) - μ_k log(1 +
    gap_days), with learned λ, μ > 0: some heads read the last few choices, some the whole taste. What a user says of
    themselves is one more item, of weight q_k·v + π_k with a learned π, which does not fade.
    """

    def __init__(self, settings: TwoTowerSettings, generator: torch.Generator, profiles: bool = False) -> None:
        """profiles: whether any user says something of themselves."""
        super().__init__()
        width, heads = settings.width, settings.heads
        self.queries = nn.Parameter(torch.zeros(width, heads))
        self.fade_order = nn.Parameter(torch.linspace(0, 1.5, heads))
        self.fade_days = nn.Parameter(torch.linspace(-2, -1.7, heads))
        if profiles:
            # What a profile counts beside choices, in each way of reading.
            self.profile = nn.Parameter(torch.zeros(heads))
        self.join = nn.Linear(heads * width, width)
        # It starts as the mean of the heads, so that a user begins near what they chose.
        self.join.weight.data = torch.eye(width).repeat(1, heads) / heads
        self.join.bias.data.zero_()
        self.norm = nn.LayerNorm(width)
        self.widen = _linear(width, 2 * width, generator)
        self.narrow = _linear(2 * width, width, generator)
        self.dropout = Dropout(settings.dropout, generator)

    def forward(self, items: Tensor, window: Windows, profile: Profile | None = None) -> Tensor:
        """items: [n x d], the vectors that the window's items are rows of. Returns [b x d], zeros where a user has
        neither choices nor a profile.
        """
        history, logits = embedding(window.item, items), embedding(window.item, items @ self.queries)
        logits = logits - nn.functional.softplus(self.fade_order) * torch.log1p(window.newer)[..., None]
        logits = logits - nn.functional.softplus(self.fade_days) * torch.log1p(window.gap_days)[..., None]
        present = window.present
        if profile is not None:
            history = torch.cat([history, profile.vectors[:, None]], dim=1)
            logits = torch.cat([logits, (profile.vectors @ self.queries + self.profile)[:, None]], dim=1)
            present = torch.cat([present, profile.present[:, None]], dim=1)
        share = torch.softmax(logits.masked_fill(~present[..., None], -1e9), dim=1)
        pooled = torch.einsum("bhk,bhd->bkd", share, history).flatten(1)
        user = self.join(self.dropout(pooled))
        hidden = nn.functional.gelu(self.widen(self.norm(user)))
        read: Tensor = user + self.narrow(self.dropout(hidden))
        return read * present.any(dim=1)[:, None]


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that nothing else in the process changes what it draws."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, values: Tensor) -> Tensor:
        """Any shape; the same shape."""
        if not self.training or self.share == 0:
            return values
        drawn = torch.rand(values.shape, generator=self.generator).to(values.device)
        return values * (drawn >= self.share) / max(1 - self.share, 1e-6)


class Towers(nn.Module):
    """Both towers; the user tower reads the item tower's vectors."""

    def __init__(
        self, shape: tuple[int, ...], settings: TwoTowerSettings, generator: torch.Generator, profiles: bool = False
    ) -> None:
        """shape: (n_items, width) of the fused vectors. profiles: whether any user says something of themselves."""
        super().__init__()
        self.item = ItemTower(shape[0], shape[1], settings.width, generator)
        self.user = UserTower(settings, generator, profiles)


class ReadUser(nn.Module):
    """What is exported of the towers: one user's vector, less its fused part, from item vectors and a profile."""

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.content, self.user = towers.item.content, towers.user

    def forward(
        self, items: Tensor, present: Tensor, newer: Tensor, gap_days: Tensor, profile: Tensor | None = None
    ) -> Tensor:
        """items: [1 x h x d], of the item tower, the rest as in `Windows`. profile: [1 x w], fused, zeros without.

        Returns [1 x d + 1], the last number 1.
        """
        window = Windows(torch.arange(items.shape[1], device=items.device)[None], present, gap_days, newer)
        user = self.user(items[0], window, None if profile is None else Profile.of(profile, self.content))
        return nn.functional.pad(user, (0, 1), value=1.0)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    bound = inputs**-0.5
    layer.weight.data.uniform_(-bound, bound, generator=generator)
    layer.bias.data.zero_()
    return layer
