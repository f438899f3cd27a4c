"""Ablation: what the trained model's lists are worth without the content of one modality.

- inference: items are made again from what is left, by the model as it was trained; users stay as they are. Whether an
  item is new stays as it was, and neighbours in a graph keep all that they have. Of a blend, the members that can make
  their items again do, and the others stay as they are;
- refit: the model, or every member of a blend and their weights, is fitted again on what is left, and chooses its
  settings on validation as it did before. Fused vectors are made of what is left by the fusion as it was fitted.

A model that looks at no content has no ablation, nor, at inference, has one that cannot make its items again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.artefacts.staged import Log
from pipeline.artefacts.vectors import read_vectors
from pipeline.evaluation.metrics import Scorer, inner_product
from pipeline.explain.by_modality import CHUNK_ITEMS
from pipeline.fusion import load_catalogue
from pipeline.fusion.base import Codes
from pipeline.fusion.shards import ShardSides
from pipeline.night import Night
from pipeline.recommend import READS_MODALITIES, REMADE, Content, build, load_item_side
from pipeline.runtime import threads
from pipeline.steps.fuse import shards_of
from pipeline.steps.train import content_of, models_of


def way_of(night: Night, model: str) -> str:
    """How the ablation of a model is made: `inference`, `refit`, or empty where there is none."""
    asked = night.config.evaluate.ablation
    able = REMADE if asked == "inference" else (*REMADE, *READS_MODALITIES)
    any_able = any(member in able for member in models_of(night.config.train, model))
    return asked if asked != "off" and any_able else ""


def without_each(night: Night, model: str, log: Log) -> Iterator[tuple[str, Scorer]]:
    """Each modality, and the trained model's scorer without it."""
    way = way_of(night, model)
    if way == "inference":
        yield from _at_inference(night, model)
    elif way == "refit":
        yield from _refitted(night, model, log)


class _Left:
    """What is left of the items when one modality is gone, as the fitted fusion sees it."""

    def __init__(self, night: Night) -> None:
        self.fusion = load_catalogue(night.workspace.path(night.receipt("fuse").path))
        self.modalities = self.fusion.frontend.modalities
        self._sides = ShardSides(shards_of(night)[0], self.fusion.frontend)

    def codes(self) -> list[Codes]:
        """All items, some at a time, in the catalogue's order."""
        every = np.arange(self._sides.shards.items)
        return np.split(every, range(CHUNK_ITEMS, len(every), CHUNK_ITEMS))

    def without(self, modality: str, codes: Codes) -> Content:
        """The fused vectors of some items."""
        kept = np.array([name != modality for name in self.modalities])
        vectors, _ = self.fusion.vectors(self._sides, codes, np.tile(kept, (len(codes), 1)))
        return Content(np.nan_to_num(vectors), ~np.isnan(vectors[:, 0]))


def _at_inference(night: Night, model: str) -> Iterator[tuple[str, Scorer]]:
    evaluated = night.workspace.path(night.receipt("train").path, "evaluated")
    _, users = read_vectors(evaluated / "user_vectors.parquet", "user_id")
    items, left = load_item_side(model, evaluated), _Left(night)
    if items is None:
        # Validation left out every member that could.
        return
    for modality in left.modalities:
        kept = set(left.modalities) - {modality}
        made = [
            items.vectors(left.without(modality, codes) if items.reads_fused else _nothing(codes), codes, kept)
            for codes in left.codes()
        ]
        yield modality, inner_product(users, np.concatenate(made))


def _refitted(night: Night, model: str, log: Log) -> Iterator[tuple[str, Scorer]]:
    content, left = content_of(night, log, model), _Left(night)
    for modality in left.modalities:
        chunks = [left.without(modality, codes) for codes in left.codes()]
        told = replace(
            content,
            vectors=np.concatenate([chunk.vectors for chunk in chunks]),
            present=np.concatenate([chunk.present for chunk in chunks]),
            modalities={name: own for name, own in content.modalities.items() if name != modality},
            titles=[""] * len(content.titles) if modality == "text" else content.titles,
        )
        again = build(model, night.config, threads(night.config))
        again.fit(told, log.of("train"), log.of("validation"))
        yield modality, again.scorer(log.of("train", "validation"))


def _nothing(codes: Codes) -> Content:
    return Content(np.zeros((len(codes), 0), np.float32), np.zeros(len(codes), bool))
