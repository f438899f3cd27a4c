"""Extract: one modality of one bucket becomes one Parquet shard of embeddings.

- plan: each row's content hash, from staging (media) or from the text itself; the shard is named by those hashes and
  the encoder's key, so a shard that is there is skipped;
- reuse: rows whose content an earlier shard of the same bucket and encoder holds are copied from it;
- run: what is new is decoded in threads, one window ahead of the network, sorted by cost and batched;
- commit: the shard, then its receipt. A row that cannot be used is null, with its reason in `error`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Modality
from pipeline.encoders import make, modalities
from pipeline.encoders.base import Encoder, Text
from pipeline.errors import MediaError, StepFailed
from pipeline.ingest import media_root
from pipeline.media import read_media
from pipeline.night import Night, StepReceipt
from pipeline.workspace import Json, digest

log = logging.getLogger("medley")
VERSION = 1
ROWS_PER_GROUP = 16_384
EXAMPLES = 20


@dataclass(frozen=True)
class Row:
    """One item's input: its content hash, or the reason why there is none."""

    item_id: str
    content_hash: bytes | None
    problem: str | None
    source: str | Text | None


@dataclass(frozen=True)
class Result:
    """An encoded row: a unit vector, or the reason why there is none."""

    vector: np.ndarray | None
    error: str | None


def tasks(night: Night) -> list[Json]:
    """What a scheduler maps over: groups of buckets of about `extract.rows_per_task` rows, per modality."""
    rows: list[int] = list(night.receipt("ingest").details["bucket_rows"])
    groups: list[list[int]] = [[]]
    held = 0
    for bucket, count in enumerate(rows):
        if groups[-1] and held + count > night.config.extract.rows_per_task:
            groups.append([])
            held = 0
        groups[-1].append(bucket)
        held += count
    return [{"modality": m, "buckets": list(group)} for m in modalities(night.config) for group in groups]


def run(night: Night, modality: Modality, buckets: Sequence[int] | None = None) -> list[StepReceipt]:
    """Extracts the buckets of one modality, all of them by default, and then checks the share of bad rows.

    Raises StepFailed if the modality is not configured or more of its rows than `max_error_rate` are unreadable.
    """
    if modality not in modalities(night.config):
        raise StepFailed(f"modality {modality} is not configured: give extract.{modality} an encoder, or leave it out")
    staged = night.receipt("ingest")
    count = int(str(staged.details["buckets"]))
    unknown = [bucket for bucket in buckets or () if not 0 <= bucket < count]
    if unknown:
        raise StepFailed(f"--bucket {unknown[0]}: this workspace has buckets 0 to {count - 1}")
    encoder = _Lazy(make(night.config, modality))
    receipts = [_bucket(night, modality, encoder, bucket) for bucket in (buckets or range(count))]
    if buckets is None:
        summarise(night, modality)
    return receipts


def summarise(night: Night, modality: Modality) -> list[StepReceipt]:
    """The receipts of every bucket of one modality.

    Raises StepFailed if a bucket is not extracted yet, or too many rows are unreadable.
    """
    count = int(str(night.receipt("ingest").details["buckets"]))
    receipts = [night.receipt(f"extract.{modality}.bucket-{bucket:05d}") for bucket in range(count)]
    limit = getattr(night.config.extract, modality).max_error_rate
    bad = sum(int(str(receipt.details["unreadable_rows"])) for receipt in receipts)
    declared = bad + sum(receipt.rows - receipt.missing_rows for receipt in receipts)
    if declared and bad / declared > limit:
        examples = [example for receipt in receipts for example in receipt.details["examples"]]
        shown = "; ".join(f"{item_id}: {reason}" for item_id, reason in examples[:3])
        raise StepFailed(
            f"extract {modality}: {bad} of {declared} rows are unreadable ({bad / declared:.1%}), over "
            f"extract.{modality}.max_error_rate ({limit:.1%}); the first: {shown}"
        )
    return receipts


class _Lazy:
    """Loads the encoder when the first row needs it: a night in which nothing changed loads none."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.loaded = False

    def ready(self) -> Encoder:
        if not self.loaded:
            self.encoder.load()
            self.loaded = True
        return self.encoder


def _bucket(night: Night, modality: Modality, encoder: _Lazy, bucket: int) -> StepReceipt:
    items = pq.read_table(night.workspace.path(night.receipt("ingest").path, "items", f"bucket-{bucket:05d}.parquet"))
    rows = list(_plan(items, modality, encoder.encoder))
    name = digest(VERSION, encoder.encoder.key, [(row.item_id, row.content_hash or row.problem) for row in rows])
    folder = f"embeddings/{modality}/{encoder.encoder.key}"

    def build(path: Path) -> Json:
        known = {} if night.full else _earlier(night.workspace.path(folder), bucket)
        fresh = {row.content_hash: row for row in rows if row.content_hash and row.content_hash not in known}
        known |= _encode(night, modality, encoder.ready(), list(fresh.values())) if fresh else {}
        results = [known[row.content_hash] if row.content_hash else Result(None, row.problem) for row in rows]
        encoded = sum(1 for row in rows if row.content_hash in fresh)
        width = next((len(r.vector) for r in results if r.vector is not None), None) or encoder.ready().width
        _write(path, rows, results, {"encoder": encoder.encoder.key, "model": encoder.encoder.model, "d": str(width)})
        described = {"encoder": encoder.encoder.key, "model": encoder.encoder.model, "d": width}
        return _counts(rows, results) | described | {"encoded_rows": encoded}

    return night.shard(f"extract.{modality}.bucket-{bucket:05d}", f"{folder}/bucket-{bucket:05d}-{name}.parquet", build)


def _plan(items: pa.Table, modality: Modality, encoder: Encoder) -> Iterator[Row]:
    if modality != "text":
        columns = (items[name].to_pylist() for name in ("item_id", f"{modality}_hash", f"{modality}_problem", modality))
        for item_id, content_hash, problem, source in zip(*columns, strict=True):
            yield Row(item_id, content_hash, problem, source)
        return
    fields = [name for name in items.column_names if not name.endswith(("_hash", "_problem"))]
    for columns_of_item in items.select(fields).to_pylist():
        text = Text({name: "" if value is None else str(value) for name, value in columns_of_item.items()})
        try:
            rendered = encoder.render(text)
            yield Row(text.columns["item_id"], hashlib.sha256(rendered.encode()).digest(), None, text)
        except MediaError as error:
            yield Row(text.columns["item_id"], None, str(error), None)


def _earlier(folder: Path, bucket: int) -> dict[bytes, Result]:
    """Every row of earlier shards of this bucket and encoder, by content hash; the newest shard wins."""
    found: dict[bytes, Result] = {}
    for path in sorted(folder.glob(f"bucket-{bucket:05d}-*.parquet"), key=lambda p: p.stat().st_mtime):
        if not path.with_suffix(".json").exists():
            continue
        for batch in pq.ParquetFile(path).iter_batches():
            vectors = _vectors(batch["vector"])
            hashes, errors = batch["content_hash"].to_pylist(), batch["error"].to_pylist()
            for row, (content_hash, error) in enumerate(zip(hashes, errors, strict=True)):
                if content_hash:
                    found[content_hash] = Result(None, error) if error else Result(vectors[row], None)
    return found


def _vectors(column: pa.Array) -> np.ndarray:
    """A FixedSizeList column as shape (rows, d); rows that are null hold anything."""
    flat = pa.compute.fill_null(column.values, 0) if column.values.null_count else column.values
    width = column.type.list_size
    return np.asarray(flat).reshape(-1, width)[column.offset : column.offset + len(column)]


def _encode(night: Night, modality: Modality, encoder: Encoder, rows: list[Row]) -> dict[bytes, Result]:
    root = None if modality == "text" else media_root(night.config)
    limit = getattr(getattr(night.config.extract, modality), "max_bytes", 0)
    results: dict[bytes, Result] = {}

    def decode(row: Row) -> np.ndarray | str:
        try:
            if isinstance(row.source, Text):
                return encoder.decode(row.source)
            if root is None or row.source is None:
                return f"no {modality}"
            raw = read_media(root, row.source, limit)
            if hashlib.sha256(raw).digest() != row.content_hash:
                return "file changed after it was ingested"
            return encoder.decode(raw)
        except MediaError as error:
            return str(error)

    windows = [rows[i : i + encoder.window] for i in range(0, len(rows), encoder.window)]
    with ThreadPoolExecutor(max(1, night.config.threads or 2)) as pool:
        pending: list[Future[np.ndarray | str]] = [pool.submit(decode, row) for row in windows[0]]
        for number, window in enumerate(windows):
            decoded = [future.result() for future in pending]
            if number + 1 < len(windows):
                pending = [pool.submit(decode, row) for row in windows[number + 1]]
            hashes = [row.content_hash or b"" for row in window]
            results.update(_embed_window(encoder, dict(zip(hashes, decoded, strict=True))))
    return results


def _embed_window(encoder: Encoder, decoded: dict[bytes, np.ndarray | str]) -> dict[bytes, Result]:
    results = {key: Result(None, value) for key, value in decoded.items() if isinstance(value, str)}
    inputs = [(key, value) for key, value in decoded.items() if not isinstance(value, str)]
    # A stable sort by cost keeps batches, and so the vectors' last bits, the same from run to run.
    inputs.sort(key=lambda pair: encoder.cost(pair[1]))
    for batch in _batches([encoder.cost(value) for _, value in inputs], encoder.batch_cost):
        vectors = encoder.embed([inputs[row][1] for row in batch])
        for row, vector in zip(batch, vectors, strict=True):
            results[inputs[row][0]] = _normalised(vector)
    return results


def _batches(costs: Sequence[int], budget: int) -> Iterator[range]:
    """Cuts costs in ascending order into runs whose length times largest cost stays within the budget."""
    start = 0
    for end in range(1, len(costs) + 1):
        if end == len(costs) or (end + 1 - start) * costs[end] > budget:
            yield range(start, end)
            start = end


def _normalised(vector: np.ndarray) -> Result:
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm):
        return Result(None, "the vector is not finite")
    if norm == 0:
        return Result(None, "the vector is zero")
    return Result((vector / norm).astype(np.float16), None)


def _write(path: Path, rows: list[Row], results: list[Result], metadata: dict[str, str]) -> None:
    width = int(metadata["d"])
    vectors = np.zeros((len(rows), width), dtype=np.float16)
    for row, result in enumerate(results):
        if result.vector is not None:
            vectors[row] = result.vector
    missing = pa.array([result.vector is None for result in results], pa.bool_())
    table = pa.table(
        {
            "item_id": pa.array([row.item_id for row in rows], pa.string()),
            "content_hash": pa.array([row.content_hash for row in rows], pa.binary(32)),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width, mask=missing),
            "error": pa.array([result.error for result in results], pa.string()),
        }
    ).replace_schema_metadata(metadata)
    plain = ["item_id", "content_hash", "error"]
    pq.write_table(table, path, row_group_size=ROWS_PER_GROUP, use_dictionary=["error"], write_statistics=plain)


def _counts(rows: list[Row], results: list[Result]) -> Json:
    errors = [(row.item_id, result.error) for row, result in zip(rows, results, strict=True) if result.error]
    unreadable = [(item_id, error) for item_id, error in errors if error not in ("no text", "no image", "no audio")]
    reasons = Counter(re.split(r"[:(]", str(error))[0].strip() for _, error in errors)
    return {
        "rows": len(rows),
        "missing_rows": len(errors),
        "unreadable_rows": len(unreadable),
        "errors": dict(sorted(reasons.items())),
        "examples": [[item_id, error] for item_id, error in unreadable[:EXAMPLES]],
    }
