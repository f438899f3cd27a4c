"""What an encoder reads of staged items, by content hash; decoded in threads, a window ahead of the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artefacts.shards import Result
from pipeline.config import MODALITIES, Modality
from pipeline.config.shared import Array, EncoderSettings
from pipeline.encoders.base import Encoder, Input, Raw, Text
from pipeline.errors import MachineError, MediaError, MedleyError
from pipeline.media import MEDIA, raw_of


@dataclass(frozen=True)
class Row:
    """One item's (or user's) input: its content hash, or the reason why there is none."""

    item_id: str
    content_hash: bytes | None
    problem: str | None
    source: Raw | None


@dataclass(frozen=True)
class Inputs:
    """One modality of the staged items, as its encoder reads it. root: the media folder, where files are read."""

    modality: Modality
    settings: EncoderSettings
    encoder: Encoder
    root: Path | None

    def rows(self, items: pa.Table) -> Iterator[Row]:
        """The rows of staged items, in their order.

        text: by the hash of what the template gives. image, audio: by the hash of their bytes, which staging took. A
        modality of the user's own: by its column's value (a text, bytes, or anything else as JSON), or, where vectors
        are given, by the item's id.
        """
        if self.modality == "text":
            fields = [name for name in items.column_names if not name.endswith(("_hash", "_problem"))]
            for columns in items.select(fields).to_pylist():
                text = Text({name: "" if value is None else str(value) for name, value in columns.items()})
                yield self._of_text(text.columns["item_id"], text)
        elif self.modality in MEDIA:
            names = ("item_id", f"{self.modality}_hash", f"{self.modality}_problem", self.modality)
            for item_id, content_hash, problem, source in zip(*(items[n].to_pylist() for n in names), strict=True):
                yield Row(item_id, content_hash, problem, source)
        else:
            ids = items["item_id"].to_pylist()
            values = ids if isinstance(self.settings, Array) else items[self.modality].to_pylist()
            for item_id, value in zip(ids, values, strict=True):
                yield self._of_value(item_id, value)

    def profiles(self, users: pa.Table) -> list[Row]:
        """Every user's profile, by user_id, as a query's text."""
        rows = users.to_pylist()
        return [self._of_text(user["user_id"], Text({"text": user["profile"] or ""}, query=True)) for user in rows]

    def decode(self, row: Row) -> Input | Result:
        """What the encoder takes, or why the row cannot be used; any thread may."""
        try:
            return self.encoder.decode(self._raw(row))
        except MediaError as error:
            return Result(None, str(error), isinstance(error, MachineError))
        except MedleyError:
            raise
        except Exception as error:  # one row, whatever an encoder makes of it, never ends a night
            reason = f"cannot be decoded ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
            return Result(None, reason, isinstance(error, (ImportError, OSError, MemoryError)))

    def _raw(self, row: Row) -> Raw:
        if row.source is None:
            raise MediaError(f"no {self.modality}")
        is_array = isinstance(self.settings, Array) and self.modality not in MODALITIES
        if not (is_array or self.modality in MEDIA) or not isinstance(row.source, str):
            return row.source
        try:
            raw = raw_of(self.settings, self.root, row.source)
        except MediaError as error:  # it could be read when it was staged
            raise MachineError(str(error)) from None
        if hashlib.sha256(raw).digest() != row.content_hash:
            raise MachineError("file changed after it was ingested")
        return raw

    def _of_text(self, name: str, text: Text) -> Row:
        try:
            content_hash = hashlib.sha256(self.encoder.render(text).encode("utf-8", "surrogatepass")).digest()
            return Row(name, content_hash, None, text)
        except MediaError as error:
            return Row(name, None, str(error), None)

    def _of_value(self, item_id: str, value: object) -> Row:
        if value is None or value in ("", b""):
            return Row(item_id, None, f"no {self.modality}", None)
        raw = value if isinstance(value, (str, bytes)) else json.dumps(value, sort_keys=True, default=str)
        known = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
        return Row(item_id, hashlib.sha256(known).digest(), None, raw)


def encode(encoder: Encoder, inputs: Inputs, rows: list[Row], threads: int) -> dict[bytes, Result]:
    """The vectors of rows that have content, or the reasons why there is none, by content hash.

    encoder: that of the inputs, its weights loaded. Memory is bounded by two of its windows.
    """
    results: dict[bytes, Result] = {}
    windows = [rows[start : start + encoder.window] for start in range(0, len(rows), encoder.window)]
    with ThreadPoolExecutor(threads) as pool:
        pending: list[Future[Input | Result]] = [pool.submit(inputs.decode, row) for row in windows[0]]
        for number, window in enumerate(windows):
            decoded = [future.result() for future in pending]
            if number + 1 < len(windows):
                pending = [pool.submit(inputs.decode, row) for row in windows[number + 1]]
            hashes = [row.content_hash or b"" for row in window]
            results |= _embed(encoder, dict(zip(hashes, decoded, strict=True)))
    return results


def _embed(encoder: Encoder, decoded: Mapping[bytes, Input | Result]) -> dict[bytes, Result]:
    results = {key: value for key, value in decoded.items() if isinstance(value, Result)}
    parts = {key: value for key, value in decoded.items() if not isinstance(value, Result)}
    if parts:
        vectors = encoder.embed(list(parts.values()))
        results |= {key: _normalised(vector) for key, vector in zip(parts, vectors, strict=True)}
    return results


def _normalised(vector: np.ndarray) -> Result:
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm):
        return Result(None, "the vector is not finite")
    if norm == 0:
        return Result(None, "the vector is zero")
    return Result((vector / norm).astype(np.float16), None)
