"""Preflight: what can be known before a night, on a sample of rows, in seconds; the workspace stays as it is.

- source: the queries run; all items are read, and of a long log all that a sample of users did;
- checks: those of `sql/checks/`, on that sample, split as on a night; it does not tell how often an item was chosen, so
  that it loses none by `ingest.min_item_interactions`;
- each modality: its encoder is made and its weights loaded, and a sample of items is read as it would be encoded;
- workspace: it can be written, and has room.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.artefacts.encoded import NONE, Failure
from pipeline.artefacts.shards import THIN_SHARE
from pipeline.config import Config, Modality
from pipeline.config.shared import Array
from pipeline.encoders.inputs import Inputs, Rows
from pipeline.errors import MedleyError
from pipeline.interactions import Int64s
from pipeline.media import MEDIA
from pipeline.night import Night
from pipeline.source import read
from pipeline.steps.checks import check
from pipeline.steps.losses import losses
from pipeline.steps.media_hashes import with_hashes
from pipeline.steps.ready import ready_of
from pipeline.steps.room import room
from pipeline.steps.staging import averaged_of, columns_of, connect, row_count, stage
from pipeline.storage import local
from pipeline.workspace import Workspace

LOG_ROWS, SAMPLE_ITEMS = 200_000, 512
# Of a modality, those that are decoded in so long, and so many at least.
DECODE_SECONDS, FEWEST_DECODED = 4.0, 32

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what it is like, in a sentence."""

    subject: str
    level: Level
    sentence: str


def preflight(config: Config, as_of: datetime) -> list[Finding]:
    """Every finding, in the order of a night; what depends on something that failed is left out."""
    with tempfile.TemporaryDirectory(prefix="medley-check-") as scratch:
        night = Night(config, Workspace(Path(scratch)), "check", as_of)
        with connect(config, Path(scratch) / "spill") as connection:
            findings = [_found("source", _read, connection, config)]
            if findings[0].level == "ok":
                findings.append(_found("checks", _check, connection, night))
                items = _sample(connection)
                rows = row_count(connection, "items")
                modalities = config.extract.modalities()
                findings += [_found(f"extract.{name}", _encode, night, name, items) for name in modalities]
                findings.append(_found("workspace", room, local(config.workspace), rows))
        return findings


def _found(subject: str, look: Callable[..., Finding | str], *arguments: object) -> Finding:
    """What `look` says, or the sentence that it raises."""
    try:
        outcome = look(*arguments)
    except MedleyError as error:
        return Finding(subject, "error", str(error))
    return outcome if isinstance(outcome, Finding) else Finding(subject, "ok", outcome)


def _read(connection: duckdb.DuckDBPyConnection, config: Config) -> str:
    given = config.ingest.split == "given"
    is_sample = read(connection, config.source, given, columns_of(config), averaged_of(config), LOG_ROWS)
    items, log = (row_count(connection, f"{table}_read") for table in ("items", "interactions"))
    return f"{items} items and {log} interactions{' of a sample of users' if is_sample else ''} were read"


def _check(connection: duckdb.DuckDBPyConnection, night: Night) -> str:
    settings = night.config.ingest.model_copy(update={"min_item_interactions": 0})
    stage(connection, night.config.model_copy(update={"ingest": settings}), night.as_of, buckets=1)
    check(connection, night.config.ingest.warn_only)
    parts = dict(connection.execute("from part_counts order by part").fetchall())
    lost = "".join(f"; {sentence}" for sentence in losses(connection))
    return f"interactions by part: {', '.join(f'{part} {rows}' for part, rows in parts.items())}{lost}"


def _sample(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Some items, the same ones every time, as staging would write them but for the hashes of media."""
    query = f"select * exclude (bucket) from items order by md5(item_id) limit {SAMPLE_ITEMS}"
    return connection.sql(query).to_arrow_table()


def _decode(inputs: Inputs, rows: Rows, places: Int64s) -> tuple[int, list[str]]:
    """How many of some rows were decoded in the time that there is, and why those that failed did."""
    end, outcomes = time.monotonic() + DECODE_SECONDS, list[object]()
    for place in places:
        if time.monotonic() > end and len(outcomes) >= FEWEST_DECODED:
            break
        outcomes.append(inputs.decode(rows[place]))
    return len(outcomes), [outcome.error for outcome in outcomes if isinstance(outcome, Failure)]


def _encode(night: Night, modality: Modality, items: pa.Table) -> Finding:
    subject, ready = f"extract.{modality}", ready_of(night, modality)
    if modality in MEDIA and not isinstance(ready.inputs.settings, Array):
        items = with_hashes(night, items, modality, "bucket-00000.parquet")
    rows = ready.inputs.rows(items)
    decodes = not ready.encoder.fits and not isinstance(ready.inputs.settings, Array)
    if decodes:
        ready.load()
    usable = np.flatnonzero(rows.hashes != NONE)
    unread = [str(problem) for problem in rows.problems if problem and problem != f"no {modality}"]
    decoded, undecoded = _decode(ready.inputs, rows, usable) if decodes else (0, [])
    problems, declared = unread + undecoded, len(usable) + len(unread)
    sentence = f"{len(usable)} of {len(items)} sampled items have one"
    if problems:
        of = f" of {decoded} that were decoded" if not unread else ""
        sentence += f"; {len(problems)}{of} cannot be used, such as: {problems[0]}"
    failing = len(undecoded) / max(1, decoded)
    share = (len(unread) + failing * len(usable)) / max(1, declared)
    limit = ready.inputs.settings.max_error_rate
    if share > limit:
        # A sample tells what all are like within twice its standard error.
        error = 2 * np.sqrt(share * (1 - share) / (len(unread) + decoded))
        hint = f"; look in {ready.inputs.root}" if unread and ready.inputs.root else ""
        sentence += f", and {subject}.max_error_rate stops a night above {limit:.0%}: mend them, or raise it{hint}"
        return Finding(subject, "error" if share - error > limit else "warning", sentence)
    if len(usable) < THIN_SHARE * len(items):
        return Finding(subject, "warning", f"{sentence}; {subject}: null leaves the modality out")
    return Finding(subject, "ok", sentence)
