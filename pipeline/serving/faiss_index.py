"""FAISS indexes of item vectors, scored by inner product.

- exact search where the numbers that a query reads fit the latency target, else the first inverted-file setting that
  reaches the recall; a clock decides nothing, so that the same vectors give the same index on a busy machine too;
- recall is measured against a brute-force product, never assumed, and latency is measured and reported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Index
from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Int64s
from pipeline.recommend.nearest import FEWEST_PROBES, inverted_file

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

RECALL_AT = 10
# Of exact search, by one thread from memory: 0.3 at 10⁵ items of 64 numbers, 0.5 at 10⁶, 95th percentiles.
NANOSECONDS_A_NUMBER = 0.5
BLOCK_ITEMS = 65_536


@dataclass(frozen=True)
class Choice:
    """One setting that was tried: its recall@10 against exact search and the latency of single queries."""

    kind: str
    nprobe: int
    recall: float
    latency_ms_p50: float
    latency_ms_p95: float


@dataclass(frozen=True)
class Indexed:
    """What an index is made of. vectors: (n, d) float32. rows: (m,) int64, those of them that are in it, in order.

    labels: (m,) int64, what a search then returns for them, and `vector_of` takes; their places in `rows`, if None.
    """

    vectors: Floats
    rows: Int64s
    labels: Int64s | None = None

    def blocks(self) -> Iterator[slice]:
        """Some of `rows` at a time, so that no more than those are copied."""
        return (slice(start, start + BLOCK_ITEMS) for start in range(0, len(self.rows), BLOCK_ITEMS))

    def of(self, block: slice) -> Floats:
        """The vectors of a block: (b, d) float32."""
        return np.ascontiguousarray(self.vectors[self.rows[block]])


def sampled(vectors: Floats, rows: Int64s, count: int, seed: int) -> Floats:
    """At most `count` of some rows, a seeded sample in their order: (b, d) float32."""
    places = np.random.default_rng(seed).permutation(len(rows))[:count]
    return np.ascontiguousarray(vectors[rows[np.sort(places)]])


def built(items: Indexed, queries: Floats, settings: Index) -> tuple[faiss.Index, list[Choice]]:
    """The first index that meets the targets, and what was tried, the one returned last. queries: (q, d) float32."""
    truth = tenth_best(items, queries)
    if len(items.rows) * items.vectors.shape[1] * NANOSECONDS_A_NUMBER / 1e6 > settings.max_latency_ms:
        return inverted(items, queries, truth, settings)
    index = exact(items)
    return index, [measured(index, "Flat", 0, queries, truth)]


def exact(items: Indexed) -> faiss.Index:
    """An index that compares every vector."""
    index: faiss.Index = faiss.IndexFlatIP(items.vectors.shape[1])
    if items.labels is not None:
        index = faiss.IndexIDMap2(index)
    for block in items.blocks():
        index.add(items.of(block)) if items.labels is None else index.add_with_ids(items.of(block), items.labels[block])
    return index


def inverted(
    items: Indexed, queries: Floats, truth: Floats, settings: Index
) -> tuple[faiss.IndexIVFFlat, list[Choice]]:
    """Cells, and as many of them probed as the recall target takes. truth: see `tenth_best`."""
    labels = np.arange(len(items.rows)) if items.labels is None else items.labels
    index = inverted_file(items.vectors, items.rows, labels)
    tried: list[Choice] = []
    index.nprobe = min(FEWEST_PROBES, index.nlist)
    while True:
        tried.append(measured(index, f"IVF{index.nlist},Flat", index.nprobe, queries, truth))
        if tried[-1].recall >= settings.min_recall or index.nprobe == index.nlist:
            return index, tried
        index.nprobe = min(index.nprobe * 2, index.nlist)


def vector_of(index: faiss.Index, label: int) -> Floats:
    """The vector, (d,) float32, that an index holds under a label, or in a row where it has no labels."""
    cells = faiss.try_extract_index_ivf(index)
    if cells is not None:
        cells.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]
    return np.asarray(index.reconstruct(label))


def tenth_best(items: Indexed, queries: Floats) -> Floats:
    """The score of the tenth best item of each query, by a plain product: (q,) float32."""
    k = min(RECALL_AT, len(items.rows))
    best = np.zeros((len(queries), 0), np.float32)
    for block in items.blocks():
        scores = np.concatenate([best, queries @ items.of(block).T], axis=1)
        best = np.partition(scores, -min(k, scores.shape[1]), axis=1)[:, -k:]
    return best.min(axis=1, initial=np.inf)


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
    # What holds nothing misses nothing: a catalogue without content has an empty index of it.
    recall = min(1.0, reached / (k * len(queries))) if k and len(queries) else float(not index.ntotal)
    p50, p95 = np.percentile(times, [50, 95]) * 1000 if times else (0.0, 0.0)
    return Choice(kind, nprobe, round(recall, 4), round(float(p50), 4), round(float(p95), 4))
