"""vbpr: matrix factorisation by pairwise ranking that also reads each modality's vectors; see `bpr`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.kinds import Lazy
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content, Space
from pipeline.recommend.content_features import modalities
from pipeline.recommend.item_sides import SummedItems, save_parts
from pipeline.recommend.models.bpr import INITIAL, PAIRWISE_SPACE, Factors, PairwiseSettings
from pipeline.recommend.sides import ItemSide

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
else:
    torch, functional = Lazy("torch"), Lazy("torch.nn.functional")


class VbprSettings(PairwiseSettings):
    """As bpr's, and what reads content."""

    model: Literal["vbpr"] = "vbpr"
    content_width: int = Field(64, ge=1, description="dimensions of what is learned from content, beside the ids'")


class VBPR(Factors):
    """Ids and content: items that nobody has chosen yet are ranked by what they are."""

    Settings = VbprSettings
    title = "VBPR"
    version = 2
    purpose = "bpr for catalogues whose items have content"
    inductive = True
    reads = frozenset({"modalities"})
    shared = True
    remade = True
    search_space: ClassVar[Space] = PAIRWISE_SPACE
    settings: VbprSettings

    @classmethod
    def item_side(cls, folder: Path) -> ItemSide | None:
        """See Model."""
        return SummedItems(folder, "vbpr", unit=False)

    def _prepare(self, content: Content, train: Interactions) -> None:
        super()._prepare(content, train)
        rate = self.settings.learning_rate
        # A step touches a batch's rows of the tables alone: sparse gradients spare the rest of the catalogue.
        self._optimizers = [
            torch.optim.SparseAdam(list(self._ids.values()), lr=rate),
            torch.optim.Adam(list(self._maps.values()), lr=rate, fused=True),
        ]

    def _content_maps(self, content: Content, users: int, generator: torch.Generator) -> dict[str, Tensor]:
        by_modality = modalities(content)
        self._features = torch.from_numpy(np.concatenate([vectors for vectors, _ in by_modality.values()], axis=1))
        self._widths = {name: vectors.shape[1] for name, (vectors, _) in by_modality.items()}
        inputs, width = self._features.shape[1], self.settings.content_width
        self._ids["content_users"] = torch.randn(users, width, generator=generator) * INITIAL
        projection = torch.randn(inputs, width, generator=generator) * inputs**-0.5
        return {"projection": projection, "content_bias": torch.zeros(inputs, 1)}

    def _users(self, codes: Tensor) -> Tensor:
        return torch.cat(
            [super()._users(codes), functional.embedding(codes, self._ids["content_users"], sparse=True)], dim=1
        )

    def _item_rows(self, codes: Tensor) -> Tensor:
        ids, features = super()._item_rows(codes), self._features[codes]
        bias = ids[:, -1:] + features @ self._maps["content_bias"]
        return torch.cat([ids[:, :-1], features @ self._maps["projection"], bias], dim=1)

    def save(self, folder: Path) -> None:
        """Writes the weights, and what every item's vector is the sum of, see `item_side`."""
        super().save(folder)
        with torch.no_grad():
            ids = super()._item_rows(torch.arange(len(self._known)))
            own = torch.cat([ids[:, :-1], torch.zeros(len(ids), self.settings.content_width), ids[:, -1:]], dim=1)
            read = torch.cat([self._maps["projection"], self._maps["content_bias"]], dim=1)
            blocks = (
                matrix.split(list(self._widths.values()), dim=at) for matrix, at in ((self._features, 1), (read, 0))
            )
            parts = {name: f @ w for name, f, w in zip(self._widths, *blocks, strict=True)}
        save_parts(folder, own.numpy(), {name: part.numpy() for name, part in parts.items()})
