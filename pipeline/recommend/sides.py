"""What a saved model says of its items and users, apart from the model: what it takes to explain a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.interactions import Floats, Int64s, Interactions

if TYPE_CHECKING:
    from pipeline.recommend.base import Content


class ItemSide(ABC):
    """A saved model's item vectors as a function of content, which is what it takes to explain a score by modality.

    reads_fused: whether it looks at fused vectors, which may be costly to make. fixed: the members of a blend whose
    items stay as they are, whatever the content.
    """

    reads_fused: bool = True
    fixed: tuple[str, ...] = ()

    @abstractmethod
    def vectors(self, content: Content, codes: Int64s, modalities: Collection[str]) -> Floats:
        """The vectors that some items would have with other content: (n, d) float32, as in `item_vectors`.

        modalities: those that are left. content: the fused vectors that these make, of these items alone, row for
        row. codes: (n,) in the catalogue. Whether an item is new stays as it was when the model was made, whatever the
        content.
        """


@dataclass(frozen=True)
class PastOf:
    """What a user's vector was made of. history: of this user alone, its items coded by their places in `codes`.

    codes: (n,) in the catalogue. profile: (d,) float32 fused vector of what the user says of themselves, if anything.
    """

    history: Interactions
    codes: Int64s
    profile: Floats | None = None


@dataclass(frozen=True)
class Split:
    """A score as a sum over a user's past choices: base + the sums of choices and of rest.

    base: what suits everyone. choices: (n,) float64, of each item of the history. rest: by name, what a `profile` says,
    and those members of a blend whose users are no sums.
    """

    base: float
    choices: npt.NDArray[np.float64]
    rest: dict[str, float]


class FoldSide(ABC):
    """What makes a user of any history without the model.

    whole: the members of a blend that cannot. profiles: whether a user's profile counts.
    """

    whole: tuple[str, ...] = ()
    profiles: bool = False

    def prepare(self) -> None:
        """Opens whatever is not open yet; from then on it answers, also where its folder is swept meanwhile."""
        return

    @abstractmethod
    def fold_in(self, past: PastOf) -> Floats:
        """The user's vector, (d,) float32, as `user_vectors` makes it of this history.

        Raises ConfigError if a member of a blend cannot, and ShardCorrupt if a file is not what it should be.
        """


class UserSide(FoldSide):
    """A saved model's users as sums over their histories, which is what it takes to explain a score by past choices."""

    @abstractmethod
    def split(self, user: Floats, item: Floats, past: PastOf) -> Split:
        """The published vectors' inner product, split. user and item: (d,) float32."""
