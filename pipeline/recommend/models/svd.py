"""svd: the choices' largest singular vectors, which is all that a linear model of so few numbers can keep of them.

    R̃ = D_u^-½ R D_i^-½ ≈ P Σ Qᵀ        s(u, i) = d_i^β q_i · sum over j in u's history of d_j^-β Σ^γ q_j

R has a row for every user of two items and, weighed by `content_weight`, for every item and its nearest in each
modality, so that what is alike is written down alike, and an item that nobody has chosen yet has a vector too. D_u and
D_i are the sums of its rows and columns. PureSVD (Cremonesi et al. 2010), of the matrix that graph convolutions smooth
by: what is left of them when nothing is trained is a low-pass filter (Shen et al. 2021), of a sharp edge where γ is 0,
and of a slope where a vector counts by its singular value to the power γ (Peng et al. 2024), so that more of them
can be kept. How many, how much that value counts, and how much an item's popularity d, validation chooses; all share
one decomposition, see `singular_vectors`. While what validation chose is kept for some nights, each night's begins at
the one before.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from safetensors.numpy import save_file

from pipeline.config.base import ADVANCED
from pipeline.config.base import Grid as Values
from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainSettings
from pipeline.errors import StepFailed
from pipeline.evaluation.metrics import Scorer, inner_product
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Fit, Recommender, Space
from pipeline.recommend.content_features import degrees, rows_of_content, symmetric
from pipeline.recommend.grid_searched import Choice, Grid, Searched
from pipeline.recommend.item_sides import FILE, SavedRows
from pipeline.recommend.singular_vectors import singular_vectors

if TYPE_CHECKING:
    import scipy.sparse as sp
else:
    sp = Lazy("scipy.sparse")

# Of the widest table of items, 1 GB, of which some four are held at once.
MOST_NUMBERS = 2**28
# Share of new items up to which the earlier night's singular vectors are almost today's.
MOST_NEW = 0.03
State = tuple[Floats, Floats]


class SvdSettings(TrainSettings):
    """Validation chooses among the values of a setting."""

    model: Literal["svd"] = "svd"
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (256, 64, 128, 512, 1024), min_length=1, description="dimensions of the vectors, to choose from"
    )
    popularity_powers: Values = Field(
        (0.5, 0.3, 0.1),
        description="powers of popularity, to choose from, that items are scored by",
        json_schema_extra=ADVANCED,
    )
    spectrum_powers: Values = Field(
        (0.0, 0.5, 1.0),
        description="powers of its singular value, to choose from, that a dimension counts by",
        json_schema_extra=ADVANCED,
    )
    neighbours: int = Field(
        5, ge=1, description="nearest items in each modality that stand in an item's row of content"
    )
    content_weight: float = Field(0.3, ge=0, description="what a row of content counts beside a user's; 0 for none")


class Svd(Searched[State], Recommender):
    """See above; an item that is in no row has a zero vector."""

    Settings = SvdSettings
    version = 2
    title = "SVD"
    purpose = "a strong model in seconds, without epochs; a good first one on a new log"
    inductive = True
    reads = frozenset({"modalities"})
    not_remade = "learns an item from its content and from choices at once"
    search_space: ClassVar[Space] = {"neighbours": {"low": 2, "high": 20}, "content_weight": {"low": 0, "high": 1}}
    sums = "items"
    cost = (30.0, 200.0)
    settings: SvdSettings

    @property
    def grid(self) -> Grid:
        """See Searched."""
        widths, powers = self.settings.widths, self.settings.popularity_powers
        return {"width": widths, "popularity_power": powers, "spectrum_power": self.settings.spectrum_powers}

    def prepare(self, content: Content, train: Interactions, grid: Grid) -> Grid:
        """Decomposes R̃: `_q` (n_items, the largest width) of orthonormal columns, `_sigma` (width,), `_degrees`
        (n_items,), float32. Widths that a catalogue of this size has no room for are left out of the grid.

        Raises StepFailed if no row has two items.
        """
        weight = self.settings.content_weight
        content_rows = rows_of_content(content, self.settings.neighbours) if weight else []
        rows = sp.vstack([train.pairs(), *(part * np.float32(weight) for part in content_rows)], format="csr")
        # A row of one item tells of no other, and a pair that stands apart would be a largest singular vector.
        rows = rows[np.diff(rows.indptr) > 1]
        if not rows.nnz:
            raise StepFailed("no user has two training interactions to learn from; set train.model to content")
        self._degrees = degrees(rows, 0)
        widest = max(MOST_NUMBERS // train.n_items, 1)
        widths = [width for width in grid["width"] if width <= widest] or [min(*grid["width"], widest)]
        width = min(int(max(widths)), *rows.shape)
        self._q, self._sigma = singular_vectors(
            symmetric(rows), width, self.seed, self.threads, lambda: self._earlier(width)
        )
        return {**grid, "width": widths}

    @classmethod
    def reads_earlier(cls, settings: TrainSettings, settled: Collection[str]) -> bool:
        """See Model: while settings are kept, it begins at what was found then."""
        return settings.model in settled

    def _earlier(self, width: int) -> Floats | None:
        """The earlier fit's q of so many dimensions, while settings are kept; None where it lacks many of the items."""
        q = self.before.of_items("q") if self.before and self.settled else None
        if q is None or q.shape[1] < width:
            return None
        new = (self._degrees > 0) & ~q.any(axis=1)
        return q[:, :width] if np.mean(new) <= MOST_NEW else None

    def save(self, folder: Path) -> None:
        """Writes the decomposition as `model.safetensors`; see `prepare`."""
        width = int(self.chosen["width"])
        tensors = {"q": self._q[:, :width], "sigma": self._sigma[:width], "degrees": self._degrees}
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / FILE)

    @classmethod
    def restore_reads(cls) -> frozenset[str]:
        """See Model: its decomposition is saved, content and all."""
        return frozenset()

    def restore(self, content: Content, train: Interactions, chosen: Fit, folder: Path) -> None:
        """See Recommender: takes the saved decomposition."""
        self._q, self._sigma, self._degrees = SavedRows(folder / FILE, self.name).read(("q", "sigma", "degrees"))
        self.chosen = chosen.settings
        self.state = self.state_of(content, train, chosen.settings)

    def state_of(self, content: Content, train: Interactions, settings: Choice) -> State:
        """d^β of every item, (n_items,), and Σ^γ of as many dimensions as there are to be, (width,), float32."""
        power = np.maximum(self._degrees, 1e-9) ** np.float32(settings["popularity_power"])
        power[self._degrees == 0] = 1
        return power, self._sigma[: int(settings["width"])] ** np.float32(settings["spectrum_power"])

    def scorer_of(self, state: State, history: Interactions) -> Scorer:
        """Inner products."""
        return inner_product(self._users(state, history), self._items(state))

    @property
    def item_vectors(self) -> Floats:  # type: ignore[override]
        """(n_items, width) float32, d^β q."""
        return self._items(self.state)

    def user_vectors(self, history: Interactions) -> Floats:
        """(n_users, width) float32, the history's sum of d^-β Σ^γ q; a zero row for a user without history."""
        return self._users(self.state, history)

    def _items(self, state: State) -> Floats:
        power, spectrum = state
        return self._q[:, : len(spectrum)] * power[:, None]

    def _users(self, state: State, history: Interactions) -> Floats:
        power, spectrum = state
        pairs = history.pairs()
        pairs.data /= power[pairs.indices]
        users: Floats = np.asarray(pairs @ self._q[:, : len(spectrum)], np.float32)
        users *= spectrum
        return users
