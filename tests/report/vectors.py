"""A small run's shards, fusion and model, made by the parts that make them every night."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.fused import WEIGHTS, Fused
from pipeline.artefacts.model import Fitted
from pipeline.artefacts.reranked import Reranked
from pipeline.artefacts.vectors import vector_column
from pipeline.config import Config
from pipeline.fusion.base import Frontend
from pipeline.fusion.kinds.linear import LinearFusion, LinearSettings
from pipeline.fusion.saved import save
from pipeline.interactions import Interactions
from pipeline.recommend import kind_of, recommender
from pipeline.recommend.base import Content
from pipeline.recommend.models.two_tower import TwoTowerSettings
from pipeline.report import RunFiles

WIDTH = 8
LISTED = 10
DIMENSIONS = {"text": 12, "image": 10}
CONFIG = Config(
    fuse=LinearSettings(width=WIDTH),
    train=TwoTowerSettings(width=4, max_epochs=1, batch_rows=32, negatives=16, history_items=5, heads=2),
)


@dataclass(frozen=True)
class Catalogue:
    """items: their ids, in two buckets of equal size. error: modality to each item's reason, None where it has one."""

    items: list[str]
    error: dict[str, list[str | None]]
    log: Interactions
    users: list[str]
    model: str

    @property
    def buckets(self) -> list[slice]:
        half = len(self.items) // 2
        return [slice(0, half), slice(half, None)]


def write(run: RunFiles, catalogue: Catalogue, rng: np.random.Generator) -> None:
    """Writes embeddings, the fused folder, the published model, and the index's card with its lineage."""
    vectors = {m: _embeddings(rng, len(catalogue.items), d, catalogue.error[m]) for m, d in DIMENSIONS.items()}
    shards = {m: _write_shards(run, catalogue, m, found) for m, found in vectors.items()}
    present = {m: [v[~np.isnan(v[:, 0])]] for m, v in vectors.items()}
    fusion = LinearFusion(Frontend.fit(present, WIDTH, seed=0), CONFIG.fuse)
    fused, shares = fusion.transform(vectors)
    for number, rows in enumerate(catalogue.buckets):
        of_rows = {m: shares[rows, place] for place, m in enumerate(vectors)}
        Fused(run.fused).write_bucket(f"bucket-{number:05d}", catalogue.items[rows], fused[rows], of_rows)
    save(fusion, run.fused / WEIGHTS)
    run.index.mkdir(parents=True, exist_ok=True)
    _write_model(run, catalogue, Content(np.nan_to_num(fused), ~np.isnan(fused[:, 0])))
    paths = {f"extract.{m}.bucket-{n:05d}": path for m, found in shards.items() for n, path in enumerate(found)}
    paths |= {"ingest": run.staged, "fuse": run.fused, "train": run.model, "rerank": run.workspace / "reranked" / "r1"}
    paths["rerank"].mkdir(parents=True, exist_ok=True)
    Reranked(paths["rerank"], False, "rerank.enabled is false", 0).write()
    lineage = {step: str(path.relative_to(run.workspace)) for step, path in paths.items()}
    card = {"lineage": lineage, "model": catalogue.model, "encoders": dict.fromkeys(DIMENSIONS, "key")}
    (run.index / "card.json").write_text(json.dumps(card), "utf-8")


def _embeddings(rng: np.random.Generator, n: int, d: int, error: list[str | None]) -> np.ndarray:
    vectors = rng.normal(size=(n, d))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    vectors[[reason is not None for reason in error]] = np.nan
    return vectors


def _write_shards(run: RunFiles, catalogue: Catalogue, modality: str, vectors: np.ndarray) -> list[Path]:
    paths = []
    for number, rows in enumerate(catalogue.buckets):
        missing = np.isnan(vectors[rows, 0])
        error = pa.array(catalogue.error[modality][rows], pa.string())
        table = pa.table(
            {"item_id": catalogue.items[rows], "vector": vector_column(vectors[rows], missing), "error": error}
        )
        paths.append(run.workspace / "embeddings" / modality / "key" / f"bucket-{number:05d}-0123.parquet")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, paths[-1])
    return paths


def _write_model(run: RunFiles, catalogue: Catalogue, content: Content) -> None:
    model = recommender(CONFIG.train if catalogue.model == "two_tower" else kind_of(catalogue.model).Settings(), 0)
    model.fit(content, catalogue.log, epochs=1)
    folder = run.model / "published"
    users = model.user_vectors(catalogue.log)
    Fitted(folder).write((catalogue.items, model.item_vectors), (catalogue.users, users))
    model.save(folder)
    _write_lists(run, catalogue, users @ model.item_vectors.T)


def _write_lists(run: RunFiles, catalogue: Catalogue, scores: np.ndarray) -> None:
    """Every user's best items of those that they have not chosen."""
    scores[catalogue.log.user, catalogue.log.item] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :LISTED]
    user, rank = np.divmod(np.arange(best.size), LISTED)
    table = {
        "user_id": pa.array([catalogue.users[code] for code in user], pa.string()),
        "rank": pa.array(rank + 1, pa.int32()),
        "item_id": pa.array([catalogue.items[code] for code in best.ravel()], pa.string()),
        "score": pa.array(np.take_along_axis(scores, best, axis=1).ravel(), pa.float32()),
    }
    pq.write_table(pa.table(table), run.index / "recommendations.parquet")
