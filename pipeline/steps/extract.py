"""Extract: one modality of one bucket becomes one Parquet shard of embeddings.

- prepare: see `steps.prepare`; what lies in several buckets, byte for byte, is encoded once, before any of them,
  and so are users' profiles, which are texts of their own;
- plan: each row's content hash, from staging (media) or from the text itself; the shard is named by those hashes and
  the encoder's key, so a shard that is there is skipped;
- reuse: rows whose content an earlier shard of the same bucket and encoder holds are copied from it;
- run: what is new is decoded in threads, one window ahead of the network, sorted by cost and batched;
- commit: the shard, then its receipt. A row that cannot be used is null, with its reason in `error`.
"""

from __future__ import annotations

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

from pipeline.artefacts.vectors import read_vectors
from pipeline.config import Modality
from pipeline.encoders import modalities
from pipeline.encoders.base import Encoder, Input
from pipeline.errors import StepFailed
from pipeline.interactions import Floats
from pipeline.night import Night, StepReceipt
from pipeline.runtime import threads
from pipeline.steps.ingest import staged_of
from pipeline.steps.prepare import Ready, ensure
from pipeline.steps.rows import Reader, Row, bucket_rows, profile_rows
from pipeline.workspace import Json, digest

log = logging.getLogger("medley")
VERSION = 2
ROWS_PER_GROUP = 16_384
EXAMPLES = 20
SHARED = "shared"
PROFILES = "profiles"
PROFILES_STEP = "extract.text.profiles"


@dataclass(frozen=True)
class Result:
    """An encoded row: a unit vector, or the reason why there is none."""

    vector: np.ndarray | None
    error: str | None


def tasks(night: Night) -> list[Json]:
    """What a scheduler maps over: groups of buckets of about `extract.rows_per_task` rows, per modality."""
    rows = staged_of(night).summary.bucket_rows
    groups: list[list[int]] = [[]]
    held = 0
    for bucket, count in enumerate(rows):
        if groups[-1] and held + count > night.config.extract.rows_per_task:
            groups, held = [*groups, []], 0
        groups[-1].append(bucket)
        held += count
    return [{"modality": m, "buckets": list(group)} for m in modalities(night.config) for group in groups]


def run(night: Night, modality: Modality, buckets: Sequence[int] | None = None) -> list[StepReceipt]:
    """Extracts the buckets of one modality, all of them by default, and then checks the share of bad rows.

    Raises StepFailed if the modality is not configured or more of its rows than `max_error_rate` are unreadable.
    """
    if modality not in modalities(night.config):
        raise StepFailed(f"modality {modality} is not configured: give extract.{modality} an encoder, or leave it out")
    count = staged_of(night).summary.buckets
    unknown = [bucket for bucket in buckets or () if not 0 <= bucket < count]
    if unknown:
        raise StepFailed(f"--bucket {unknown[0]}: this workspace has buckets 0 to {count - 1}")
    ready = begin(night, modality)
    receipts = [_bucket(night, modality, ready, bucket) for bucket in (buckets or range(count))]
    if buckets is None:
        summarise(night, modality)
    return receipts


def summarise(night: Night, modality: Modality) -> list[StepReceipt]:
    """The receipts of every bucket of one modality.

    Raises StepFailed if a bucket is not extracted yet, or too many rows are unreadable.
    """
    count = staged_of(night).summary.buckets
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


def modality_vectors(night: Night) -> Iterator[tuple[Modality, Floats]]:
    """Each modality and its vectors, (n_items, d) float32, in the catalogue's order, NaN rows where missing."""
    for modality in modalities(night.config):
        files = [night.workspace.path(receipt.path) for receipt in summarise(night, modality)]
        parts = [read_vectors(file, "item_id")[1] for file in files]
        # A bucket without items does not know how wide its vectors would be.
        yield modality, np.concatenate([part for part in parts if len(part)])


def begin(night: Night, modality: Modality) -> Ready:
    """What comes before any bucket: the encoder is prepared; what several buckets share, and profiles, are encoded.

    Nothing is done again that this run did already. Run it once before buckets are extracted side by side.
    """
    ready = ensure(night, modality)
    count = staged_of(night).summary.buckets
    name = f"extract.{modality}.shared"
    if count > 1 and night.workspace.read_json(f"{night.folder}/steps/{name}.json") is None:
        rows = _shared_rows(night, modality, ready.encoder, count)
        _shard(night, modality, ready, _Part(name, SHARED, rows, SHARED))
    if modality == "text" and night.workspace.read_json(f"{night.folder}/steps/{PROFILES_STEP}.json") is None:
        profiles = profile_rows(night, ready.encoder)
        if profiles is not None:
            _shard(night, modality, ready, _Part(PROFILES_STEP, PROFILES, profiles, PROFILES))
    return ready


@dataclass(frozen=True)
class _Part:
    """What becomes one shard, and in which folder: a bucket's rows, those that several buckets share, or profiles."""

    step: str
    stem: str
    rows: list[Row]
    parent: str = "embeddings"

    @property
    def is_bucket(self) -> bool:
        return self.parent == "embeddings"


def _shared_rows(night: Night, modality: Modality, encoder: Encoder, buckets: int) -> list[Row]:
    """The first row of each content that lies in more than one bucket, found by the first 8 bytes of its hash."""
    prefixes = []
    for bucket in range(buckets):
        hashes = {row.content_hash[:8] for row in bucket_rows(night, modality, encoder, bucket) if row.content_hash}
        prefixes.append(np.frombuffer(b"".join(sorted(hashes)), dtype=np.uint64))
    values, times = np.unique(np.concatenate(prefixes), return_counts=True)
    wanted = {value.tobytes() for value in values[times > 1]}
    found: dict[bytes, Row] = {}
    for bucket in range(buckets if wanted else 0):
        for row in bucket_rows(night, modality, encoder, bucket):
            if row.content_hash and row.content_hash[:8] in wanted:
                found.setdefault(row.content_hash, row)
    return [found[content_hash] for content_hash in sorted(found)]


def _bucket(night: Night, modality: Modality, ready: Ready, bucket: int) -> StepReceipt:
    stem = f"bucket-{bucket:05d}"
    rows = bucket_rows(night, modality, ready.encoder, bucket)
    return _shard(night, modality, ready, _Part(f"extract.{modality}.{stem}", stem, rows))


def _shard(night: Night, modality: Modality, ready: Ready, part: _Part) -> StepReceipt:
    encoder, rows = ready.encoder, part.rows
    name = digest(VERSION, encoder.key, [(row.item_id, row.content_hash or row.problem) for row in rows])
    folder = f"{part.parent}/{modality}/{encoder.key}"

    def build(path: Path) -> Json:
        before = Counter(encoder.counts)
        known = {} if night.full else _earlier(night.workspace.path(folder), part.stem)
        if part.is_bucket:
            known |= _of_shared(night, modality, {row.content_hash for row in rows if row.content_hash})
        fresh = {row.content_hash: row for row in rows if row.content_hash and row.content_hash not in known}
        known |= _encode(night, modality, ready.load(), list(fresh.values())) if fresh else {}
        results = [known[row.content_hash] if row.content_hash else Result(None, row.problem) for row in rows]
        width = next((len(r.vector) for r in results if r.vector is not None), None) or (rows and ready.load().width)
        described = _described(encoder, int(width or 0))
        _write(path, part, results, {name: str(value) for name, value in described.items()})
        counted = {name: encoder.counts[name] - before[name] for name in encoder.counts}
        encoded = sum(1 for row in rows if row.content_hash in fresh)
        # Rows of a modality are its items: what else is encoded is counted under its own name.
        other = {"rows": 0, "missing_rows": 0, f"{part.stem}_rows": len(rows)}
        counts = _counts(rows, results) if part.is_bucket else other
        return counts | described | {"engine": encoder.prepared.engine, "encoded_rows": encoded, "counts": counted}

    return night.shard(part.step, f"{folder}/{part.stem}-{name}.parquet", build)


def _described(encoder: Encoder, width: int) -> Json:
    """What a reader of a shard needs to know of its vectors."""
    precision = {"precision": encoder.prepared.precision, "cosine": encoder.prepared.cosine}
    return {"encoder": encoder.key, "model": encoder.model, "d": width, "space": encoder.space, **precision}


def _earlier(folder: Path, stem: str) -> dict[bytes, Result]:
    """Every row of earlier shards of this bucket and encoder, by content hash; the newest shard wins."""
    found: dict[bytes, Result] = {}
    for path in sorted(folder.glob(f"{stem}-*.parquet"), key=lambda p: p.stat().st_mtime):
        if path.with_suffix(".json").exists():
            for batch in pq.ParquetFile(path).iter_batches():
                found |= _results(batch)
    return found


def _of_shared(night: Night, modality: Modality, hashes: set[bytes]) -> dict[bytes, Result]:
    """Of what several buckets share, the part that one of them needs."""
    known = night.workspace.read_json(f"{night.folder}/steps/extract.{modality}.shared.json")
    if known is None or not hashes:
        return {}
    found: dict[bytes, Result] = {}
    for batch in pq.ParquetFile(night.workspace.path(known["path"])).iter_batches():
        wanted = pa.array([content_hash in hashes for content_hash in batch["content_hash"].to_pylist()], pa.bool_())
        found |= _results(batch.filter(wanted))
    return found


def _results(batch: pa.RecordBatch) -> dict[bytes, Result]:
    vectors = _vectors(batch["vector"])
    hashes, errors = batch["content_hash"].to_pylist(), batch["error"].to_pylist()
    rows = enumerate(zip(hashes, errors, strict=True))
    return {key: Result(None, error) if error else Result(vectors[row], None) for row, (key, error) in rows if key}


def _vectors(column: pa.Array) -> np.ndarray:
    """A FixedSizeList column as shape (rows, d); rows that are null hold anything."""
    flat = pa.compute.fill_null(column.values, 0) if column.values.null_count else column.values
    width = column.type.list_size
    return np.asarray(flat).reshape(-1, width)[column.offset : column.offset + len(column)]


def _encode(night: Night, modality: Modality, encoder: Encoder, rows: list[Row]) -> dict[bytes, Result]:
    reader = Reader.of(night, modality)
    results: dict[bytes, Result] = {}
    windows = [rows[i : i + encoder.window] for i in range(0, len(rows), encoder.window)]
    with ThreadPoolExecutor(threads(night.config)) as pool:
        pending: list[Future[Input | str]] = [pool.submit(reader.decode, encoder, row) for row in windows[0]]
        for number, window in enumerate(windows):
            decoded = [future.result() for future in pending]
            if number + 1 < len(windows):
                pending = [pool.submit(reader.decode, encoder, row) for row in windows[number + 1]]
            hashes = [row.content_hash or b"" for row in window]
            results |= _embed_window(encoder, dict(zip(hashes, decoded, strict=True)))
    return results


def _embed_window(encoder: Encoder, decoded: dict[bytes, Input | str]) -> dict[bytes, Result]:
    results = {key: Result(None, value) for key, value in decoded.items() if isinstance(value, str)}
    inputs = {key: value for key, value in decoded.items() if not isinstance(value, str)}
    if inputs:
        vectors = encoder.embed(list(inputs.values()))
        results |= {key: _normalised(vector) for key, vector in zip(inputs, vectors, strict=True)}
    return results


def _normalised(vector: np.ndarray) -> Result:
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm):
        return Result(None, "the vector is not finite")
    if norm == 0:
        return Result(None, "the vector is zero")
    return Result((vector / norm).astype(np.float16), None)


def _write(path: Path, part: _Part, results: list[Result], metadata: dict[str, str]) -> None:
    rows, key = part.rows, "user_id" if part.parent == PROFILES else "item_id"
    width = max(1, int(metadata["d"]))
    vectors = np.zeros((len(rows), width), dtype=np.float16)
    for row, result in enumerate(results):
        if result.vector is not None:
            vectors[row] = result.vector
    missing = pa.array([result.vector is None for result in results], pa.bool_())
    table = pa.table(
        {
            key: pa.array([row.item_id for row in rows], pa.string()),
            "content_hash": pa.array([row.content_hash for row in rows], pa.binary(32)),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width, mask=missing),
            "error": pa.array([result.error for result in results], pa.string()),
        }
    ).replace_schema_metadata(metadata)
    plain = [key, "content_hash", "error"]
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
