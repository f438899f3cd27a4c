"""A graph of neighbours (HNSW, Malkov and Yashunin 2018) by inner product: the fastest where vectors are wide.

A search walks from item to item, and compares some thousand wherever users lie. Beside its vector an item has links,
and it takes minutes where cells take seconds, so it is tried where cells do not meet the latency.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.indexing.clusters import Indexed
from pipeline.indexing.judged import DEEP, DEEP_RECALL, DEPTH, Design, Judge, one_thread
from pipeline.indexing.searched import Searched, depth_of, graph_of

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

LINKS = 32
# All are linked in memory, by one thread: of so many with 128 numbers, two threads took a minute.
MOST_ITEMS = 1_000_000
# Of an item's links, those of the upper layers among them.
LINK_BYTES = 280
# What going to an item costs beside reading its vector, in numbers: it lies anywhere in memory.
VISIT = 64
# Candidates that a search keeps: doubled until recall is enough, then halved in between.
FEWEST, MOST, HALVINGS = 16, 4096, 4


def fits(items: Indexed, memory_bytes: int) -> bool:
    """Whether a graph can be made of so many items, in so much memory."""
    return len(items.rows) <= MOST_ITEMS and graph_bytes(items) <= memory_bytes


def graph_bytes(items: Indexed) -> int:
    """What a graph takes."""
    return len(items.rows) * (4 * items.width + LINK_BYTES)


def graph_index(items: Indexed) -> faiss.Index:
    """A graph of all items. It is made by one thread: what several link depends on which is first."""
    graph = faiss.IndexHNSWFlat(items.width, LINKS, faiss.METRIC_INNER_PRODUCT)
    index: faiss.Index = graph if items.labels is None else faiss.IndexIDMap2(graph)
    with one_thread():
        for block in items.blocks():
            vectors = items.of(block)
            index.add(vectors) if items.labels is None else index.add_with_ids(vectors, items.labels_of(block))
    return index


def write_graph(tuner: Judge, path: Path) -> tuple[faiss.Index, Design]:
    """Writes a graph of which a search keeps as many candidates as the recall takes.

    tuner: the queries by which that is found out.
    """
    begin, items, targets = time.perf_counter(), tuner.items, tuner.targets
    index = graph_index(items)
    measured: dict[int, tuple[float, float, int]] = {}

    def enough(candidates: int) -> bool:
        measured[candidates] = at_10, at_100, _ = _measured(index, tuner, candidates)
        wanted = targets.settings.min_recall
        return at_10 >= wanted and at_100 >= min(wanted, DEEP_RECALL)

    candidates = fewest(enough)
    curve = tuple((targets.ms(numbers), round(recall, 5)) for _, (recall, _, numbers) in sorted(measured.items()))
    graph = graph_of(index)
    assert graph is not None
    graph.hnsw.efSearch = candidates
    faiss.write_index(index, str(path))
    size = path.stat().st_size / max(len(items.rows), 1)
    seconds = round(time.perf_counter() - begin, 2)
    return index, Design("graph", 32, measured[candidates][2], size, seconds, "", 0, candidates, curve)


def fewest(enough: Callable[[int], bool]) -> int:
    """The fewest candidates that are enough, or nearly; MOST where none are."""
    low, high = FEWEST // 2, FEWEST
    while not enough(high):
        if high >= MOST:
            return high
        low, high = high, 2 * high
    for _ in range(HALVINGS if high > FEWEST else 0):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _measured(index: faiss.Index, tuner: Judge, candidates: int) -> tuple[float, float, int]:
    """recall@10, recall@100, and the numbers that a query reads, the 99th percentile."""
    graph, searched, queries = graph_of(index), Searched(lambda: index), tuner.queries
    assert graph is not None
    graph.hnsw.efSearch = candidates
    at_10, at_100 = (float(tuner.recalls(searched, depth).mean()) for depth in (DEPTH, DEEP))
    counters: Any = faiss.cvar
    visits, stats = [], counters.hnsw_stats
    depths = depth_of(DEPTH, np.array([len(taken) for taken in queries.taken], np.int64)).tolist()
    for query, taken, depth in zip(queries.vectors, queries.taken, depths, strict=True):
        stats.reset()
        _, labels = index.search(query[None], depth)
        missing = ~np.isin(labels[labels >= 0], tuner.items.labels_of(taken))
        # Who has all that it comes to is answered by the product with every item.
        visits.append(stats.ndis + (index.ntotal if missing.sum() < min(DEPTH, index.ntotal - len(taken)) else 0))
    return at_10, at_100, round(float(np.percentile(visits, 99)) * (tuner.items.width + VISIT))
