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

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.artefacts.runs import earlier_receipt, runs
from pipeline.artefacts.shards import Shards, Summary
from pipeline.config import Modality
from pipeline.errors import StepFailed
from pipeline.interactions import Floats, Int64s
from pipeline.night import Night, StepReceipt
from pipeline.steps.encoding import PROFILES, SHARED, Encoding, Part, prefixes_of, shared_step_of
from pipeline.steps.ingest import staged_of
from pipeline.steps.parts import as_task, grouped, unknown
from pipeline.steps.prepare import ensure
from pipeline.steps.ready import Ready
from pipeline.storage.documents import Json

log = logging.getLogger("medley")
PROFILES_STEP = "extract.text.profiles"
# What a row takes that is copied from an earlier shard.
COPY_SECONDS = 1e-5


@dataclass(frozen=True)
class Plan:
    """A modality before its buckets: what is there of them already, and what the others would take.

    seconds: of each bucket without a shard, by what a row took on past nights. fresh: rows to be encoded, in these
    buckets, among what several buckets share, and of profiles.
    """

    ready: Ready
    receipts: Mapping[int, StepReceipt]
    seconds: Mapping[int, float]
    fresh: int = 0


def plan(night: Night, modality: Modality) -> Plan:
    """Prepares the encoder, encodes profiles and what several buckets share, and leaves receipts of what is there.

    Run it once before buckets are extracted side by side.
    """
    encoding = Encoding(night, ensure(night, modality))
    receipts: dict[int, StepReceipt] = {}
    work: dict[int, tuple[int, Int64s]] = {}
    prefixes: list[Int64s] = []
    for bucket in range(_buckets(night)):
        part = encoding.bucket(bucket)
        prefixes.append(np.unique(prefixes_of(part.hashes)))
        if encoding.is_there(part):
            receipts[bucket] = encoding.shard(part)
        else:
            work[bucket] = len(part.rows), encoding.fresh(part)
    if receipts:
        rows = sum(receipt.rows for receipt in receipts.values())
        step = f"extract.{modality}"
        log.info("%-26s rows=%s of %s buckets skipped, they are there already", step, rows, len(receipts))
    shared = Part(encoding.shared_step, SHARED, encoding.shared_rows(prefixes), SHARED)
    fresh = _committed(encoding, shared)
    profiles = staged_of(night).profiles(["user_id", "profile"]) if modality == "text" else None
    if profiles is not None:
        fresh += _committed(encoding, Part(PROFILES_STEP, PROFILES, encoding.ready.inputs.profiles(profiles), PROFILES))
    elsewhere = prefixes_of(shared.hashes)
    own = {bucket: int(np.isin(each, elsewhere, invert=True).sum()) for bucket, (_, each) in work.items()}
    a_row = seconds_a_row(night, encoding) if work else 0.0
    seconds = {bucket: (rows + 1) * COPY_SECONDS + own[bucket] * a_row for bucket, (rows, _) in work.items()}
    return Plan(encoding.ready, receipts, seconds, fresh + sum(own.values()))


def _committed(encoding: Encoding, part: Part) -> int:
    """Encodes a part that is no bucket, and returns how many of its rows no earlier shard tells of."""
    fresh = 0 if encoding.is_there(part) else len(encoding.fresh(part))
    encoding.shard(part)
    return fresh


def tasks(plans: Mapping[Modality, Plan], task_seconds: float) -> list[Json]:
    """What a scheduler maps over: a modality's buckets in groups, none of those that are there."""
    groups = grouped({modality: planned.seconds for modality, planned in plans.items()}, task_seconds)
    return [as_task(group, "--modality", "--bucket") for group in groups]


def run(night: Night, modality: Modality, buckets: Sequence[int] | None = None) -> list[StepReceipt]:
    """Extracts the buckets of one modality, all of them by default, and then checks the share of bad rows.

    Raises StepFailed if the modality is not configured or more of its rows than `max_error_rate` are unreadable.
    """
    if modality not in night.config.extract.modalities():
        raise StepFailed(f"modality {modality} is not configured: give extract.{modality} an encoder, or leave it out")
    count = _buckets(night)
    if wrong := unknown(buckets or (), count):
        raise StepFailed(f"--bucket {wrong[0]}: this workspace has buckets 0 to {count - 1}")
    if buckets is None or night.done(shared_step_of(modality)) is None:
        planned = plan(night, modality)
        ready, there = planned.ready, planned.receipts
    else:
        ready, there = ensure(night, modality), {}
    encoding = Encoding(night, ready)
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
            f"extract.{modality}.max_error_rate ({limit:.1%}); mend them, or raise that; `medley errors` lists all: "
            f"{first}"
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


def _buckets(night: Night) -> int:
    return staged_of(night).summary.buckets


def seconds_a_row(night: Night, encoding: Encoding) -> float:
    """What a row took on that past night that encoded most by this encoder, or the encoder's own guess; once loaded."""
    encoded, seconds = 0, 0.0
    for run in runs(night.workspace):
        steps = night.workspace.path("runs", str(run["run_id"]), "steps")
        names = [path.stem for path in steps.glob(f"{encoding.bucket_steps}*.json")]
        receipts = filter(None, (earlier_receipt(steps.parent, name) for name in names))
        own = [each for each in receipts if each.encoded_rows and each.path.startswith(encoding.folder())]
        rows = sum(each.encoded_rows for each in own)
        if rows > encoded:
            encoded = rows
            seconds = sum(each.seconds - each.details.get("load_seconds", 0) for each in own)
    return seconds / encoded if encoded else encoding.ready.encoder.seconds_a_row
