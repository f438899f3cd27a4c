"""The items that the report shows as pictures, as frozen data: the map's points and the users' shelves."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.modality_shares import Why


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
class Card:
    """An item on a shelf; `caption` is a short line below the title and `fresh` marks one nobody has chosen yet.

    why: of a recommendation, what its score is made of.
    """

    item_id: str
    title: str
    caption: str
    fresh: bool
    tile: Tile
    why: Why | None = None


@dataclass(frozen=True)
class UserShelf:
    """A user's latest choices (newest first) and recommendations (best first)."""

    user_id: str
    chosen: int
    history: tuple[Card, ...]
    recommended: tuple[Card, ...]
