"""What exact search answers, and how much of it an index finds: by score, so that of equal items any is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.top_k import top_k
from pipeline.indexing.clusters import Indexed
from pipeline.interactions import Floats, Int64s

NOTHING = -1
BLOCK_QUERIES = 512
# Products of two libraries differ in their last digits.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Queries:
    """What an index is asked. vectors: (q, d) float32. taken: of each, (t,) int64, places of the items it has."""

    vectors: Floats
    taken: list[Int64s]

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, part: slice) -> Queries:
        """Some of them."""
        return Queries(self.vectors[part], self.taken[part])


def best_places(items: Indexed, queries: Queries, depth: int) -> tuple[Int64s, Floats]:
    """Each query's best items of those that it does not have, by a plain product in blocks of items.

    Returns places, (q, depth) int64, -1 where there are fewer, and scores, (q, depth) float32, -inf there.
    """
    parts = [
        _best(items, queries.part(slice(at, at + BLOCK_QUERIES)), depth) for at in range(0, len(queries), BLOCK_QUERIES)
    ]
    if not parts:
        return np.zeros((0, depth), np.int64), np.zeros((0, depth), np.float32)
    places, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    return places, scores


def _best(items: Indexed, queries: Queries, depth: int) -> tuple[Int64s, Floats]:
    rows, count = np.arange(len(queries), dtype=np.int32), len(queries)
    places, scores = np.full((count, depth), NOTHING), np.full((count, depth), -np.inf, np.float32)
    sizes = [len(own) for own in queries.taken]
    line, taken = np.repeat(rows, sizes), np.concatenate([np.zeros(0, np.int64), *queries.taken])
    for block in items.blocks():
        vectors = items.of(block)
        products = queries.vectors @ vectors.T
        here = (taken >= block.start) & (taken < block.start + len(vectors))
        products[line[here], taken[here] - block.start] = -np.inf
        own = top_k(products, depth, rows)
        both = np.concatenate([places, own + block.start], axis=1)
        values = np.concatenate([scores, np.take_along_axis(products, own, axis=1)], axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :depth]
        places, scores = np.take_along_axis(both, order, axis=1), np.take_along_axis(values, order, axis=1)
    places[scores == -np.inf] = NOTHING
    return places, scores


def recalls(items: Indexed, queries: Queries, best: Floats, answers: Int64s) -> npt.NDArray[np.float64]:
    """Of each query, how many of its k best are among k answers: (q,) float64; 1 where there are none.

    best: (q, k) float32 scores, see `best_places`. answers: (q, k) places, -1 for none.
    """
    scores = np.empty(answers.shape, np.float32)
    for at in range(0, len(answers), BLOCK_QUERIES):
        part = slice(at, at + BLOCK_QUERIES)
        vectors = items.vectors[items.rows[np.maximum(answers[part], 0)]]
        scores[part] = np.einsum("qd,qkd->qk", queries.vectors[part], vectors)
    wanted = (best > -np.inf).sum(axis=1)
    last = np.take_along_axis(best, np.maximum(wanted - 1, 0)[:, None], axis=1)
    right = (answers != NOTHING) & (scores >= last - ROUNDING * np.maximum(np.abs(last), np.abs(best[:, :1])))
    return np.where(wanted, np.minimum(right.sum(axis=1) / np.maximum(wanted, 1), 1), 1.0)
