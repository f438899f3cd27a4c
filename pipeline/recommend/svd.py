"""svd: the choices' largest singular vectors, which is all that a linear model of so few numbers can keep of them.

    R̃ = D_u^-½ R D_i^-½ ≈ P Σ Qᵀ        s(u, i) = d_i^β q_i · sum over j in u's history of d_j^-β Σ^γ q_j

R has a row for every user of two items and, weighed by `content_weight`, for every item and its nearest in each
modality, so that what is alike is written down alike, and an item that nobody has chosen yet has a vector too. D_u and
D_i are the sums of its rows and columns. PureSVD (Cremonesi et al. 2010), of the matrix that graph convolutions smooth
by: what is left of them when nothing is trained is a low-pass filter (Shen et al. 2021), of a sharp edge where γ is 0,
and of a slope where a vector counts by its singular value to the power γ (Peng et al. 2024), so that more of them
can be kept. How many, how much that value counts, and how much an item's popularity d, validation chooses; all share
one decomposition, by random projections (Halko et al. 2011).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from pipeline.errors import StepFailed
from pipeline.evaluation.metrics import Scorer, inner_product
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Recommender
from pipeline.recommend.content_features import rows_of_content
from pipeline.recommend.grid_searched import Searched, Settings
from pipeline.recommend.models.svd import SvdKind, SvdSettings
from pipeline.recommend.propagation import degrees, pairs, symmetric
from pipeline.recommend.user_sides import AdditiveUsers, additive_alone

POWER_ITERATIONS = 3
State = tuple[Floats, Floats]


class Svd(SvdKind, Searched[State], Recommender):
    """See above; an item that is in no row has a zero vector."""

    def __init__(self, settings: SvdSettings, seed: int, threads: int) -> None:
        grid = {"width": settings.widths, "popularity_power": settings.popularity_powers}
        super().__init__(grid | {"spectrum_power": settings.spectrum_powers})
        self.settings = settings
        self.seed = seed
        self.threads = threads

    def prepare(self, content: Content, train: Interactions) -> None:
        """Decomposes R̃: `_q` (n_items, the largest width) of orthonormal columns, `_sigma` (width,), `_degrees`
        (n_items,), float32.

        Raises StepFailed if no row has two items.
        """
        weight = self.settings.content_weight
        content_rows = rows_of_content(content, self.settings.neighbours) if weight else []
        rows = sp.vstack([pairs(train), *(part * np.float32(weight) for part in content_rows)], format="csr")
        # A row of one item tells of no other, and a pair that stands apart would be a largest singular vector.
        rows = rows[np.diff(rows.indptr) > 1]
        if not rows.nnz:
            raise StepFailed("no user has two training interactions to learn from; set train.model to content")
        self._degrees = degrees(rows, 0)
        width = min(int(max(self.settings.widths)), min(rows.shape))
        with threadpool_limits(self.threads):
            _, sigma, vt = randomized_svd(symmetric(rows), width, n_iter=POWER_ITERATIONS, random_state=self.seed)
        self._q, self._sigma = np.ascontiguousarray(vt.T, np.float32), np.asarray(sigma, np.float32)

    def learn(self, content: Content, train: Interactions, settings: Settings) -> State:
        """d^β q and d^-β Σ^γ q of every item, (n_items, width) float32 each."""
        power = np.maximum(self._degrees, 1e-9) ** np.float32(settings["popularity_power"])
        power[self._degrees == 0] = 1
        q, sigma = self._q[:, : int(settings["width"])], self._sigma[: int(settings["width"])]
        return q * power[:, None], q / power[:, None] * sigma ** np.float32(settings["spectrum_power"])

    def scorer_of(self, state: State, history: Interactions) -> Scorer:
        """Inner products."""
        return inner_product(pairs(history) @ state[1], state[0])

    @property
    def item_vectors(self) -> Floats:
        """(n_items, width) float32, d^β q."""
        return self.state[0]

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32, the history's sum of d^-β Σ^γ q; a zero row for a user without history."""
        return np.asarray(pairs(history) @ self.state[1], np.float32)

    def additive_users(self) -> AdditiveUsers:
        """See Recommender."""
        return additive_alone(self)
