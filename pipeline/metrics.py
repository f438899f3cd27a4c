"""Full ranking: every item is ranked for every user, never a sample (Krichene and Rendle 2020).

For user u with targets T and the list L of the k best candidates that u has not yet seen:

| metric | for one user |
|---|---|
| recall@k | \\|L ∩ T\\| / \\|T\\| |
| hitrate@k | 1 if L ∩ T is not empty, else 0 |
| mrr@k | 1 / rank of the first target in L, 0 if there is none |
| ndcg@k | DCG / ideal DCG; DCG = sum over hits of 1 / log2(rank + 1); the ideal has min(k, \\|T\\|) hits first |
| coverage@k | of all users together: share of the candidates that are in anyone's L |

Equal scores are ordered by a fixed hash of the user's and the item's code: always the same, and no better than
chance. The order of the codes themselves would not do: catalogues are often numbered by age or fame, so that a model
that scores all new items alike would look as if it knew them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from pipeline.errors import StepFailed
from pipeline.interactions import Codes, Floats, Interactions, Mask

BLOCK_SCORES = 8_000_000
Columns = npt.NDArray[np.int64]
# User codes (b,) to the scores of all items, (b, n_items) float32, an array of the caller's own.
Scorer = Callable[[Codes], Floats]
Values = npt.NDArray[np.float64]
Summary = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Task:
    """What is ranked, and against what.

    history: seen items, which are never recommended. targets: what the users went on to choose; a target that is
    in the history, or is no candidate, is no target. candidates: (n_items,) bool, the items ranked; all, if None.
    """

    history: Interactions
    targets: Interactions
    candidates: Mask | None = None


@dataclass(frozen=True)
class Scores:
    """Metrics of each user who has a target.

    users: (m,) int32 codes. values: metric@k to (m,) float64. coverage: coverage@k to one number.
    """

    users: Codes
    values: dict[str, Values]
    coverage: dict[str, float]


def evaluate(
    user_vectors: Floats, item_vectors: Floats, task: Task, cutoffs: Sequence[int] = (5, 10, 20, 50)
) -> Scores:
    """Ranks by inner product; see `rank`. user_vectors: (n_users, d) float32. item_vectors: (n_items, d) float32.

    Raises StepFailed if a vector is not finite: its scores would have no order.
    """
    return rank(inner_product(user_vectors, item_vectors), task, cutoffs)


def inner_product(user_vectors: Floats, item_vectors: Floats) -> Scorer:
    """The scorer of vectors, shapes as in `evaluate`. Raises StepFailed if one is not finite."""
    if not (np.isfinite(user_vectors).all() and np.isfinite(item_vectors).all()):
        raise StepFailed("the model's vectors are not all finite numbers; lower train.learning_rate and train again")
    return lambda users: user_vectors[users] @ item_vectors.T


def rank(scorer: Scorer, task: Task, cutoffs: Sequence[int] = (5, 10, 20, 50)) -> Scores:
    """Ranks the candidates of `task` for every user with a target, in blocks of users."""
    candidates = np.ones(task.targets.n_items, bool) if task.candidates is None else task.candidates
    seen = _pairs(task.history)
    targets = _targets(task, seen, candidates)
    users = np.flatnonzero(np.diff(targets.indptr)).astype(np.int32)
    depth = max(cutoffs)
    shown = {k: np.zeros(len(candidates), bool) for k in cutoffs}
    hits = np.zeros((len(users), depth), bool)
    for start, stop in _blocks(len(users), len(candidates)):
        block = users[start:stop]
        scores = scorer(block)
        scores[:, ~candidates] = -np.inf
        _hide(scores, seen[block])
        best = top_k(scores, depth, block)
        valid = np.take_along_axis(scores, best, axis=1) > -np.inf
        hits[start:stop, : best.shape[1]] = _contains(targets[block], best) & valid
        for k in cutoffs:
            shown[k][best[:, :k][valid[:, :k]]] = True
    values = _per_user(hits, np.diff(targets.indptr)[users], cutoffs)
    total = max(int(candidates.sum()), 1)
    return Scores(users, values, {f"coverage@{k}": float(shown[k].sum() / total) for k in cutoffs})


def top_k(scores: Floats, k: int, users: Codes) -> Columns:
    """The columns of the k largest scores of each row, best first, equals ordered by `tie_break`.

    scores: (n, m). users: (n,) the rows' user codes. Returns (n, min(k, m)) int64.
    """
    k = min(k, scores.shape[1])
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    values = np.take_along_axis(scores, best, axis=1)
    # A partition picks any of those that tie for the last place: those rows are picked again.
    last = values.min(axis=1)
    for row in np.flatnonzero((scores >= last[:, None]).sum(axis=1) > k):
        above = np.flatnonzero(scores[row] > last[row])
        level = np.flatnonzero(scores[row] == last[row])
        first = np.argsort(tie_break(users[row], level), kind="stable")[: k - len(above)]
        best[row] = np.concatenate([above, level[first]])
    values = np.take_along_axis(scores, best, axis=1)
    order = np.lexsort((tie_break(users[:, None], best), -values), axis=1)
    return np.take_along_axis(best, order, axis=1)


def tie_break(users: Codes | np.int32, items: Columns) -> npt.NDArray[np.uint64]:
    """A fixed pseudo-random key of each pair of codes, the lower first among equal scores (SplitMix64's mixer)."""
    key = (np.asarray(users).astype(np.uint64) << np.uint64(32)) + np.asarray(items).astype(np.uint64)
    key = key + np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def summarise(scores: Scores, samples: int, seed: int) -> Summary:
    """Each metric's mean with a 95 % percentile bootstrap interval over users (Efron 1979).

    Returns metric to `mean`, `low`, `high`, `users`; coverage has a `mean` and `users` only. The resamples depend on
    the seed and the number of users alone, so that models evaluated on one task are compared on the same ones.
    Without users there is nothing to average, and the result is empty.
    """
    users = len(scores.users)
    if users == 0:
        return {}
    names = list(scores.values)
    table = np.stack([scores.values[name] for name in names], axis=1)
    low, high = np.percentile(_resampled_means(table, samples, seed), [2.5, 97.5], axis=0)
    mean = table.mean(axis=0)
    summary = {
        name: {"mean": float(mean[i]), "low": float(low[i]), "high": float(high[i]), "users": users}
        for i, name in enumerate(names)
    }
    return summary | {name: {"mean": value, "users": users} for name, value in scores.coverage.items()}


def _resampled_means(table: Values, samples: int, seed: int) -> Values:
    users = len(table)
    generator = np.random.default_rng(seed)
    share = np.full(users, 1 / users)
    rows = max(1, BLOCK_SCORES // users)
    blocks = [generator.multinomial(users, share, size=min(rows, samples - at)) for at in range(0, samples, rows)]
    return np.concatenate([block @ table for block in blocks]) / users


def _pairs(log: Interactions) -> sp.csr_matrix:
    shape = (log.n_users, log.n_items)
    matrix = sp.csr_matrix((np.ones(len(log), np.float32), (log.user, log.item)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _targets(task: Task, seen: sp.csr_matrix, candidates: Mask) -> sp.csr_matrix:
    targets = _pairs(task.targets)
    targets = (targets - targets.multiply(seen)).tocsr() @ sp.diags(candidates.astype(np.float32)).tocsr()
    targets.eliminate_zeros()
    return targets


def _blocks(users: int, items: int) -> list[tuple[int, int]]:
    rows = max(1, BLOCK_SCORES // max(items, 1))
    return [(start, min(start + rows, users)) for start in range(0, users, rows)]


def _hide(scores: Floats, seen: sp.csr_matrix) -> None:
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    scores[rows, seen.indices] = -np.inf


def _contains(targets: sp.csr_matrix, best: Columns) -> Mask:
    width = targets.shape[1]
    rows = np.repeat(np.arange(targets.shape[0]), np.diff(targets.indptr))
    wanted = rows * width + targets.indices
    found = np.arange(len(best))[:, None] * width + best
    return np.isin(found, wanted)


def _per_user(hits: Mask, wanted: npt.NDArray[np.int32], cutoffs: Sequence[int]) -> dict[str, Values]:
    """hits: (m, depth) bool, whether the list's place holds a target. wanted: (m,) number of targets."""
    gains = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    ideal = np.cumsum(gains)
    values: dict[str, Values] = {}
    for k in cutoffs:
        top = hits[:, :k]
        found = top.sum(axis=1)
        first = np.where(found > 0, top.argmax(axis=1) + 1, np.inf)
        values[f"recall@{k}"] = found / wanted
        values[f"ndcg@{k}"] = (top * gains[:k]).sum(axis=1) / ideal[np.minimum(wanted, k) - 1]
        values[f"hitrate@{k}"] = (found > 0).astype(np.float64)
        values[f"mrr@{k}"] = 1 / first
    return values
