"""Encoding: how the rows of a part, such as a bucket, become one shard, see `steps.extract`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.artefacts.encoded import NONE, Contents, Encoded, Hashes, Results
from pipeline.artefacts.retries import Retries
from pipeline.artefacts.shards import Described, Summary, read_encoded, read_failed, read_hashes, write_shard
from pipeline.config import Modality
from pipeline.encoders.inputs import Rows
from pipeline.interactions import Int64s
from pipeline.night import Night, StepReceipt
from pipeline.runtime import threads
from pipeline.steps.ready import Ready, bucket_rows
from pipeline.storage.documents import Json, read_json
from pipeline.storage.files import sha256_of
from pipeline.workspace import digest

VERSION = 4
SHARED = "shared"
SHARD, RECEIPT = ".parquet", ".json"
PROFILES = "profiles"


@dataclass(frozen=True)
class Part:
    """The rows of one shard and its folder: a bucket's, those that several buckets share, or profiles."""

    step: str
    stem: str
    rows: Rows
    parent: str = "embeddings"

    @property
    def is_bucket(self) -> bool:
        """Whether it is a bucket's."""
        return self.parent == "embeddings"

    @property
    def hashes(self) -> Hashes:
        """Of the rows that have content."""
        return self.rows.hashes[self.rows.hashes != NONE]


@dataclass(frozen=True)
class Encoding:
    """One modality's shards, as tonight's encoder makes them."""

    night: Night
    ready: Ready

    @property
    def shared_step(self) -> str:
        """The step of what several buckets share."""
        return shared_step_of(self.ready.inputs.modality)

    @property
    def bucket_steps(self) -> str:
        """How the steps of buckets begin."""
        return f"extract.{self.ready.inputs.modality}.bucket-"

    def bucket(self, bucket: int) -> Part:
        """The rows of a bucket."""
        rows = bucket_rows(self.night, self.ready.inputs, bucket)
        return Part(f"{self.bucket_steps}{bucket:05d}", f"bucket-{bucket:05d}", rows)

    def shared_rows(self, prefixes: Sequence[Int64s]) -> Rows:
        """The first row of each content that lies in more than one bucket, by hash. prefixes: of each bucket's."""
        values, times = np.unique(np.concatenate(prefixes), return_counts=True)
        wanted = values[times > 1]
        parts = []
        for bucket, own in enumerate(prefixes):
            if bucket == 0 or np.isin(own, wanted).any():
                rows = bucket_rows(self.night, self.ready.inputs, bucket)
                several = np.isin(prefixes_of(rows.hashes), wanted) & (rows.hashes != NONE)
                parts.append(rows.take(np.flatnonzero(several)))
        candidates = Rows.concat(parts)
        return candidates.take(np.unique(candidates.hashes, return_index=True)[1])

    def is_there(self, part: Part) -> bool:
        """Whether its shard lies there already, and may be taken."""
        return not self.night.full and self.night.workspace.artefact(self._path(part)) is not None

    def fresh(self, part: Part) -> Int64s:
        """Prefixes of those of a part's contents, one a row, that no earlier shard of it tells of."""
        fresh = prefixes_of(part.hashes)
        for _, hashes in self._telling(part):
            fresh = fresh[np.isin(fresh, prefixes_of(hashes), invert=True)]
            if not len(fresh):
                break
        return fresh

    def shard(self, part: Part) -> StepReceipt:
        """Writes the shard, or takes it where it is there."""
        return self.night.shard(part.step, self._path(part), lambda path: self._build(part, path))

    def _path(self, part: Part) -> str:
        rows = part.rows
        contents = rows.ids.to_pylist(), rows.hashes.tobytes(), rows.problems.tolist()
        retried = [request] if (request := self._retries.last(part.hashes)) else []
        name = digest(VERSION, self.ready.encoder.key, contents, *retried)
        return f"{self.folder(part.parent)}/{part.stem}-{name}.parquet"

    def folder(self, parent: str = "embeddings") -> str:
        """Where the shards lie in the workspace."""
        return f"{parent}/{self.ready.inputs.modality}/{self.ready.encoder.key}"

    def _build(self, part: Part, path: Path) -> Json:
        encoder, rows = self.ready.encoder, part.rows
        before, loading = Counter(encoder.counts), self.ready.load_seconds
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
        return {
            **asdict(described),
            **(summary if part.is_bucket else other),
            "engine": encoder.prepared.engine,
            "encoded_rows": int(np.isin(rows.hashes, fresh.hashes).sum()),
            "counts": {what: encoder.counts[what] - before[what] for what in encoder.counts},
            "load_seconds": round(self.ready.load_seconds - loading, 3),
            "retried": self._retries.last(self._retries.hashes),
            **self._named(part, path, results),
        }

    def _named(self, part: Part, path: Path, results: Results) -> Json:
        """What names a shard by its outcome, where that is not what was asked for.

        Rows that failed for a reason of the machine: the next night asks again. Rows that were tried again as asked, in
        vain: it is an earlier shard, byte for byte, and whatever was made of that stands.
        """
        if failed := part.rows.take(np.flatnonzero(results.transient)).ids.to_pylist():
            return {"name": f"{part.stem}-{digest(path.stem, failed)}.parquet"}
        if self._retries.last(part.hashes):
            sha256 = sha256_of(path)
            earlier = map(self.night.workspace.path, self._earlier_of(part))
            same = (shard for shard in earlier if sha256 in _receipt(shard)["files"].values())
            return {"name": name.name, "settled": True} if (name := next(same, None)) else {}
        return {}

    def _known(self, part: Part) -> Contents:
        """What is encoded already: what several buckets share, and earlier shards of this part, the newest first."""
        contents = Contents(part.rows.hashes)
        if part.is_bucket and self._shared:
            contents.learn(self._shared)
        for path, hashes in self._telling(part):
            if contents.lacks(hashes):
                contents.learn(replace(read_encoded(path), hashes=hashes))
        return contents

    def _telling(self, part: Part) -> Iterator[tuple[Path, Hashes]]:
        """The earlier shards of a part, the newest first, and the content of each row that they tell of."""
        return ((path, self._told(path)) for path in map(self.night.workspace.path, self._earlier_of(part)))

    def _told(self, path: Path) -> Hashes:
        """The content of each row of a shard, but of those that failed and were to be tried again since."""
        hashes = read_hashes(path)
        if len(self._retries.hashes):
            again = self._retries.since(hashes, str(_receipt(path)["details"].get("retried", "")))
            if again.any():
                hashes[again & read_failed(path)] = NONE
        return hashes

    @cached_property
    def _retries(self) -> Retries:
        return Retries.read(self.night.workspace, self.ready.inputs.modality)

    def _earlier_of(self, part: Part) -> Sequence[str]:
        """The committed shards of a part, the newest first: their paths in the workspace."""
        return self._earlier.get(part.stem, []) if part.is_bucket else self._newest_first(part.parent, part.stem)

    @cached_property
    def _earlier(self) -> Mapping[str, list[str]]:
        """The committed shards of every bucket, likewise."""
        stems: dict[str, list[str]] = {}
        for name in self._newest_first("embeddings", "bucket"):
            stems.setdefault(Path(name).stem.rpartition("-")[0], []).append(name)
        return stems

    def _newest_first(self, parent: str, stem: str) -> list[str]:
        if self.night.full:
            return []
        changed = self.night.workspace.changed(*(f"{self.folder(parent)}/{stem}-*{kind}" for kind in (SHARD, RECEIPT)))
        committed = [name for name in changed if name.endswith(SHARD) and name.removesuffix(SHARD) + RECEIPT in changed]
        return sorted(committed, key=lambda name: changed[name], reverse=True)

    @cached_property
    def _shared(self) -> Encoded | None:
        """What several buckets share, where that is encoded."""
        receipt = self.night.done(self.shared_step)
        path = self.night.workspace.path(receipt.path) if receipt else None
        return replace(read_encoded(path), hashes=self._told(path)) if path else None

    def _described(self, results: Results) -> Described:
        encoder = self.ready.encoder
        rows, width = results.vectors.shape
        width = (width if not results.missing.all() else self.ready.load().width) if rows else 0
        prepared = encoder.prepared
        return Described(encoder.key, encoder.model, int(width), encoder.space, prepared.precision, prepared.cosine)


def _receipt(path: Path) -> Json:
    """The receipt of a committed shard."""
    return read_json(path.with_suffix(".json")) or {"files": {}, "details": {}}


def shared_step_of(modality: Modality) -> str:
    """The step of what several buckets of a modality share."""
    return f"extract.{modality}.shared"


def prefixes_of(hashes: Hashes) -> Int64s:
    """The first 8 bytes of each hash, as one number."""
    return np.frombuffer(hashes.tobytes(), np.int64)[::4]
