"""FAISS indexes of item vectors, scored by inner product.

- exact search while one query meets the latency target, else the first inverted-file setting that reaches the recall;
- recall is measured against a brute-force product, never assumed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Index
from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Int64s

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

RECALL_AT = 10


@dataclass(frozen=True)
class Choice:
    """One setting that was tried: its recall@10 against exact search and the latency of single queries."""

    kind: str
    nprobe: int
    recall: float
    latency_ms_p50: float
    latency_ms_p95: float


def built(
    items: Floats, queries: Floats, settings: Index, seed: int, labels: Int64s | None = None
) -> tuple[faiss.Index, list[Choice]]:
    """The first index that meets the targets, and what was tried, the one returned last.

    items: (n, d) float32. queries: (m, d), of which a seeded sample is asked. labels: (n,) what a search then returns
    for the items, and `reconstruct` takes; their rows, if None.
    """
    sample = np.random.default_rng(seed).permutation(len(queries))[: settings.queries]
    queries = np.ascontiguousarray(queries[np.sort(sample)])
    items = np.ascontiguousarray(items)
    truth = tenth_best(items, queries)
    index = _filled(faiss.IndexFlatIP(items.shape[1]), items, labels)
    tried = [measured(index, "Flat", 0, queries, truth)]
    if tried[0].latency_ms_p95 <= settings.max_latency_ms:
        return index, tried
    index, approximate = inverted(items, queries, truth, settings, labels)
    return index, tried + approximate


def inverted(
    items: Floats, queries: Floats, truth: Floats, settings: Index, labels: Int64s | None = None
) -> tuple[faiss.Index, list[Choice]]:
    """Cells of 4 √n; as many of them probed as the recall target takes. truth: see `tenth_best`; else as in `built`."""
    cells = max(1, min(int(4 * np.sqrt(len(items))), len(items) // 39))
    inner = faiss.IndexIVFFlat(faiss.IndexFlatIP(items.shape[1]), items.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    inner.cp.seed = 0
    inner.train(items)
    index = _filled(inner, items, labels)
    tried: list[Choice] = []
    inner.nprobe = min(8, cells)
    while True:
        tried.append(measured(index, f"IVF{cells},Flat", inner.nprobe, queries, truth))
        if tried[-1].recall >= settings.min_recall or inner.nprobe == cells:
            return index, tried
        inner.nprobe = min(inner.nprobe * 2, cells)


def vector_of(index: faiss.Index, label: int) -> Floats:
    """The vector, (d,) float32, that an index holds under a label, or in a row where it has no labels."""
    cells = faiss.try_extract_index_ivf(index)
    if cells is not None:
        cells.make_direct_map()
    return np.asarray(index.reconstruct(label))


def _filled(index: faiss.Index, items: Floats, labels: Int64s | None) -> faiss.Index:
    if labels is None:
        index.add(items)
        return index
    labelled = faiss.IndexIDMap2(index)
    labelled.add_with_ids(items, labels)
    return labelled


def tenth_best(items: Floats, queries: Floats) -> Floats:
    """The score of the tenth best item of each query, by a plain product: (m,) float32."""
    if not len(queries):
        return np.zeros(0, np.float32)
    k = min(RECALL_AT, len(items))
    return np.concatenate([np.sort(block @ items.T, axis=1)[:, -k] for block in np.array_split(queries, len(queries))])


def measured(index: faiss.Index, kind: str, nprobe: int, queries: Floats, truth: Floats) -> Choice:
    """Asks the queries one by one. truth: see `tenth_best`."""
    k = min(RECALL_AT, index.ntotal)
    times, reached = [], 0
    for row, query in enumerate(queries):
        begin = time.perf_counter()
        scores, _ = index.search(query[None], k)
        times.append(time.perf_counter() - begin)
        # By score, not by id: items with equal vectors are equally right.
        reached += int((scores[0] >= truth[row] - 1e-4 * max(1.0, abs(truth[row]))).sum())
    recall = min(1.0, reached / (k * len(queries))) if len(queries) else 0.0
    p50, p95 = np.percentile(times, [50, 95]) * 1000 if times else (0.0, 0.0)
    return Choice(kind, nprobe, round(recall, 4), round(float(p50), 4), round(float(p95), 4))
