"""The items that the report shows as pictures, as frozen data: the map's points and the users' shelves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pipeline.report.number_formats import probability, signed

BASE = "base"
Shown = TypeVar("Shown", float, str)


@dataclass(frozen=True)
class Tile:
    """An item as a picture: a `data:` URI, or empty for a placeholder with initials on one of 12 tones."""

    picture: str
    initials: str
    tone: int


@dataclass(frozen=True)
class MapPoint:
    """One item of the map; `groups` holds its value under each of `ItemMap.colourings`."""

    item_id: str
    title: str
    attributes: tuple[tuple[str, str], ...]
    x: float
    y: float
    interactions: int
    shares: tuple[tuple[str, float], ...]
    groups: tuple[int, ...]
    tile: Tile


@dataclass(frozen=True)
class Colouring:
    """A way to colour the map: a column's name and its values, in the order of their colours."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ItemMap:
    """The fused item space in two dimensions, x and y in [-1, 1]."""

    method: str
    mappable: int
    colourings: tuple[Colouring, ...]
    points: tuple[MapPoint, ...]


@dataclass(frozen=True)
class ScoreParts:
    """What a score of a list is made of.

    total = base + the sum of parts. total: the score, or, where that is a probability, its logit. parts: by name of a
    modality, or of a group of the re-ranker's inputs. missing: the modalities that the item has not.
    """

    score: float
    total: float
    is_probability: bool
    base: float
    parts: tuple[tuple[str, float], ...]
    missing: tuple[str, ...]

    @property
    def strip(self) -> tuple[tuple[str, float, str], ...]:
        """Name, size and kind of each piece of the bar, the base last; the kind of what counts against says so.

        The base of a logit has no piece: it is the same for every score, and larger than what tells them apart.
        """
        pieces = self.parts if self.is_probability else (*self.parts, (BASE, self.base))
        return tuple(_piece(name, value, abs(value)) for name, value in pieces)

    @property
    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """The same pieces, with what each adds as text in place of its size."""
        return tuple(_piece(name, value, signed(value)) for name, value in (*self.parts, (BASE, self.base)))

    @property
    def sum(self) -> tuple[str, str]:
        """What the pieces add up to, its name and as text."""
        return ("logit" if self.is_probability else "score"), signed(self.total)

    @property
    def meaning(self) -> str:
        """The score itself, where it is not the sum."""
        return f"the chance that belongs to this logit: {probability(self.score)}" if self.is_probability else ""


def _piece(name: str, value: float, shown: Shown) -> tuple[str, Shown, str]:
    return name, shown, name if value >= 0 else f"{name} against"


@dataclass(frozen=True)
class Card:
    """An item on a shelf; `caption` is a short line below the title and `fresh` marks one nobody has chosen yet.

    score: of a recommendation, what its score is made of.
    """

    item_id: str
    title: str
    caption: str
    fresh: bool
    tile: Tile
    score: ScoreParts | None = None


@dataclass(frozen=True)
class UserShelf:
    """A user's latest choices (newest first) and recommendations (best first)."""

    user_id: str
    chosen: int
    history: tuple[Card, ...]
    recommended: tuple[Card, ...]
