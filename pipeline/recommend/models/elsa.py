"""elsa: the linear autoencoder of low rank (Vančura et al. 2022), which also reads content.

    y = x (A Aᵀ - I),   rows of A of unit norm        loss = mean over rows of w |x / |x| - y / |y||² = 2 w (1 - cos)

x is a row of the log, or of content: an item and its nearest in one modality, so that what is alike is written down
alike, and an item that nobody has chosen yet has a vector too. Items are the rows of A, and a user is the history's
sum, x A: -x only speaks of what the user has, which is not recommended again.

With z = x A and G = Aᵀ A, nothing of the catalogue's size is needed for a row's loss:

    x·y = |z|² - |x|²,    |y|² = z G zᵀ - 2 |z|² + |x|²

so an epoch costs the log's entries times the width, and for each batch items times the square of the width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainedSettings
from pipeline.config.training import Epochs, EvaluateEvery, Patience
from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Space
from pipeline.recommend.content_features import rows_of_content
from pipeline.recommend.trained import Tables, Trained

if TYPE_CHECKING:
    import scipy.sparse as sp
    import torch
    from torch import Tensor
    from torch.nn import functional

    from pipeline.recommend import propagation
else:
    sp, torch, functional = Lazy("scipy.sparse"), Lazy("torch"), Lazy("torch.nn.functional")
    propagation = Lazy("pipeline.recommend.propagation")

SMALLEST = 1e-12


class ElsaSettings(TrainedSettings):
    """Of the vectors, the content beside the log, and the steps."""

    model: Literal["elsa"] = "elsa"
    max_epochs: Epochs = 30
    patience_epochs: Patience = 4
    evaluate_every: EvaluateEvery = 1
    width: int = Field(256, ge=2, description="dimensions of the vectors")
    neighbours: int = Field(
        5, ge=1, description="nearest items in each modality that stand in an item's row of content"
    )
    content_weight: float = Field(0.3, ge=0, description="what a row of content counts beside a user's; 0 for none")
    batch_rows: int = Field(1024, ge=1, description="users and rows of content in a step")
    learning_rate: float = Field(0.1, gt=0)


class Elsa(Trained[tuple[np.ndarray, float]]):
    """See above; item vectors have unit norm, an item that is in no row has a zero vector."""

    Settings = ElsaSettings
    title = "ELSA"
    purpose = "large catalogues, where a linear model of a few hundred dimensions is hard to beat"
    inductive = True
    reads = frozenset({"modalities"})
    not_remade = "learns an item from its content and from choices at once"
    shared = True
    search_space: ClassVar[Space] = {
        "learning_rate": {"low": 1e-2, "high": 0.5, "log": True},
        "width": [64, 128, 256, 512],
        "neighbours": {"low": 2, "high": 20},
        "content_weight": {"low": 0, "high": 1},
    }
    sums = "weights"
    cost = (250.0, 200.0)
    settings: ElsaSettings
    tables: ClassVar[Tables] = {"a": ("items",)}

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32, x A; a zero row for a user without history."""
        return np.asarray(history.matrix() @ self.item_vectors, np.float32)

    def _prepare(self, content: Content, train: Interactions) -> None:
        if not len(train):
            raise StepFailed("nobody chose anything in the training part; set train.model to content")
        log = train.matrix()
        read = rows_of_content(content, self.settings.neighbours) if self.settings.content_weight else []
        filled = [log, *read]
        self._rows = sp.vstack([part[np.diff(part.indptr) > 0] for part in filled], format="csr")
        weights = [np.full(np.count_nonzero(np.diff(part.indptr)), self.settings.content_weight) for part in filled]
        weights[0][:] = 1
        self._row_weights = np.concatenate(weights).astype(np.float32)
        self._read = np.bincount(self._rows.indices, minlength=train.n_items) > 0
        self._random = np.random.default_rng([self.seed, 3])
        generator = torch.Generator().manual_seed(self.seed)
        self._a = torch.randn(train.n_items, self.settings.width, generator=generator).requires_grad_()
        self._weights = {"a": self._a}
        self._optimizers = [torch.optim.NAdam([self._a], lr=self.settings.learning_rate)]
        self._generators = [self._random]

    def _batches(self) -> Iterator[tuple[np.ndarray, float]]:
        """Rows, and their share of a batch."""
        order = self._random.permutation(self._rows.shape[0])
        for start in range(0, len(order), self.settings.batch_rows):
            rows = order[start : start + self.settings.batch_rows]
            own, part = self.processes.own(np.arange(len(rows)))
            yield rows[own], part

    def _loss(self, batch: tuple[np.ndarray, float]) -> Tensor:
        numbers, part = batch
        rows = self._rows[numbers]
        x2 = torch.from_numpy(np.asarray(rows.multiply(rows).sum(axis=1), np.float32).ravel())
        a = functional.normalize(self._a, dim=1)
        z = propagation.Graph(rows) @ a
        z2 = (z * z).sum(dim=1)
        y2 = ((z @ (a.T @ a)) * z).sum(dim=1) - 2 * z2 + x2
        cosine = (z2 - x2) / (x2 * y2.clamp_min(SMALLEST)).sqrt().clamp_min(SMALLEST)
        return (torch.from_numpy(self._row_weights[numbers]) * 2 * (1 - cosine)).mean() * part

    def _freeze(self) -> None:
        self.item_vectors = functional.normalize(self._a, dim=1).numpy() * self._read[:, None].astype(np.float32)
