"""Bootstrap intervals over users, and paired tests of two models on the same users.

- the interval of a mean is the percentile bootstrap's, 95 % (Efron 1979);
- models are compared user by user: the mean of the differences, its interval, and the p-value of the two-sided
  sign-flip test, p = (1 + #{|Σ s·d| >= |Σ d|}) / (1 + samples) over random signs s (Fisher 1935; found the test of
  choice for rankings by Smucker, Allan and Carterette 2007).

What is drawn depends on the seed and the number of users alone, so models evaluated on one task are compared on the
same draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics import Scores, Values

Summary = dict[str, dict[str, float]]
# A difference this unlikely by chance, whose interval leaves out 0, has a direction.
LEVEL = 0.05
# Draws made at a time, and how many are kept for the next model on the same users.
BLOCK_DRAWS = 1 << 22
KEPT_DRAWS = 1 << 25


def summarise(scores: Scores, samples: int, seed: int) -> Summary:
    """Each metric's mean with its interval.

    Returns metric to `mean`, `low`, `high`, `users`; coverage has a `mean` and `users` only. Without users there is
    nothing to average, and the result is empty.
    """
    users = len(scores.users)
    if users == 0:
        return {}
    names = list(scores.values)
    table = np.stack([scores.values[name] for name in names], axis=1)
    low, high = interval(table, samples, seed)
    mean = table.mean(axis=0)
    summary = {
        name: {"mean": float(mean[i]), "low": float(low[i]), "high": float(high[i]), "users": users}
        for i, name in enumerate(names)
    }
    return summary | {name: {"mean": value, "users": users} for name, value in scores.coverage.items()}


def compare(models: Mapping[str, Values], baseline: Values, samples: int, seed: int) -> Summary:
    """Each model's mean difference to the baseline, user by user: `mean`, `low`, `high`, `p`, `users`.

    models: by name, (m,) float64 of the same m >= 1 users as the baseline's.
    """
    difference = np.stack([values - baseline for values in models.values()], axis=1)
    low, high = interval(difference, samples, seed)
    mean, p = difference.mean(axis=0), _sign_flip(difference, samples, seed)
    return {
        name: {
            "mean": float(mean[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "p": float(p[i]),
            "users": len(baseline),
        }
        for i, name in enumerate(models)
    }


def interval(table: Values, samples: int, seed: int) -> Values:
    """The 95 % intervals of columns' means: (2, columns), low and high. table: (users, columns)."""
    means = [block @ table / len(table) for block in _times_drawn(len(table), samples, seed)]
    ends: Values = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return ends


def _times_drawn(users: int, samples: int, seed: int) -> Iterator[Values]:
    """How often each resample draws each user, in blocks of resamples (b, users)."""
    rows = max(1, BLOCK_DRAWS // users)
    if samples * users <= KEPT_DRAWS:
        draws = _draws(users, samples, seed)
        yield from (draws[at : at + rows].astype(np.float64) for at in range(0, samples, rows))
        return
    generator = np.random.default_rng(seed)
    for at in range(0, samples, rows):
        yield _counted(generator, users, min(rows, samples - at)).astype(np.float64)


@lru_cache(maxsize=16)
def _draws(users: int, samples: int, seed: int) -> npt.NDArray[np.uint8]:
    return _counted(np.random.default_rng(seed), users, samples)


def _counted(generator: np.random.Generator, users: int, samples: int) -> npt.NDArray[np.uint8]:
    counts = np.empty((samples, users), np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(0, users, users), minlength=users)
    return counts


def _sign_flip(difference: Values, samples: int, seed: int) -> Values:
    """(columns,) p-values."""
    users, columns = difference.shape
    generator = np.random.default_rng(seed)
    observed = np.abs(difference.sum(axis=0))
    # What differs by rounding alone counts as reached.
    bar = observed - 1e-9 * np.abs(difference).sum(axis=0)
    reached = np.zeros(columns, np.int64)
    rows = max(1, BLOCK_DRAWS // users)
    for at in range(0, samples, rows):
        shape = (min(rows, samples - at), -(-users // 8))
        flipped = np.unpackbits(generator.integers(0, 256, shape, dtype=np.uint8), axis=1, count=users)
        total = difference.sum(axis=0) - 2 * (flipped @ difference)
        reached += (np.abs(total) >= bar).sum(axis=0)
    p: Values = (1 + reached) / (1 + samples)
    return p
