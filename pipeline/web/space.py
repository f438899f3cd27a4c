"""The map of the catalogue as the report has it, of the published index: a seeded sample of items with content."""

from __future__ import annotations

import numpy as np

from pipeline.artefacts.published import ITEMS
from pipeline.report.item_map import MAX_POINTS, colour, project
from pipeline.report.items import Item, cut
from pipeline.serving.index import Index
from pipeline.web.answers import Colouring, Point, Space
from pipeline.web.catalogue import Catalogue

SEED = 0
EVERY = "every item"


def space_of(index: Index, catalogue: Catalogue) -> Space:
    """Computes the map, which takes seconds; MAX_POINTS items at most."""
    held = index.published.table(ITEMS).read(["has_content"])["has_content"].to_numpy()
    rows = np.flatnonzero(held.astype(bool))
    picked = np.sort(np.random.default_rng(SEED).permutation(len(rows))[:MAX_POINTS])
    sample = rows[picked].astype(np.int64)
    if not len(sample):
        return Space(index=index.digest, method="nothing", items=0, colourings=[], points=[])
    places, method = project(index.contents(sample), SEED)
    cards = catalogue.cards(sample)
    items = [Item(card.item_id, card.title, None, tuple(card.attributes.items())) for card in cards]
    colourings, groups = colour(items, {})
    if not colourings:
        colourings_shown, groups = [Colouring(name="no attribute", values=[EVERY])], [(0,)] * len(items)
    else:
        colourings_shown = [Colouring(name=one.name, values=list(one.values)) for one in colourings]
    points = [
        Point(item_id=item.item_id, title=cut(item.title), x=round(float(x), 4), y=round(float(y), 4), groups=list(own))
        for item, (x, y), own in zip(items, places, groups, strict=True)
    ]
    return Space(index=index.digest, method=method, items=len(rows), colourings=colourings_shown, points=points)
