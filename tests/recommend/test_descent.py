"""Gradient descent by triples: each step is the gradient of the loss that is stated, on known items alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pipeline.recommend.descent import descend

USERS, ITEMS, WIDTH, RATE, L2 = 4, 6, 5, 0.1, 0.03


def tables(seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape, np.float32) for shape in ((USERS, WIDTH), (ITEMS, WIDTH), (ITEMS, 1))]


def loss(weights: list[Tensor], known: Tensor, triple: tuple[int, ...], weight: float) -> tuple[Tensor, Tensor]:
    """Without the squared norms, and with them."""
    users, items, biases = weights
    u, i, j = triple
    e, b = items * known, biases * known
    bare = -weight * logsigmoid(users[u] @ (e[i] - e[j]) + b[i, 0] - b[j, 0])
    norms = sum(rows.square().sum() for rows in (users[u], e[i], e[j], b[i], b[j]))
    return bare, bare + L2 * norms


def test_each_triple_takes_one_step_of_gradient_descent_after_the_one_before() -> None:
    generator = np.random.default_rng(1)
    known = np.ones((ITEMS, 1), np.float32)
    known[-1] = 0
    triples = [(0, 0, 1), (1, 2, ITEMS - 1), (0, 1, 0), (3, 2, 4)]
    factors = generator.random(len(triples), np.float32) + 0.5
    ours, theirs = tables(0), [torch.from_numpy(table).requires_grad_() for table in tables(0)]
    codes = tuple(np.array(column, np.int32) for column in zip(*triples, strict=True))
    told = descend(tuple(ours), known, codes, factors, np.float32(RATE), np.float32(L2))  # type: ignore[arg-type]
    losses = []
    for triple, factor in zip(triples, factors, strict=True):
        bare, whole = loss(theirs, torch.from_numpy(known), triple, float(factor))
        losses.append(float(bare.detach()))
        gradients = torch.autograd.grad(whole, theirs)
        with torch.no_grad():
            for table, gradient in zip(theirs, gradients, strict=True):
                table -= RATE * gradient
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told, np.mean(losses), rtol=1e-5)
    np.testing.assert_array_equal(ours[1][-1], tables(0)[1][-1])
    assert not np.array_equal(ours[1][2], tables(0)[1][2])


def test_scores_too_large_for_an_exponential_leave_everything_finite() -> None:
    for sign in (1, -1):
        users, items, biases = tables(0)
        biases[:, 0] = sign * 1e4 * np.arange(ITEMS)
        codes = tuple(np.array([code], np.int32) for code in (0, 5, 0))
        ones = np.ones((ITEMS, 1), np.float32), np.ones(1, np.float32)
        told = descend((users, items, biases), ones[0], codes, ones[1], np.float32(RATE), np.float32(0))  # type: ignore[arg-type]
        np.testing.assert_allclose(told, 0 if sign > 0 else 5e4, rtol=1e-3)
        assert all(np.isfinite(table).all() for table in (users, items, biases))


def test_no_machine_code_is_kept_that_a_later_process_would_unpickle() -> None:
    assert descend.stats.cache_path is None  # type: ignore[attr-defined]
