"""Which cells to look into, learned from users: a vector for each, whose product with a user's says what it promises.

A user's vector is a query, and its best items say which cells were right: softmax regression from queries to cells
(Vecchiato, Lucchese, Nardini and Bruch 2024, "A Learning-to-Rank Formulation of Clustering-Based Approximate Nearest
Neighbor Search"). It is one vector a cell, scored by inner product, so plain FAISS takes it for the cell's centre.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.interactions import Floats, Int64s

EPOCHS, BATCH, RATE = 10, 512, 0.03
# Standard deviation of the logits that learning starts from.
SPREAD = 2.0
# Adam's.
FIRST, SECOND = 0.9, 0.999


def learned(start: Floats, queries: Floats, cells: Int64s, cost: Callable[[Floats], float], seed: int) -> Floats:
    """Representatives, (cells, d) float32 of no norm in particular: of the epoch at which `cost` is least.

    start: those that learning starts from. queries: (n, d) float32. cells: (n, k) int64, those of each query's best
    items. cost: of representatives, smaller is better.
    """
    deviation = np.std(queries[:BATCH] @ start.T) if len(queries) else 0.0
    if not deviation:
        return start
    weights = start * np.float32(SPREAD / deviation)
    step = RATE * np.sqrt(np.mean(weights**2))
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    best, least = start, cost(start)
    random, steps = np.random.default_rng(seed), 0
    for epoch in range(EPOCHS):
        rate = step * (1 - epoch / EPOCHS)
        for begin in range(0, len(order := random.permutation(len(queries))), BATCH):
            rows = order[begin : begin + BATCH]
            gradient = _gradient(weights, queries[rows], cells[rows])
            steps += 1
            first += np.float32(1 - FIRST) * (gradient - first)
            second += np.float32(1 - SECOND) * (gradient**2 - second)
            corrected = rate * np.sqrt(1 - SECOND**steps) / (1 - FIRST**steps)
            weights = weights - np.float32(corrected) * first / (np.sqrt(second) + np.float32(1e-12))
        if (now := cost(weights)) < least:
            best, least = weights.copy(), now
    return best


def _gradient(weights: Floats, queries: Floats, cells: Int64s) -> Floats:
    """Of the cross-entropy of the softmax over cells with a query's right ones, which count alike."""
    shares = queries @ weights.T
    shares -= shares.max(axis=1, keepdims=True)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=1, keepdims=True)
    np.subtract.at(shares, (np.arange(len(cells))[:, None], cells), np.float32(1 / cells.shape[1]))
    return np.asarray(shares.T @ queries / len(queries), np.float32)
