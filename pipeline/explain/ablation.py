"""Ablation: what the trained model's lists are worth without the content of one modality.

- inference: items are made again from the other modalities, by the model as it was trained; users stay as they are.
  Whether an item is new stays as it was, and neighbours in a graph keep all that they have. Of a blend, the members
  that can make their items again do, and the others stay as they are;
- refit: the model, or every member of a blend and their weights, is fitted again on the other modalities, and chooses
  its settings on validation as it did before. Fused vectors are made of them by the fusion as it was fitted.

A model that looks at no content has no ablation, nor, at inference, has one that cannot make its items again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.model import Fitted
from pipeline.artefacts.shards import Shards
from pipeline.evaluation.metrics import Scorer, inner_product
from pipeline.explain.by_modality import CHUNK_ITEMS
from pipeline.fusion.projected import FromShards
from pipeline.fusion.saved import load_catalogue
from pipeline.interactions import Int64s
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content


def way_of(wanted: str, members: Iterable[str]) -> str:
    """How the ablation of a model is made: `inference`, `refit`, or empty where there is none.

    wanted: `evaluate.ablation`. members: the model's name, or those of the models that it blends.
    """
    kinds = [kind_of(member) for member in members]
    able = any(kind.remade if wanted == "inference" else kind.reads for kind in kinds)
    return wanted if wanted != "off" and able else ""


class PartialContent:
    """The items' content with one modality left out, fused as the fitted fusion does."""

    def __init__(self, fused: Path, shards: Shards) -> None:
        """fused: the folder of the fitted fusion. shards: what it fuses."""
        self.fusion = load_catalogue(Fused(fused))
        self.modalities = self.fusion.frontend.modalities
        self._sides = FromShards(shards, self.fusion.frontend)

    def chunks(self) -> list[Int64s]:
        """All items, some at a time, in the catalogue's order."""
        every = np.arange(self._sides.shards.items)
        return np.split(every, range(CHUNK_ITEMS, len(every), CHUNK_ITEMS))

    def without(self, modality: str, codes: Int64s) -> Content:
        """The fused vectors of some items."""
        keep = np.array([name != modality for name in self.modalities])
        vectors, _ = self.fusion.vectors(self._sides, codes, np.tile(keep, (len(codes), 1)))
        return Content(np.nan_to_num(vectors), ~np.isnan(vectors[:, 0]))


def at_inference(model: str, evaluated: Fitted, partial: PartialContent) -> Iterator[tuple[str, Scorer]]:
    """Each modality, and the scorer of the model saved in `evaluated` without it; nothing if it cannot be made again.

    That is so of a blend where validation left out every member that could.
    """
    _, users = evaluated.users()
    items = kind_of(model).item_side(evaluated.folder)
    if items is None:
        return
    for modality in partial.modalities:
        others = set(partial.modalities) - {modality}
        chunks = [
            items.vectors(partial.without(modality, codes) if items.reads_fused else _nothing(codes), codes, others)
            for codes in partial.chunks()
        ]
        yield modality, inner_product(users, np.concatenate(chunks))


def refitted(
    fitted: Callable[[Content], Scorer], content: Content, partial: PartialContent
) -> Iterator[tuple[str, Scorer]]:
    """Each modality, and the scorer that `fitted` gives of the content without it."""
    for modality in partial.modalities:
        chunks = [partial.without(modality, codes) for codes in partial.chunks()]
        yield (
            modality,
            fitted(
                replace(
                    content,
                    vectors=np.concatenate([chunk.vectors for chunk in chunks]),
                    present=np.concatenate([chunk.present for chunk in chunks]),
                    modalities={name: own for name, own in content.modalities.items() if name != modality},
                    titles=[""] * len(content.titles) if modality == "text" else content.titles,
                )
            ),
        )


def _nothing(codes: Int64s) -> Content:
    return Content(np.zeros((len(codes), 0), np.float32), np.zeros(len(codes), bool))
