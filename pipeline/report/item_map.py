"""The map of the fused item space.

- at most MAX_POINTS items that have a vector, a seeded sample where there are more;
- PCA to at most 50 dimensions, then t-SNE started from the first two components; PCA alone below 30 items;
- coloured by each attribute column that is a category, and by the modalities an item has; of more than MAX_VALUES
  values, by the most frequent, and all others as one;
- thumbnails within the bytes of `pictures.DOT`; of an item, MAX_ATTRIBUTES attributes and as many letters of its title
  as an attribute may have: that bounds the size of the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.read import among, read_table
from pipeline.artefacts.vectors import matrix
from pipeline.report.files import RunFiles
from pipeline.report.items import MAX_VALUES, Item, cut, decades, items_of, telling
from pipeline.report.pictures import DOT, Studio, Tile

MAX_POINTS = 1000
MAX_ATTRIBUTES = 4
# More is a list that nobody reads, and each is a number more for every item on the page.
MAX_COLOURINGS = 20
OTHER, NOT_GIVEN = "other", "not given"
_MIN_TSNE = 30
_MIN_SPREAD = 1e-6

Matrix = npt.NDArray[np.float32]
Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class MapPoint:
    """One item of the map; `groups` holds its value under each of `ItemMap.colourings`."""

    item: Item
    x: float
    y: float
    interactions: int
    shares: Shares
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


def map_of(run: RunFiles, studio: Studio, popularity: Mapping[str, int]) -> ItemMap:
    """Builds the map; `popularity` is how often each item was chosen."""
    chosen, mappable = _sample(run)
    table = read_table(run.fused / "items", where=among("item_id", chosen)).sort_by("item_id")
    ids: list[str] = table["item_id"].to_pylist()
    places, method = project(matrix(table["vector"]), run.config.seed)
    items = items_of(run, ids)
    details = [items.get(item_id, Item(item_id, item_id, None, ())) for item_id in ids]
    modalities = Fused(run.fused).modalities()
    shares = [
        tuple((name, float(row[name] or 0)) for name in modalities) for row in table.select(modalities).to_pylist()
    ]
    contents = [" + ".join(name for name, share in row if share > 0) or "none" for row in shares]
    colourings, groups = colour(details, {"modalities": contents})
    tiles = studio.tiles({item.item_id: item.titled for item in details}, DOT)
    points = tuple(
        MapPoint(_brief(item), float(x), float(y), popularity.get(item.item_id, 0), share, own, tiles[item.item_id])
        for item, (x, y), share, own in zip(details, places, shares, groups, strict=True)
    )
    return ItemMap(method, mappable, colourings, points)


def _brief(item: Item) -> Item:
    return replace(item, title=cut(item.title), attributes=item.attributes[:MAX_ATTRIBUTES])


def _sample(run: RunFiles) -> tuple[list[str], int]:
    valid = ds.field("vector").is_valid()
    ids = sorted(read_table(run.fused / "items", ["item_id"], valid)["item_id"].to_pylist())
    return _seeded(ids, MAX_POINTS, run.config.seed), len(ids)


def _seeded(values: list[str], most: int, seed: int) -> list[str]:
    if len(values) <= most:
        return values
    picked = np.random.default_rng(seed).choice(len(values), most, replace=False)
    return [values[place] for place in sorted(picked)]


def project(vectors: Matrix, seed: int) -> tuple[Matrix, str]:
    """Returns places in [-1, 1], shape (n, 2), and the method's name, for vectors of shape (n, width).

    Equal vectors share one place: scikit-learn's t-SNE divides by the spread of its start, and crashes where
    there is none.
    """
    from sklearn.decomposition import PCA  # takes seconds to import, and every verb imports this module

    distinct, back = np.unique(vectors, axis=0, return_inverse=True)
    rows = len(distinct)
    if rows < 3:
        return np.linspace([-0.5, 0], [0.5, 0], rows, dtype=np.float32).reshape(rows, 2)[back.ravel()], "one line"
    reduced = PCA(min(50, *distinct.shape), random_state=seed).fit_transform(distinct)
    spread = float(reduced[:, 0].std())
    if rows < _MIN_TSNE or reduced.shape[1] < 3 or spread < _MIN_SPREAD:
        return _square(np.pad(reduced, ((0, 0), (0, 2)))[:, :2])[back.ravel()], "PCA"
    return _square(_tsne(reduced / spread, seed))[back.ravel()], "t-SNE"


def _tsne(vectors: Matrix, seed: int) -> Matrix:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(vectors) - 1) / 4)
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=600, random_state=seed, n_jobs=1)
    # One thread: threads that wait for each other at every iteration take ten times as long on a busy machine.
    with threadpool_limits(1):
        places: Matrix = tsne.fit_transform(vectors)
    return places


def _square(places: Matrix) -> Matrix:
    centred = places - (places.max(0) + places.min(0)) / 2
    extent = np.abs(centred).max(0)
    return (centred / np.where(extent > 0, extent, 1)).astype(np.float32)


def colour(
    items: Sequence[Item], further: Mapping[str, list[str]]
) -> tuple[tuple[Colouring, ...], list[tuple[int, ...]]]:
    """Returns the ways to colour the map, the best first, and each item's group under every one of them.

    further: by name, each item's value of what is no attribute; the last ways.
    """
    names = dict.fromkeys(name for item in items for name, _ in item.attributes)
    columns = {name: decades([dict(item.attributes).get(name, "") for item in items]) for name in names}
    chosen = {
        name: columns[name] for name in telling(columns, len(items))[: MAX_COLOURINGS - 1] if _sorts(columns[name])
    }
    chosen |= further
    colourings, groups = [], []
    for name, values in chosen.items():
        legend, places = _grouped(values)
        colourings.append(Colouring(name, legend))
        groups.append(places)
    return tuple(colourings), list(zip(*groups, strict=True))


def _sorts(values: Sequence[str]) -> bool:
    """Whether a column puts items into groups, as names and prices do not: a value has two items on average."""
    given = [value for value in values if value]
    return 2 * len(set(given)) <= len(given)


def _grouped(values: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """The groups that values are coloured by, and each value's; what is not given is the last of them."""
    counts = Counter(filter(None, values))
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    own = ranked if len(ranked) <= MAX_VALUES else ranked[: MAX_VALUES - 1]
    others = (OTHER,) * (len(own) < len(ranked))
    legend = (*own, *others, *((NOT_GIVEN,) * ("" in values)))
    place = {value: own.index(value) if value in own else len(own) for value in ranked}
    return legend, [place[value] if value else len(legend) - 1 for value in values]
