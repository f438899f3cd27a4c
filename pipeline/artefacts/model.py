"""What `train` leaves in `models/<digest>/`: two fits of one recommender, one evaluated and one published.

| in `evaluated/` and `published/` | columns, or what it holds |
|---|---|
| item_vectors.parquet | item_id · vector FixedSizeList<float32>[d], of every item |
| user_vectors.parquet | user_id · vector likewise, of every user; the inner product is the score |
| model.safetensors and others | weights, as the recommender saves them |

curves.json: each fit's epochs, and those of the members of a blend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from pipeline.artefacts.read import FULL, read_json, read_table
from pipeline.artefacts.tries import Try
from pipeline.artefacts.vectors import read_vectors, write_vectors
from pipeline.interactions import Floats

CURVES = "curves.json"
# A fit's epochs: `epoch`, `loss`, and the metric where it was measured.
Curve = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Chosen:
    """What a fit chose on validation: its epochs, 0 where it learns in none, and other settings by name."""

    chosen_epochs: int = 0
    settings: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """Settings that validation chose, this night or an earlier one, by name.

    meaning: a digest of what they were chosen from, and by what. nights: how many they were kept for since. score: of
    the model on validation that night, where it is known.
    """

    meaning: str
    settings: Mapping[str, int | float]
    nights: int = 0
    score: float | None = None


@dataclass(frozen=True)
class FitDetails(Chosen):
    """What the receipt of `train` notes.

    rows: interactions that the published fit learned from. model: the kind. metric: what validation chose by. before:
    the path of the earlier model that it learned from, empty for none. members: what those of a blend chose.
    fit_seconds: of both fits. settled: what a next night may take. tries: what a choice among models was made from.
    """

    rows: int = 0
    model: str = ""
    metric: str = ""
    inductive: bool = False
    before: str = ""
    members: Mapping[str, Chosen] = field(default_factory=dict)
    fit_seconds: Mapping[str, float] = field(default_factory=dict)
    settled: Mapping[str, Settled] = field(default_factory=dict)
    tries: Mapping[str, Try] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """The folder of one fit; every reader raises ShardCorrupt where a file is not what it should be."""

    folder: Path

    @property
    def item_vectors(self) -> Path:
        """See above."""
        return self.folder / "item_vectors.parquet"

    @property
    def user_vectors(self) -> Path:
        """See above."""
        return self.folder / "user_vectors.parquet"

    def item_ids(self) -> pa.ChunkedArray:
        """The ids that `items` returns, alone."""
        return read_table(self.item_vectors, ["item_id"], hint=FULL)["item_id"]

    def user_ids(self) -> pa.ChunkedArray:
        """The ids that `users` returns, alone."""
        return read_table(self.user_vectors, ["user_id"], hint=FULL)["user_id"]

    def items(self) -> tuple[list[str], Floats]:
        """Ids and (n_items, d) float32."""
        return read_vectors(self.item_vectors, "item_id")

    def users(self) -> tuple[list[str], Floats]:
        """Ids and (n_users, d) float32."""
        return read_vectors(self.user_vectors, "user_id")

    def write(self, items: tuple[list[str], Floats], users: tuple[list[str], Floats]) -> None:
        """Writes what `items` and `users` return."""
        write_vectors(self.item_vectors, "item_id", *items)
        write_vectors(self.user_vectors, "user_id", *users)


@dataclass(frozen=True)
class Trained:
    """A `models/<digest>` folder, and what its receipt notes."""

    folder: Path
    details: FitDetails

    @property
    def evaluated(self) -> Fitted:
        """The fit on the training part."""
        return Fitted(self.folder / "evaluated")

    @property
    def published(self) -> Fitted:
        """The fit on everything up to the night's "now"."""
        return Fitted(self.folder / "published")


@dataclass(frozen=True)
class Curves:
    """`curves.json`: the epochs of both fits; those of a blend's members are in `members`, by name.

    metric: what validation chose the epochs by. chosen_epochs: 0 where the model learns in none.
    """

    model: str
    metric: str
    chosen_epochs: int
    evaluated: Curve
    published: Curve
    members: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes `curves.json`."""
        (folder / CURVES).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), "utf-8")

    @staticmethod
    def read(folder: Path) -> Curves:
        """What `write` wrote. Raises ShardCorrupt if it is gone or not that."""
        document = read_json(folder / CURVES, Curves)
        return Curves(**{name: document[name] for name in Curves.__dataclass_fields__ if name in document})
