"""Stochastic gradient descent for BPR, one triple after another, compiled by numba.

For a triple (u, i, j) with x = u·(e_i - e_j) + b_i - b_j and z = weight · σ(-x), all of it by the values before:

    u   += rate · (z (e_i - e_j) - 2λ u)          e_i += rate · (z u - 2λ e_i)       b_i += rate · (z - 2λ b_i)
                                                  e_j -= rate · (z u + 2λ e_j)       b_j -= rate · (z + 2λ b_j)

That is the gradient of -weight · ln σ(x) + λ (|u|² + |e_i|² + |e_j|² + b_i² + b_j²). A triple costs its three rows, so
an epoch does not grow with the tables, and every triple learns from all before it. One thread, and sums in an order
that is the compiler's, so that they are vectorised, but always the same: so are the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba
import numpy as np

from pipeline.interactions import Floats, Int32s

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, made at its first call in each process.

    That costs .3 s more than what numba would keep for a later process, and would unpickle there.
    """
    made = numba.njit(function, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
    return cast(Callable[P, R], made)


@compiled
def descend(
    weights: tuple[Floats, Floats, Floats],
    known: Floats,
    codes: tuple[Int32s, Int32s, Int32s],
    weight: Floats,
    rate: np.float32,
    l2: np.float32,
) -> float:
    """One step for each of n triples, in their order, on the weights in place; the mean of -weight · ln σ(x).

    weights: users (n_users, d), items (n_items, d) and biases (n_items, 1). known: (n_items, 1) of ones, and zeros
    where an item's row counts as zeros and stays as it is. codes: users, items they chose and items they did not,
    (n,) each. weight: (n,).
    """
    users, items, biases = weights
    total, shrink = 0.0, np.float32(2) * rate * l2
    for n in range(len(weight)):
        i, j = codes[1][n], codes[2][n]
        user, positive, negative, seen = users[codes[0][n]], items[i], items[j], known[j, 0]
        score = biases[i, 0] - seen * biases[j, 0]
        for k in range(len(user)):
            score += user[k] * (positive[k] - seen * negative[k])
        total += weight[n] * (max(-score, np.float32(0)) + np.log1p(np.exp(-abs(score))))
        step = rate * weight[n] / (np.float32(1) + np.exp(score))
        other, shrink_other = seen * step, seen * shrink
        for k in range(len(user)):
            own, chosen, drawn = user[k], positive[k], negative[k]
            user[k] = own + step * (chosen - seen * drawn) - shrink * own
            positive[k] = chosen + step * own - shrink * chosen
            negative[k] = drawn - other * own - shrink_other * drawn
        biases[i, 0] += step - shrink * biases[i, 0]
        biases[j, 0] -= other + shrink_other * biases[j, 0]
    return total / len(weight)
