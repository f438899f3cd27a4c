"""Item-to-item models: a user's score for an item is the sum of what the history's items say of it, s = x W.

| name | W | source |
|---|---|---|
| item_knn | cosine of the items' users, shrunk, k nearest of each item | Sarwar et al. 2001 |
| rp3beta | a random walk item–user–item, divided by popularity^β, k likeliest of each item | Paudel et al. 2016 |
| ease | closed form of the ridge regression of every item on all others | Steck 2019 |

x is a user's row of the log. W is no product of vectors, so none of them can be indexed; they stand beside the model
that is trained, as they take seconds and are hard to beat. An item that nobody chose is never recommended.
"""

from __future__ import annotations

import logging

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from pipeline.evaluation.metrics import Scorer
from pipeline.interactions import Floats, Int32s, Int64s, Interactions
from pipeline.recommend.base import Content
from pipeline.recommend.grid_searched import Searched, Settings
from pipeline.recommend.models.ease import EaseKind, EaseSettings
from pipeline.recommend.models.item_knn import ItemKnnKind, ItemKnnSettings
from pipeline.recommend.models.rp3beta import Rp3BetaKind, Rp3BetaSettings
from pipeline.recommend.sparse_top_k import top_of_product

log = logging.getLogger("medley")


class ItemToItem(Searched[sp.csr_matrix]):
    """A model that is a sparse matrix W, (n_items, n_items)."""

    def scorer_of(self, state: sp.csr_matrix, history: Interactions) -> Scorer:
        """Scores are x W, float32."""
        rows = history.matrix()
        return lambda users: (rows[users] @ state).toarray()


class ItemKnn(ItemKnnKind, ItemToItem):
    """See above; W[i, j] = |U_i ∩ U_j| / (√(|U_i| |U_j|) + shrink) where i is among the k nearest of j."""

    def __init__(self, settings: ItemKnnSettings, seed: int = 0, threads: int = 1) -> None:
        super().__init__({"neighbours": settings.neighbours, "shrink": settings.shrink})

    def learn(self, content: Content, train: Interactions, settings: Settings) -> sp.csr_matrix:
        """W, sparse."""
        users_of = _binary(train).T.tocsr()
        root = np.sqrt(np.diff(users_of.indptr)).astype(np.float32)

        def adjust(block: sp.csr_matrix, start: int) -> None:
            row = start + np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
            block.data /= root[row] * root[block.indices] + np.float32(settings["shrink"])

        return top_of_product(users_of, users_of.T.tocsr(), int(settings["neighbours"]), adjust).T.tocsr()


class RP3Beta(Rp3BetaKind, ItemToItem):
    """See above; W[i, j] = Σ_u (x_ui / |U_i|)^α (x_uj / |I_u|)^α / |U_j|^β, of every row i the k largest."""

    def __init__(self, settings: Rp3BetaSettings, seed: int = 0, threads: int = 1) -> None:
        super().__init__({"alpha": settings.alpha, "beta": settings.beta, "neighbours": settings.neighbours})

    def learn(self, content: Content, train: Interactions, settings: Settings) -> sp.csr_matrix:
        """W, sparse."""
        chosen = _binary(train)
        popularity = np.maximum(np.bincount(chosen.indices, minlength=train.n_items), 1).astype(np.float32)
        penalty = popularity ** np.float32(settings["beta"])

        def adjust(block: sp.csr_matrix, start: int) -> None:
            block.data /= penalty[block.indices]

        to_user, to_item = _walk(chosen.T.tocsr(), settings["alpha"]), _walk(chosen, settings["alpha"])
        return top_of_product(to_user, to_item, int(settings["neighbours"]), adjust)


class Ease(EaseKind, Searched[tuple[Floats, Int64s]]):
    """See above; W = I - P / diag(P), P = (XᵀX + λI)⁻¹, whose diagonal is 0.

    P is dense over the items that somebody chose: time grows with their cube and memory with their square, so that
    beyond `max_items` only the most often chosen are looked at.
    """

    def __init__(self, settings: EaseSettings, seed: int = 0, threads: int = 1) -> None:
        super().__init__({"regularization": settings.regularization})
        self.max_items = settings.max_items

    def learn(self, content: Content, train: Interactions, settings: Settings) -> tuple[Floats, Int64s]:
        """W (k, k) float32, and the codes of the k items that it is of."""
        chosen = _binary(train)
        counts = np.bincount(chosen.indices, minlength=train.n_items)
        codes = np.sort(np.argsort(-counts, kind="stable")[: min(self.max_items, np.count_nonzero(counts))])
        if len(codes) < np.count_nonzero(counts):
            log.warning("ease reads the %d items most often chosen; see its max_items", len(codes))
        gram = (chosen[:, codes].T @ chosen[:, codes]).toarray().astype(np.float32)
        gram[np.diag_indices_from(gram)] += np.float32(settings["regularization"])
        inverse = _inverse(gram)
        weights = inverse / -np.diag(inverse)
        weights[np.diag_indices_from(weights)] = 0
        return weights, codes

    def scorer_of(self, state: tuple[Floats, Int64s], history: Interactions) -> Scorer:
        """Scores are x W, float32, and 0 for an item that W is not of."""
        weights, codes = state
        rows = history.matrix()[:, codes]

        def scores(users: Int32s) -> Floats:
            block = np.zeros((len(users), history.n_items), np.float32)
            block[:, codes] = rows[users] @ weights
            return block

        return scores


def _inverse(gram: Floats) -> Floats:
    """The inverse of a positive definite matrix, by Cholesky: half of the time and memory of the general one."""
    # What OpenBLAS spawns spins beside a busy neighbour, but a cube of ten thousand is worth every core.
    factor, _ = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    inverse, _ = scipy.linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
    lower = np.tril(inverse)
    full: Floats = lower + np.tril(lower, -1).T
    return full


def _binary(train: Interactions) -> sp.csr_matrix:
    matrix = train.matrix()
    matrix.data = np.ones_like(matrix.data)
    return matrix


def _walk(matrix: sp.csr_matrix, power: float) -> sp.csr_matrix:
    """Rows divided by their sums, entries to a power."""
    lengths = np.maximum(np.diff(matrix.indptr), 1)
    shares = np.repeat(lengths, np.diff(matrix.indptr)).astype(np.float32) ** np.float32(-power)
    return sp.csr_matrix((shares, matrix.indices, matrix.indptr), shape=matrix.shape)
