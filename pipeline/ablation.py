"""Ablation: what the trained model's lists are worth without the content of one modality.

- inference: items are made again from what is left, by the model as it was trained; users stay as they are. Whether an
  item is new stays as it was, and the neighbours in a gnn's graph keep all that they have;
- refit: a model that reads each modality's own vectors is trained again without them, its epochs chosen on validation.

A model that looks at no content has no ablation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.contributions import CHUNK_ITEMS
from pipeline.fuse import shards_of
from pipeline.fusion import load_catalogue
from pipeline.fusion.shards import ShardSides
from pipeline.interactions import Floats
from pipeline.metrics import Scorer, inner_product
from pipeline.night import Night
from pipeline.recommend import EXPLAINED, READS_MODALITIES, Content, build, load_item_side
from pipeline.runtime import threads
from pipeline.tables import Log, read_vectors
from pipeline.train import content_of


def way_of(night: Night, model: str) -> str:
    """How the ablation of a model is made: `inference`, `refit`, or empty where there is none."""
    asked = night.config.evaluate.ablation
    if asked != "off" and model in EXPLAINED:
        return "inference"
    return "refit" if asked == "refit" and model in READS_MODALITIES else ""


def without_each(night: Night, model: str, log: Log) -> Iterator[tuple[str, Scorer]]:
    """Each modality, and the trained model's scorer without it."""
    way = way_of(night, model)
    if way == "inference":
        yield from _at_inference(night, model)
    elif way == "refit":
        yield from _refitted(night, model, log)


def _at_inference(night: Night, model: str) -> Iterator[tuple[str, Scorer]]:
    evaluated = night.workspace.path(night.receipt("train").path, "evaluated")
    _, users = read_vectors(evaluated / "user_vectors.parquet", "user_id")
    fusion = load_catalogue(night.workspace.path(night.receipt("fuse").path))
    sides = ShardSides(shards_of(night)[0], fusion.frontend)
    items = load_item_side(model, evaluated)
    modalities = fusion.frontend.modalities
    for place, modality in enumerate(modalities):
        kept = np.arange(len(modalities)) != place
        made: list[Floats] = []
        for start in range(0, night.receipt("ingest").rows, CHUNK_ITEMS):
            codes = np.arange(start, min(start + CHUNK_ITEMS, night.receipt("ingest").rows))
            vectors, _ = fusion.vectors(sides, codes, np.tile(kept, (len(codes), 1)))
            content = Content(np.nan_to_num(vectors), ~np.isnan(vectors[:, 0]))
            made.append(items.vectors(content, codes))
        yield modality, inner_product(users, np.concatenate(made))


def _refitted(night: Night, model: str, log: Log) -> Iterator[tuple[str, Scorer]]:
    content = content_of(night, log, model)
    for modality in content.modalities:
        left = {name: told for name, told in content.modalities.items() if name != modality}
        told = replace(content, modalities=left) if left else _nothing(content)
        again = build(model, night.config, threads(night.config))
        again.fit(told, log.of("train"), log.of("validation"))
        yield modality, again.scorer(log.of("train", "validation"))


def _nothing(content: Content) -> Content:
    return Content(np.zeros_like(content.vectors), np.zeros_like(content.present))
