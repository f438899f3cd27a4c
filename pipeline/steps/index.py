"""Index: the published vectors as a folder that other services open with plain faiss and pyarrow.

- `recommend.faiss` finds items for a user's vector, `content.faiss` for any mix of text, picture and clip;
- both score by inner product, and their rows are those of `items.parquet`;
- exact search while one query meets the latency target, else the first inverted-file setting that reaches the recall;
- recall is measured against a brute-force product, never assumed;
- `recommendations.parquet` has the best of every user, see `pipeline.serving.recommendations`.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__
from pipeline.artefacts.staged import Log, Staged
from pipeline.artefacts.vectors import read_vectors, vector_column, write_vectors
from pipeline.config import Index
from pipeline.encoders import modalities
from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Interactions
from pipeline.night import Night, StepReceipt
from pipeline.serving import recommendations
from pipeline.steps.ingest import staged_of
from pipeline.steps.prepare import ensure
from pipeline.workspace import CARD, Json, digest

VERSION = 3
RECALL_AT = 10


@dataclass(frozen=True)
class Choice:
    """One setting that was tried: its recall@10 against exact search and the latency of single queries."""

    kind: str
    nprobe: int
    recall: float
    latency_ms_p50: float
    latency_ms_p95: float


def run(night: Night) -> StepReceipt:
    """Writes `index/<digest>/`.

    Raises StepFailed if no item has a vector.
    """
    fused, trained = night.receipt("fuse"), night.receipt("train")
    staged = staged_of(night).digest("items/", "interactions")
    keys: dict[str, str] = {modality: ensure(night, modality).encoder.key for modality in modalities(night.config)}
    key = digest("index", VERSION, night.config.index, night.config.seed, fused.digest, trained.digest, staged, keys)
    return night.step("index", "index", key, lambda folder: _build(night, keys, folder))


def _build(night: Night, keys: dict[str, str], folder: Path) -> Json:
    snapshot = staged_of(night)
    log, everything = snapshot.read_log(), snapshot.read_everything()
    _, fused = read_vectors(night.workspace.path(night.receipt("fuse").path, "items"), "item_id")
    published = night.workspace.path(night.receipt("train").path, "published")
    _, items = read_vectors(published / "item_vectors.parquet", "item_id")
    _, users = read_vectors(published / "user_vectors.parquet", "user_id")
    has_content = ~np.isnan(fused[:, 0])
    kept = has_content | (np.bincount(everything.item, minlength=len(log.items)) > 0)
    if not kept.any():
        raise StepFailed("no item has a vector, so there is nothing to index")
    known = np.flatnonzero(np.any(users != 0, axis=1))
    _write_items(snapshot, kept, has_content, folder)
    _write_users(log, everything, users, known, folder)
    shutil.copyfile(
        night.workspace.path(night.receipt("fuse").path, "fusion.safetensors"), folder / "fusion.safetensors"
    )
    (folder / "encoders.json").write_text(json.dumps(_encoders(night), indent=1, sort_keys=True), "utf-8")
    _copy_fitted(night, folder)
    chosen = {
        "recommend": _write_index(items[kept], users[known], night, folder / "recommend.faiss"),
        "content": _write_index(np.nan_to_num(fused[kept]), fused[kept & has_content], night, folder / "content.faiss"),
    }
    published_rows = recommendations.Published(users, items, kept)
    recommended = recommendations.write(night, log, everything, published_rows, folder)
    card = _card(night, keys, chosen, items.shape[1], fused.shape[1]) | {"recommended": recommended}
    counts = {"rows": int(kept.sum()), "users": len(known), "unindexed_items": int((~kept).sum())}
    counts["recommendations"] = recommended["rows"]
    (folder / CARD).write_text(json.dumps({**counts, **card}, indent=1, sort_keys=True), "utf-8")
    return {**counts, "missing_rows": counts["unindexed_items"], "recall": card["recall"]}


def _write_items(staged: Staged, kept: np.ndarray, has_content: np.ndarray, folder: Path) -> None:
    table = staged.items()
    hidden = [name for name in table.column_names if name.endswith(("_hash", "_problem"))]
    table = table.drop_columns([*hidden, "cold"]).append_column("has_content", pa.array(has_content))
    pq.write_table(table.filter(pa.array(kept)), folder / "items.parquet", row_group_size=16_384)


def _write_users(log: Log, chosen: Interactions, users: Floats, known: np.ndarray, folder: Path) -> None:
    ids = np.asarray(log.items, dtype=object)
    starts = chosen.offsets()
    seen = [sorted(set(ids[chosen.item[starts[u] : starts[u + 1]]])) for u in known]
    table = pa.table(
        {
            "user_id": pa.array(log.users).take(known),
            "vector": vector_column(users[known]),
            "seen": pa.array(seen, pa.list_(pa.string())),
        }
    )
    write_vectors(folder / "users.parquet", table)


def _copy_fitted(night: Night, folder: Path) -> None:
    """What was fitted on the catalogue, which a query's encoder needs; a calibrated network is not: see `lookup`."""
    for modality in modalities(night.config):
        source = ensure(night, modality).encoder.prepared.folder
        if source and source.is_dir() and any(source.iterdir()):
            shutil.copytree(source, folder / "encoders" / modality, ignore=shutil.ignore_patterns("int8.*"))


def _encoders(night: Night) -> Json:
    """What a query's encoder is made from, by modality."""
    found: Json = {}
    for modality in modalities(night.config):
        encoder, settings = ensure(night, modality).encoder, getattr(night.config.extract, modality)
        found[modality] = {
            "key": encoder.key,
            "identity": encoder.identity,
            "fitted": encoder.prepared.fitted,
            "settings": settings.model_dump(mode="json"),
        }
    return found


def _write_index(items: Floats, queries: Floats, night: Night, path: Path) -> list[Choice]:
    """Builds the first index that meets the targets; returns what was tried, the one written last."""
    settings = night.config.index
    sample = np.random.default_rng(night.config.seed).permutation(len(queries))[: settings.queries]
    queries = np.ascontiguousarray(queries[np.sort(sample)])
    items = np.ascontiguousarray(items)
    truth = _exact(items, queries)
    flat = faiss.IndexFlatIP(items.shape[1])
    flat.add(items)
    tried = [_measure(flat, "Flat", 0, queries, truth)]
    written: faiss.Index = flat
    if tried[0].latency_ms_p95 > settings.max_latency_ms:
        written, approximate = _inverted(items, queries, truth, settings)
        tried += approximate
    faiss.write_index(written, str(path))
    return tried


def _inverted(
    items: Floats, queries: Floats, truth: np.ndarray, settings: Index
) -> tuple[faiss.IndexIVFFlat, list[Choice]]:
    """Cells of 4 √n; as many of them probed as the recall target takes."""
    cells = max(1, min(int(4 * np.sqrt(len(items))), len(items) // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(items.shape[1]), items.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 0
    index.train(items)
    index.add(items)
    tried: list[Choice] = []
    index.nprobe = min(8, cells)
    while True:
        tried.append(_measure(index, f"IVF{cells},Flat", index.nprobe, queries, truth))
        if tried[-1].recall >= settings.min_recall or index.nprobe == cells:
            return index, tried
        index.nprobe = min(index.nprobe * 2, cells)


def _exact(items: Floats, queries: Floats) -> np.ndarray:
    """The score of the tenth best item of each query, by a plain product: (n,) float32."""
    if not len(queries):
        return np.zeros(0, np.float32)
    k = min(RECALL_AT, len(items))
    return np.concatenate([np.sort(block @ items.T, axis=1)[:, -k] for block in np.array_split(queries, len(queries))])


def _measure(index: faiss.Index, kind: str, nprobe: int, queries: Floats, truth: np.ndarray) -> Choice:
    k = min(RECALL_AT, index.ntotal)
    times, found = [], 0
    for row, query in enumerate(queries):
        begin = time.perf_counter()
        scores, _ = index.search(query[None], k)
        times.append(time.perf_counter() - begin)
        # By score, not by id: items with equal vectors are equally right.
        found += int((scores[0] >= truth[row] - 1e-4 * max(1.0, abs(truth[row]))).sum())
    recall = min(1.0, found / (k * len(queries))) if len(queries) else 0.0
    p50, p95 = np.percentile(times, [50, 95]) * 1000 if times else (0.0, 0.0)
    return Choice(kind, nprobe, round(recall, 4), round(float(p50), 4), round(float(p95), 4))


def _card(night: Night, keys: dict[str, str], chosen: dict[str, list[Choice]], width: int, content_width: int) -> Json:
    receipts = [receipt for receipt in night.receipts() if receipt.step != "index"]
    recall = min(choices[-1].recall for choices in chosen.values())
    return {
        "medley": __version__,
        "metric": "inner product",
        "d": {"recommend": width, "content": content_width},
        "recall": recall,
        "recall_at": RECALL_AT,
        "indexes": {name: choices[-1].__dict__ for name, choices in chosen.items()},
        "compared": {name: [choice.__dict__ for choice in choices] for name, choices in chosen.items()},
        "max_latency_ms": night.config.index.max_latency_ms,
        "model": night.receipt("train").details["model"],
        "encoders": dict(keys),
        "lineage": {receipt.step: receipt.path for receipt in receipts},
    }
