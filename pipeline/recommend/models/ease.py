"""ease: the ridge regression of every item on all others, in closed form (Steck 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.config.base import ADVANCED, Grid
from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainSettings
from pipeline.evaluation.metrics import Scorer
from pipeline.evaluation.scorers import SparseScorer
from pipeline.interactions import Floats, Int32s, Int64s, Interactions
from pipeline.recommend.base import Content
from pipeline.recommend.grid_searched import Choice, Searched

if TYPE_CHECKING:
    import scipy.sparse as sp
else:
    sp = Lazy("scipy.sparse")


class EaseSettings(TrainSettings):
    """Validation chooses among the values of a grid."""

    model: Literal["ease"] = "ease"
    regularization: Grid = Field((200, 50, 1000), description="to choose from", json_schema_extra=ADVANCED)
    max_items: int = Field(10_000, ge=1, description="of more items, those most often chosen are looked at")


class Ease(Searched[tuple[Floats, Int64s]]):
    """Scores are x W, see `item_to_item`; W = I - P / diag(P), P = (XᵀX + λI)⁻¹, whose diagonal is 0.

    P is dense over the items that somebody chose: time grows with their cube and memory with their square, so that
    beyond `max_items` only the most often chosen are looked at.
    """

    Settings = EaseSettings
    title = "EASE"
    purpose = "the strongest of the simple baselines, up to some ten thousand items"
    vectors = False
    seeded = False
    searched = ("regularization",)
    settings: EaseSettings

    def state_of(self, content: Content, train: Interactions, settings: Choice) -> tuple[Floats, Int64s]:
        """W (k, k) float32, and the codes of the k items that it is of."""
        chosen = train.pairs()
        counts = np.bincount(chosen.indices, minlength=train.n_items)
        some = np.count_nonzero(counts)
        codes = np.sort(np.argsort(-counts, kind="stable")[: min(self.settings.max_items, some)])
        if len(codes) < some:
            self.note = f"looks at the {len(codes):,} of {some:,} items most often chosen; see its max_items"
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

        def scores(users: Int32s) -> sp.csr_matrix:
            block = np.asarray(rows[users] @ weights)
            ends = np.arange(0, block.size + 1, len(codes))
            return sp.csr_matrix((block.ravel(), np.tile(codes, len(users)), ends), (len(users), history.n_items))

        if len(codes) < history.n_items / 2:
            return SparseScorer(scores)
        return lambda users: scores(users).toarray()


def _inverse(gram: Floats) -> Floats:
    """The inverse of a positive definite matrix, by Cholesky: half of the time and memory of the general one."""
    import scipy.linalg

    # What OpenBLAS spawns spins beside a busy neighbour, but a cube of ten thousand is worth every core.
    factor, _ = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    inverse, _ = scipy.linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
    lower = np.tril(inverse)
    full: Floats = lower + np.tril(lower, -1).T
    return full
