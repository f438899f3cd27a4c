"""Extract: one modality of one bucket becomes one Parquet shard of embeddings.

- prepare: see `steps.prepare`;
- plan: each row's content hash, from staging (media), the text itself or the given vector; the shard is named by those
  hashes and the encoder's key, so a shard that is there is skipped, and costs no process;
- what lies in several buckets, byte for byte, is encoded once, before any of them, and so are users' profiles, which
  are texts of their own;
- reuse: rows whose content an earlier shard of the same bucket and encoder holds are copied from it;
- run: see `encoders.inputs`: what is new is decoded in threads and encoded in batches;
- commit: the shard, then its receipt. A row that cannot be used is null, with its reason in `error`. Where the reason
  lies in the machine (a package, a store), the shard has another name, so that the next night tries those rows again.

Peak memory: 0.3 GB, the encoder, one bucket, and 50 bytes an item; given vectors in Parquet are held whole, 4 bytes a
number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.artefacts.encoded import NONE, Contents, Encoded, Hashes, Results
from pipeline.artefacts.runs import runs
from pipeline.artefacts.shards import Described, Shards, Summary, read_encoded, read_hashes, write_shard
from pipeline.config import Modality
from pipeline.encoders.inputs import Rows
from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Int64s
from pipeline.night import Night, StepReceipt
from pipeline.runtime import threads
from pipeline.steps.ingest import staged_of
from pipeline.steps.prepare import Ready, bucket_rows, ensure
from pipeline.workspace import Json, digest, read_json

VERSION = 4
SHARED = "shared"
PROFILES = "profiles"
PROFILES_STEP = "extract.text.profiles"
# Of all modalities together; a task is a process, whose start takes seconds.
TASKS, TASK_SECONDS, SHORTEST_TASK_SECONDS = (8, 200), 60.0, 10.0
# What a row takes that is copied from an earlier shard.
COPY_SECONDS = 1e-5


@dataclass(frozen=True)
class Plan:
    """A modality before its buckets: what is there of them already, and what the others would take.

    seconds: of each bucket without a shard, by what a row took on past nights.
    """

    ready: Ready
    receipts: Mapping[int, StepReceipt]
    seconds: Mapping[int, float]


def plan(night: Night, modality: Modality) -> Plan:
    """Prepares the encoder, encodes profiles and what several buckets share, and leaves receipts of what is there.

    Run it once before buckets are extracted side by side.
    """
    encoding = _Encoding(night, ensure(night, modality))
    receipts: dict[int, StepReceipt] = {}
    work: dict[int, tuple[int, int]] = {}
    prefixes: list[Int64s] = []
    for bucket in range(_buckets(night)):
        part = encoding.bucket(bucket)
        prefixes.append(np.unique(_prefixes(part.hashes)))
        if encoding.is_there(part):
            receipts[bucket] = encoding.shard(part)
        else:
            work[bucket] = len(part.rows), encoding.fresh_rows(part)
    encoding.shard(_Part(encoding.shared_step, SHARED, encoding.shared_rows(prefixes), SHARED))
    profiles = staged_of(night).profiles(["user_id", "profile"]) if modality == "text" else None
    if profiles is not None:
        encoding.shard(_Part(PROFILES_STEP, PROFILES, encoding.ready.inputs.profiles(profiles), PROFILES))
    a_row = _seconds_a_row(night, encoding) if work else 0.0
    seconds = {bucket: (rows + 1) * COPY_SECONDS + fresh * a_row for bucket, (rows, fresh) in work.items()}
    return Plan(encoding.ready, receipts, seconds)


def tasks(plans: Mapping[Modality, Plan]) -> list[Json]:
    """What a scheduler maps over: groups of a modality's buckets, none of those that are there.

    They take about TASK_SECONDS each, less where these would be fewer than TASKS[0] and more where more than TASKS[1].
    """
    total = sum(sum(planned.seconds.values()) for planned in plans.values())
    length = max(min(TASK_SECONDS, total / TASKS[0]), SHORTEST_TASK_SECONDS, total / (TASKS[1] - len(plans)))
    groups: list[Json] = []
    for modality, planned in plans.items():
        buckets, seconds = np.array(list(planned.seconds)), np.array(list(planned.seconds.values()))
        count = int(np.ceil(seconds.sum() / length))
        middle = (np.cumsum(seconds) - seconds / 2) / seconds.sum() if len(seconds) else seconds
        number = np.minimum(middle * count, count - 1).astype(int)
        chosen = (buckets[number == each].tolist() for each in np.unique(number))
        groups += [{"modality": modality, "buckets": group} for group in chosen]
    return groups


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
    if buckets is None or night.done(_shared_step(modality)) is None:
        planned = plan(night, modality)
        ready, there = planned.ready, planned.receipts
    else:
        ready, there = ensure(night, modality), {}
    encoding = _Encoding(night, ready)
    receipts = [there.get(bucket) or encoding.shard(encoding.bucket(bucket)) for bucket in (buckets or range(count))]
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


@dataclass(frozen=True)
class _Part:
    """The rows of one shard and its folder: a bucket's, those that several buckets share, or profiles."""

    step: str
    stem: str
    rows: Rows
    parent: str = "embeddings"

    @property
    def is_bucket(self) -> bool:
        return self.parent == "embeddings"

    @property
    def hashes(self) -> Hashes:
        """Of the rows that have content."""
        return self.rows.hashes[self.rows.hashes != NONE]


@dataclass(frozen=True)
class _Encoding:
    """One modality's shards, as tonight's encoder makes them."""

    night: Night
    ready: Ready

    @property
    def shared_step(self) -> str:
        return _shared_step(self.ready.inputs.modality)

    def bucket(self, bucket: int) -> _Part:
        stem = f"bucket-{bucket:05d}"
        rows = bucket_rows(self.night, self.ready.inputs, bucket)
        return _Part(f"extract.{self.ready.inputs.modality}.{stem}", stem, rows)

    def shared_rows(self, prefixes: Sequence[Int64s]) -> Rows:
        """The first row of each content that lies in more than one bucket, by hash. prefixes: of each bucket's."""
        values, times = np.unique(np.concatenate(prefixes), return_counts=True)
        wanted = values[times > 1]
        parts = []
        for bucket, own in enumerate(prefixes):
            if bucket == 0 or np.isin(own, wanted).any():
                rows = bucket_rows(self.night, self.ready.inputs, bucket)
                several = np.isin(_prefixes(rows.hashes), wanted) & (rows.hashes != NONE)
                parts.append(rows.take(np.flatnonzero(several)))
        candidates = Rows.concat(parts)
        return candidates.take(np.unique(candidates.hashes, return_index=True)[1])

    def is_there(self, part: _Part) -> bool:
        return not self.night.full and self.night.workspace.artefact(self._path(part)) is not None

    def fresh_rows(self, part: _Part) -> int:
        """About how many rows the newest earlier shard says nothing of."""
        newest = self._earlier.get(part.stem, [])[:1]
        known = [_prefixes(read_hashes(path)) for path in newest] or [np.zeros(0, np.int64)]
        return int(np.isin(_prefixes(part.hashes), known[0], invert=True).sum())

    def shard(self, part: _Part) -> StepReceipt:
        return self.night.shard(part.step, self._path(part), lambda path: self._build(part, path))

    def _path(self, part: _Part) -> str:
        rows = part.rows
        contents = rows.ids.to_pylist(), rows.hashes.tobytes(), rows.problems.tolist()
        return f"{self.folder(part.parent)}/{part.stem}-{digest(VERSION, self.ready.encoder.key, contents)}.parquet"

    def folder(self, parent: str = "embeddings") -> str:
        return f"{parent}/{self.ready.inputs.modality}/{self.ready.encoder.key}"

    def _build(self, part: _Part, path: Path) -> Json:
        encoder, rows = self.ready.encoder, part.rows
        before = Counter(encoder.counts)
        contents = self._known(part)
        fresh = rows.take(contents.lacking())
        if len(fresh):
            self.ready.load()
            contents.learn(Encoded(fresh.hashes, self.ready.inputs.encode(fresh, threads(self.night.config))))
        results = contents.results(rows.problems)
        described = self._described(results)
        key = "user_id" if part.parent == PROFILES else "item_id"
        write_shard(path, key, rows.ids, rows.hashes, results, described)
        summary = asdict(Summary.of(self.ready.inputs.modality, rows.ids, results))
        # Rows of a modality are its items: what else is encoded is counted under its own name.
        other = {"rows": 0, "missing_rows": 0, f"{part.stem}_rows": len(rows)}
        failed = rows.take(np.flatnonzero(results.transient)).ids.to_pylist()
        return {
            **asdict(described),
            **(summary if part.is_bucket else other),
            "engine": encoder.prepared.engine,
            "encoded_rows": int(np.isin(rows.hashes, fresh.hashes).sum()),
            "counts": {what: encoder.counts[what] - before[what] for what in encoder.counts},
            **({"name": f"{part.stem}-{digest(path.stem, failed)}.parquet"} if failed else {}),
        }

    def _known(self, part: _Part) -> Contents:
        """What is encoded already: what several buckets share, and earlier shards of this part, the newest first."""
        contents = Contents(part.rows.hashes)
        if part.is_bucket and self._shared:
            contents.learn(self._shared)
        for path in self._earlier.get(part.stem, []) if part.is_bucket else self._newest_first(part.parent, part.stem):
            if contents.lacks(read_hashes(path)):
                contents.learn(read_encoded(path))
        return contents

    @cached_property
    def _earlier(self) -> Mapping[str, list[Path]]:
        """The committed shards of every bucket, the newest first."""
        stems: dict[str, list[Path]] = {}
        for path in self._newest_first("embeddings", "bucket"):
            stems.setdefault(path.stem.rpartition("-")[0], []).append(path)
        return stems

    def _newest_first(self, parent: str, stem: str) -> list[Path]:
        paths = () if self.night.full else self.night.workspace.path(self.folder(parent)).glob(f"{stem}-*.parquet")
        committed = [path for path in paths if path.with_suffix(".json").exists()]
        return sorted(committed, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    @cached_property
    def _shared(self) -> Encoded | None:
        """What several buckets share, where that is encoded."""
        receipt = self.night.done(self.shared_step)
        return read_encoded(self.night.workspace.path(receipt.path)) if receipt else None

    def _described(self, results: Results) -> Described:
        encoder = self.ready.encoder
        rows, width = results.vectors.shape
        width = (width if not results.missing.all() else self.ready.load().width) if rows else 0
        prepared = encoder.prepared
        return Described(encoder.key, encoder.model, int(width), encoder.space, prepared.precision, prepared.cosine)


def _buckets(night: Night) -> int:
    return staged_of(night).summary.buckets


def _shared_step(modality: Modality) -> str:
    return f"extract.{modality}.shared"


def _prefixes(hashes: Hashes) -> Int64s:
    """The first 8 bytes of each hash, as one number."""
    return np.frombuffer(hashes.tobytes(), np.int64)[::4]


def _seconds_a_row(night: Night, encoding: _Encoding) -> float:
    """What a row took on that past night that encoded most by this encoder, or the encoder's own guess."""
    encoded, seconds = 0, 0.0
    for run in runs(night.workspace):
        steps = night.workspace.path("runs", str(run["run_id"]), "steps")
        receipts = [
            read_json(path) or {} for path in steps.glob(f"{encoding.shared_step[: -len(SHARED)]}bucket-*.json")
        ]
        own = [each for each in receipts if each["encoded_rows"] and each["path"].startswith(encoding.folder())]
        rows = sum(each["encoded_rows"] for each in own)
        if rows > encoded:
            encoded, seconds = rows, sum(each["seconds"] for each in own)
    return seconds / encoded if encoded else encoding.ready.encoder.seconds_a_row
