"""Cards, filters and users of one index, all bounded: what is large is read once, or never as a whole.

At 10⁶ items and users: the ids of users and the titles in memory, 20 to 60 bytes each; attributes are read by the
groups of rows that hold an answer's items, and counted once for the filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.mapped import MappedTable
from pipeline.artefacts.published import ITEMS, USERS
from pipeline.interactions import Int64s
from pipeline.report.items import cut, shown
from pipeline.report.pictures import initials, tone
from pipeline.serving.answer import Hit
from pipeline.serving.index import Index
from pipeline.web.answers import Card, Facet, FacetValue, HitCard, ItemView, UserView

# What items.parquet has that is no attribute.
OWN = ("item_id", "title", "text", "image", "audio", "has_content")
MOST_FACETS, MOST_VALUES, MOST_ATTRIBUTES = 20, 200, 12
SUGGESTED, LOOKED_AT, FOUND, SHOWN = 24, 48, 24, 24
# A user with so many choices shows more of what a model does.
EASY_HISTORY = 3
MAX_TEXT_LETTERS = 1200
_LISTS = (pa.types.is_list, pa.types.is_large_list)


class Catalogue:
    """Of one index; its methods may be called from many threads."""

    def __init__(self, index: Index) -> None:
        """index: one that does not change, see `Index.pinned`."""
        self._index = index
        self._items, users = index.published.table(ITEMS), index.published.table(USERS)
        self.attributes = [name for name in self._items.names if name not in OWN][:MOST_ATTRIBUTES]
        self._shown = [name for name in ("item_id", "title", "image", "audio") if name in self._items.names]
        self.item_count, self.user_count = len(self._items), len(users)
        self._titles = self._items.read(["title"])["title"].combine_chunks()
        self._users = users.read(["user_id"])["user_id"].combine_chunks()
        self.people = _people(users)
        self.facets = [facet for name in self.attributes[:MOST_FACETS] if (facet := self._facet(name)) is not None]

    def hits(self, hits: Sequence[Hit]) -> list[HitCard]:
        """An answer's items."""
        cards = self.cards(self._index.rows([hit.item_id for hit in hits]))
        return [HitCard(**card.model_dump(), score=hit.score) for card, hit in zip(cards, hits, strict=True)]

    def cards(self, rows: Int64s) -> list[Card]:
        """The items of some rows, one for one."""
        if not len(rows):
            return []
        table = self._items.at(rows.tolist(), [*self._shown, *self.attributes])
        return [self._card(row) for row in table.to_pylist()]

    def view(self, item: str) -> ItemView:
        """One item. Raises NotPublished if there is none."""
        rows = self._index.rows([item])
        (card,), text = self.cards(rows), ""
        if "text" in self._items.names:
            text = str(self._items.at(rows.tolist(), ["text"])["text"][0].as_py() or "")
        return ItemView(**card.model_dump(), index=self._index.digest, text=cut(text, MAX_TEXT_LETTERS))

    def medium(self, item: str, name: str) -> str | None:
        """What an item names as its `image` or `audio`. Raises NotPublished if there is no such item."""
        rows = self._index.rows([item])
        if name not in self._items.names:
            return None
        value = self._items.at(rows.tolist(), [name])[name][0].as_py()
        return value if isinstance(value, str) and value else None

    def named(self, words: str) -> list[Card]:
        """Some items whose title holds these letters."""
        found = pc.indices_nonzero(pc.match_substring(self._titles, words, ignore_case=True).fill_null(False))
        return self.cards(found[:FOUND].to_numpy().astype(np.int64))

    def users(self, beginning: str) -> list[str]:
        """Some users whose id begins so."""
        found: list[str] = self._users.filter(pc.starts_with(self._users, beginning))[:FOUND].to_pylist()
        return found

    def user(self, user: str) -> UserView:
        """Raises NotPublished if there is no such user."""
        _, (seen,) = self._index.users([user])
        return UserView(index=self._index.digest, user=user, chosen=len(seen), items=self.cards(seen[:SHOWN]))

    def _card(self, row: dict[str, object]) -> Card:
        item = str(row["item_id"])
        title = " ".join(str(row["title"] or "").split()) or item
        texts = {name: shown(row[name]) for name in self.attributes if row[name] is not None}
        return Card(
            item_id=item,
            title=title,
            attributes={name: text for name, text in texts.items() if text},
            picture=f"/api/picture?item={quote(item, safe='')}" if row.get("image") else None,
            clip=f"/api/clip?item={quote(item, safe='')}" if row.get("audio") else None,
            initials=initials(title),
            tone=tone(item),
        )

    def _facet(self, name: str) -> Facet | None:
        """How an attribute can be filtered by; None where its values are names or texts, or of another type."""
        column = self._items.read([name])[name].combine_chunks()
        kind = column.type
        if pa.types.is_boolean(kind):
            return Facet(name=name, kind="boolean")
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return _range(name, column)
        if any(is_list(kind) for is_list in _LISTS):
            column, kind = pc.list_flatten(column), kind.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return None
        counts = pc.value_counts(column.drop_null())
        values, numbers = counts.field("values"), counts.field("counts").to_numpy()
        # Of names, hardly any stands twice.
        if not 2 <= len(values) <= max(len(column) // 2, 2):
            return None
        best = np.argsort(-numbers, kind="stable")[:MOST_VALUES]
        frequent = zip(values.take(pa.array(best)).to_pylist(), numbers[best].tolist(), strict=True)
        named = [FacetValue(value=value, items=count) for value, count in frequent if value and len(value) <= 200]
        return Facet(name=name, kind="category", values=named)


def _range(name: str, column: pa.Array) -> Facet | None:
    # Above 2⁵³ a whole number has no float64 of its own: a range needs none.
    finite = column.cast(pa.float64(), safe=False).drop_null().to_numpy()
    finite = finite[np.isfinite(finite)]
    if not len(finite) or finite.min() == finite.max():
        return None
    whole = bool(pa.types.is_integer(column.type) or (finite == np.round(finite)).all())
    return Facet(name=name, kind="number", whole=whole, low=float(finite.min()), high=float(finite.max()))


def _people(users: MappedTable) -> list[str]:
    """Some users to begin with, a seeded sample; rather those who chose a few items."""
    places = np.random.default_rng(0).permutation(len(users))[:LOOKED_AT]
    table = users.at(np.sort(places).tolist(), ["user_id", "seen"])
    chosen = pc.list_value_length(table["seen"]).fill_null(0).to_numpy()
    ids = table["user_id"].to_pylist()
    easy = [user for user, count in zip(ids, chosen, strict=True) if count >= EASY_HISTORY]
    others = [user for user in ids if user not in set(easy)]
    return sorted([*easy, *others][:SUGGESTED])
