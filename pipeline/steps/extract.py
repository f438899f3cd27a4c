"""Extract: one modality of one bucket becomes one Parquet shard of embeddings.

- prepare: see `steps.prepare`; what lies in several buckets, byte for byte, is encoded once, before any of them,
  and so are users' profiles, which are texts of their own;
- plan: each row's content hash, from staging (media) or from the text itself; the shard is named by those hashes and
  the encoder's key, so a shard that is there is skipped;
- reuse: rows whose content an earlier shard of the same bucket and encoder holds are copied from it;
- run: see `encoders.inputs`: what is new is decoded in threads and encoded in batches;
- commit: the shard, then its receipt. A row that cannot be used is null, with its reason in `error`. Where the reason
  lies in the machine (a package, a store), the shard has another name, so that the next night tries those rows again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.artefacts.shards import Described, Result, Shards, Summary, read_results, write_shard
from pipeline.config import Modality
from pipeline.encoders.base import Encoder
from pipeline.encoders.inputs import Row, encode
from pipeline.errors import StepFailed
from pipeline.interactions import Floats
from pipeline.night import Night, StepReceipt
from pipeline.runtime import threads
from pipeline.steps.ingest import staged_of
from pipeline.steps.prepare import Ready, bucket_rows, ensure
from pipeline.workspace import Json, digest

VERSION = 3
SHARED = "shared"
PROFILES = "profiles"
PROFILES_STEP = "extract.text.profiles"


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
    return [{"modality": m, "buckets": list(group)} for m in night.config.extract.modalities() for group in groups]


def run(night: Night, modality: Modality, buckets: Sequence[int] | None = None) -> list[StepReceipt]:
    """Extracts the buckets of one modality, all of them by default, and then checks the share of bad rows.

    Raises StepFailed if the modality is not configured or more of its rows than `max_error_rate` are unreadable.
    """
    if modality not in night.config.extract.modalities():
        raise StepFailed(f"modality {modality} is not configured: give extract.{modality} an encoder, or leave it out")
    count = _buckets(night)
    unknown = [bucket for bucket in buckets or () if not 0 <= bucket < count]
    if unknown:
        raise StepFailed(f"--bucket {unknown[0]}: this workspace has buckets 0 to {count - 1}")
    ready = begin(night, modality)
    receipts = [_bucket(night, ready, bucket) for bucket in (buckets or range(count))]
    if buckets is None:
        summarise(night, modality)
    return receipts


def summarise(night: Night, modality: Modality) -> list[StepReceipt]:
    """The receipts of every bucket of one modality.

    Raises StepFailed if a bucket is not extracted yet, or too many rows are unreadable.
    """
    receipts = [night.receipt(f"extract.{modality}.bucket-{bucket:05d}") for bucket in range(_buckets(night))]
    summaries = [receipt.noted(Summary) for receipt in receipts]
    limit = night.config.extract.modalities()[modality].max_error_rate
    bad = sum(summary.unreadable_rows for summary in summaries)
    declared = bad + sum(summary.rows - summary.missing_rows for summary in summaries)
    if declared and bad / declared > limit:
        examples = [example for summary in summaries for example in summary.examples]
        first = "; ".join(f"{item_id}: {reason}" for item_id, reason in examples[:3])
        raise StepFailed(
            f"extract {modality}: {bad} of {declared} rows are unreadable ({bad / declared:.1%}), over "
            f"extract.{modality}.max_error_rate ({limit:.1%}); the first: {first}"
        )
    return receipts


def shard_paths(night: Night) -> list[str]:
    """Every modality's shards, by their paths, which name what they hold: for the digest of who reads their vectors."""
    return [receipt.path for name in night.config.extract.modalities() for receipt in summarise(night, name)]


def modality_vectors(night: Night) -> Iterator[tuple[Modality, Floats]]:
    """Each modality and its vectors, (n_items, d) float32, in the catalogue's order, NaN rows where missing."""
    for modality in night.config.extract.modalities():
        shards = Shards({modality: [night.workspace.path(receipt.path) for receipt in summarise(night, modality)]})
        yield modality, shards.vectors(modality)


def begin(night: Night, modality: Modality) -> Ready:
    """Before any bucket: prepares the encoder, and encodes profiles and what several buckets share.

    Nothing is done again that this run did already. Run it once before buckets are extracted side by side.
    """
    ready = ensure(night, modality)
    name = _shared_step(modality)
    if _buckets(night) > 1 and night.done(name) is None:
        _shard(night, ready, _Part(name, SHARED, _shared_rows(night, ready), SHARED))
    profiles = staged_of(night).profiles(["user_id", "profile"]) if modality == "text" else None
    if profiles is not None and night.done(PROFILES_STEP) is None:
        rows = ready.inputs.profiles(profiles)
        _shard(night, ready, _Part(PROFILES_STEP, PROFILES, rows, PROFILES))
    return ready


@dataclass(frozen=True)
class _Part:
    """The rows of one shard and its folder: a bucket's, those that several buckets share, or profiles."""

    step: str
    stem: str
    rows: list[Row]
    parent: str = "embeddings"

    @property
    def is_bucket(self) -> bool:
        return self.parent == "embeddings"

    @property
    def hashes(self) -> set[bytes]:
        return {row.content_hash for row in self.rows if row.content_hash}


def _buckets(night: Night) -> int:
    return staged_of(night).summary.buckets


def _shared_step(modality: Modality) -> str:
    return f"extract.{modality}.shared"


def _shared_rows(night: Night, ready: Ready) -> list[Row]:
    """The first row of each content that lies in more than one bucket, found by the first 8 bytes of its hash."""
    prefixes = []
    for bucket in range(_buckets(night)):
        hashes = {row.content_hash[:8] for row in bucket_rows(night, ready.inputs, bucket) if row.content_hash}
        prefixes.append(np.frombuffer(b"".join(sorted(hashes)), dtype=np.uint64))
    values, times = np.unique(np.concatenate(prefixes), return_counts=True)
    wanted = {value.tobytes() for value in values[times > 1]}
    first: dict[bytes, Row] = {}
    for bucket in range(_buckets(night) if wanted else 0):
        for row in bucket_rows(night, ready.inputs, bucket):
            if row.content_hash and row.content_hash[:8] in wanted:
                first.setdefault(row.content_hash, row)
    return [first[content_hash] for content_hash in sorted(first)]


def _bucket(night: Night, ready: Ready, bucket: int) -> StepReceipt:
    stem = f"bucket-{bucket:05d}"
    rows = bucket_rows(night, ready.inputs, bucket)
    return _shard(night, ready, _Part(f"extract.{ready.inputs.modality}.{stem}", stem, rows))


def _shard(night: Night, ready: Ready, part: _Part) -> StepReceipt:
    encoder, modality = ready.encoder, ready.inputs.modality
    name = digest(VERSION, encoder.key, [(row.item_id, row.content_hash or row.problem) for row in part.rows])
    folder = f"{part.parent}/{modality}/{encoder.key}"

    def build(path: Path) -> Json:
        before = Counter(encoder.counts)
        known = _known(night, modality, folder, part)
        fresh = {row.content_hash: row for row in part.rows if row.content_hash and row.content_hash not in known}
        known |= encode(ready.load(), ready.inputs, list(fresh.values()), threads(night.config)) if fresh else {}
        results = [known[row.content_hash] if row.content_hash else Result(None, row.problem) for row in part.rows]
        described = _described(ready, results)
        key = "user_id" if part.parent == PROFILES else "item_id"
        write_shard(path, key, [(row.item_id, row.content_hash) for row in part.rows], results, described)
        summary = asdict(Summary.of(modality, [row.item_id for row in part.rows], results))
        # Rows of a modality are its items: what else is encoded is counted under its own name.
        other = {"rows": 0, "missing_rows": 0, f"{part.stem}_rows": len(part.rows)}
        failed = [row.item_id for row, result in zip(part.rows, results, strict=True) if result.transient]
        return {
            **asdict(described),
            **(summary if part.is_bucket else other),
            "engine": encoder.prepared.engine,
            "encoded_rows": sum(1 for row in part.rows if row.content_hash in fresh),
            "counts": {what: encoder.counts[what] - before[what] for what in encoder.counts},
            **({"name": f"{part.stem}-{digest(name, failed)}.parquet"} if failed else {}),
        }

    return night.shard(part.step, f"{folder}/{part.stem}-{name}.parquet", build)


def _described(ready: Ready, results: Sequence[Result]) -> Described:
    encoder: Encoder = ready.encoder
    width = next((len(result.vector) for result in results if result.vector is not None), 0)
    width = width or (ready.load().width if results else 0)
    prepared = encoder.prepared
    return Described(encoder.key, encoder.model, int(width), encoder.space, prepared.precision, prepared.cosine)


def _known(night: Night, modality: Modality, folder: str, part: _Part) -> dict[bytes, Result]:
    """What is encoded already, by content hash: in earlier shards of this part and encoder, the newest of which wins,
    and in what several buckets share.
    """
    known: dict[bytes, Result] = {}
    shards = () if night.full else night.workspace.path(folder).glob(f"{part.stem}-*.parquet")
    for path in sorted(shards, key=lambda path: path.stat().st_mtime):
        if path.with_suffix(".json").exists():
            known |= read_results(path)
    shared = night.done(_shared_step(modality))
    if part.is_bucket and shared and part.hashes:
        known |= read_results(night.workspace.path(shared.path), part.hashes)
    return known
