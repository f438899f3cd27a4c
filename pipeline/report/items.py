"""Titles, pictures and attributes of staged items, for the few thousand that the page shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow.compute as pc

from pipeline.report.files import RunFiles, dataset, rows_of

_STAGED = frozenset({"item_id", "title", "text", "image", "audio", "cold"})
_SUFFIXES = ("_hash", "_problem")
MAX_ATTRIBUTE_LETTERS = 80


@dataclass(frozen=True)
class Item:
    """A staged item as the page shows it; `image` is relative to the media folder."""

    item_id: str
    title: str
    image: str | None
    attributes: tuple[tuple[str, str], ...]

    @property
    def titled(self) -> tuple[str, str | None]:
        """Title and picture, as `Studio.tiles` takes them."""
        return self.title, self.image


def items_of(run: RunFiles, ids: Iterable[str]) -> dict[str, Item]:
    """Returns the staged items among `ids`, by id; one without a title goes by its id."""
    wanted = sorted(set(ids))
    attributes = attribute_columns(run)
    columns = ["item_id", "title", "image", *attributes]
    rows = rows_of(run.staged / "items", "item_id", wanted, columns).sort_by("item_id").to_pylist()
    return {
        row["item_id"]: Item(
            row["item_id"],
            (row["title"] or "").strip() or row["item_id"],
            row["image"],
            tuple((name, _short(row[name])) for name in attributes if row[name] is not None and _short(row[name])),
        )
        for row in rows
    }


def attribute_columns(run: RunFiles) -> list[str]:
    """Returns the catalogue's further columns, in their order."""
    names = dataset(run.staged / "items").schema.names
    return [name for name in names if name not in _STAGED and not name.endswith(_SUFFIXES)]


def popularity(run: RunFiles) -> dict[str, int]:
    """Returns how often each item was chosen, over the whole log."""
    column = dataset(run.staged / "interactions.parquet").to_table(columns=["item_id"])["item_id"]
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = ", ".join(" ".join(part.split()) for part in text.split("|"))
    return text if len(text) <= MAX_ATTRIBUTE_LETTERS else text[: MAX_ATTRIBUTE_LETTERS - 1].rstrip() + "…"
