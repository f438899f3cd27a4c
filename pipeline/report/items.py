"""Titles, pictures and attributes of staged items, for the few thousand that the page shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.read import among, read_table, schema_of
from pipeline.artefacts.staged import Staged
from pipeline.report.files import RunFiles

_STAGED = frozenset({"item_id", "title", "text", "image", "audio", "cold"})
_SUFFIXES = ("_hash", "_problem")
_PREFERRED = ("genre", "category", "type", "kind", "style")
MAX_ATTRIBUTE_LETTERS = 80
MAX_VALUES = 12


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
    attributes = attribute_columns(run)
    rows = read_table(run.staged / "items", ["item_id", "title", "image", *attributes], among("item_id", ids))
    return {
        row["item_id"]: Item(
            row["item_id"],
            (row["title"] or "").strip() or row["item_id"],
            row["image"],
            tuple((name, shown(row[name])) for name in attributes if row[name] is not None and shown(row[name])),
        )
        for row in rows.sort_by("item_id").to_pylist()
    }


def attribute_columns(run: RunFiles) -> list[str]:
    """Returns the catalogue's further columns, in their order."""
    hidden = _STAGED | set(Fused(run.fused).modalities())
    names = schema_of(run.staged / "items").names
    return [name for name in names if name not in hidden and not name.endswith(_SUFFIXES)]


def popularity(run: RunFiles) -> dict[str, int]:
    """Returns how often each item was chosen, over the whole log."""
    staged = Staged(run.staged)
    counts = staged.read_everything().item_counts()
    return dict(zip(staged.items(["item_id"])["item_id"].to_pylist(), counts.tolist(), strict=True))


def shown(value: object) -> str:
    """An attribute's value as text of at most MAX_ATTRIBUTE_LETTERS."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = ", ".join(" ".join(part.split()) for part in text.split("|"))
    return cut(text)


def cut(text: str, most: int = MAX_ATTRIBUTE_LETTERS) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def decades(values: list[str]) -> list[str]:
    """Turns years into decades, so that they are few; anything else stays as it is."""
    texts = set(values) - {""}
    years = len(texts) > MAX_VALUES and all(len(value) == 4 and value.isdecimal() for value in texts)
    return [f"{value[:3]}0s" if years and value else value for value in values]


def telling(columns: Mapping[str, Collection[str]], most: int = MAX_VALUES) -> list[str]:
    """Names the columns that sort items into 2 to `most` groups; "" is no value.

    The best known come first, then those of at most MAX_VALUES groups.
    """
    groups = {name: len(set(values) - {""}) for name, values in columns.items()}
    usable = [name for name, count in groups.items() if 2 <= count <= most]
    return sorted(usable, key=lambda name: (name.lower() not in _PREFERRED, groups[name] > MAX_VALUES))
