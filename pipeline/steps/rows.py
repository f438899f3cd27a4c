"""Rows as an encoder sees them: what is encoded, under which content hash, or why nothing is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.config import Modality, Section
from pipeline.encoders.base import Encoder, Input, Text
from pipeline.errors import MediaError, MedleyError
from pipeline.media import media_root, raw_of
from pipeline.night import Night
from pipeline.steps.ingest import staged_of


@dataclass(frozen=True)
class Row:
    """One item's (or user's) input: its content hash, or the reason why there is none."""

    item_id: str
    content_hash: bytes | None
    problem: str | None
    source: str | Text | None


def bucket_rows(night: Night, modality: Modality, encoder: Encoder, bucket: int) -> list[Row]:
    """Every item of a staged bucket, in its order."""
    return list(plan(staged_of(night).bucket(bucket), modality, encoder))


def plan(items: pa.Table, modality: Modality, encoder: Encoder) -> Iterator[Row]:
    """The rows of a staged table: media by the hash of their bytes, texts by the hash of what the template gives."""
    if modality != "text":
        columns = (items[name].to_pylist() for name in ("item_id", f"{modality}_hash", f"{modality}_problem", modality))
        for item_id, content_hash, problem, source in zip(*columns, strict=True):
            yield Row(item_id, content_hash, problem, source)
        return
    fields = [name for name in items.column_names if not name.endswith(("_hash", "_problem"))]
    for columns_of_item in items.select(fields).to_pylist():
        text = Text({name: "" if value is None else str(value) for name, value in columns_of_item.items()})
        yield _of_text(text.columns["item_id"], text, encoder)


def profile_rows(night: Night, encoder: Encoder) -> list[Row] | None:
    """Every staged user's profile, by user_id, as a query's text; None where the source has no query for users."""
    users = staged_of(night).profiles(["user_id", "profile"])
    if users is None:
        return None
    rows = users.to_pylist()
    return [_of_text(user["user_id"], Text({"text": user["profile"] or ""}, query=True), encoder) for user in rows]


def _of_text(name: str, text: Text, encoder: Encoder) -> Row:
    try:
        content_hash = hashlib.sha256(encoder.render(text).encode("utf-8", "surrogatepass")).digest()
        return Row(name, content_hash, None, text)
    except MediaError as error:
        return Row(name, None, str(error), None)


@dataclass(frozen=True)
class Reader:
    """Reads and decodes rows of one modality; any thread may."""

    modality: Modality
    root: Path | None
    settings: Section

    @classmethod
    def of(cls, night: Night, modality: Modality) -> Reader:
        """The reader of a night's modality. Raises SourceError if the media folder is not there."""
        root = None if modality == "text" else media_root(night.config)
        return cls(modality, root, getattr(night.config.extract, modality))

    def decode(self, encoder: Encoder, row: Row) -> Input | str:
        """What the encoder takes, or the reason why the row cannot be used."""
        try:
            if isinstance(row.source, Text):
                return encoder.decode(row.source)
            if self.root is None or row.source is None:
                return f"no {self.modality}"
            raw = raw_of(self.settings, self.root, row.source)
            if hashlib.sha256(raw).digest() != row.content_hash:
                return "file changed after it was ingested"
            return encoder.decode(raw)
        except MediaError as error:
            return str(error)
        except MedleyError:
            raise
        except Exception as error:  # one row, whatever an encoder makes of it, never ends a night
            return f"cannot be decoded ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
