"""Sweep: what nights leave behind, once one is published, or when `medley sweep` asks.

- runs: the newest `publish.keep_runs` that were published, the newest `publish.keep_failed_runs` of the others,
  tonight's and the published one stay, and so do those that may be going on: none that has not published goes within
  `nightly.timeout_seconds` of its last step, and none at all within an hour;
- artefacts: what no kept run's receipts name goes, an hour after it was last changed, as a run may be writing it; an
  index not within `publish.grace_seconds` of when it was written, or another was published in its place;
- media that the source gave as bytes: what no kept run's items name goes, likewise, but none while another run may be
  going on, and so are unfinished files;
- searches for settings, which no run names: what has gone on since the oldest kept run began stays, and the newest,
  which reports show.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from pipeline.artefacts.published import published_now
from pipeline.artefacts.read import read_table, schema_of
from pipeline.artefacts.runs import OPENED, runs, was_published
from pipeline.config import Config
from pipeline.media import MEDIA
from pipeline.media.stored import FOLDER, PREFIX, names_of, path_of
from pipeline.storage.documents import read_json, skip_broken
from pipeline.workspace import Workspace

log = logging.getLogger("medley")
SHARDS = ("embeddings/*/*/*.parquet", "shared/*/*/*.parquet", "profiles/*/*/*.parquet")
CELLS = ("centres/*/*", "cells/*/*.parquet")
DIGESTS = ("fused/*", "models/*", "reranked/*", "evaluations/*", "tunes/*")
SWEPT = (*SHARDS, "staged/*", "encoders/*/*", *CELLS, *DIGESTS)
INDEXES = "index/*"
LAYOUT = "layout.json"
GRACE_SECONDS = 3600


@dataclass(frozen=True)
class Swept:
    """What went: runs by their id, artefacts by their path in the workspace, and how many bytes both had."""

    runs: tuple[str, ...]
    artefacts: tuple[str, ...]
    bytes: int


def kept_runs(
    run_ids: Sequence[str], published: Collection[str], counts: tuple[int, int], always: Collection[str]
) -> set[str]:
    """The runs that stay. run_ids: all of them, oldest first. published: those of them that were.

    counts: how many stay of those that were published, and of the others. always: those that stay whatever their age.
    """
    groups = ([run for run in run_ids if (run in published) == was] for was in (True, False))
    newest = (run for group, count in zip(groups, counts, strict=True) for run in group[max(0, len(group) - count) :])
    return {*newest, *(run_id for run_id in run_ids if run_id in always)}


def kept_searches(changed: Mapping[str, float], since: float) -> set[str]:
    """The searches that stay: those of a file changed since a moment, and that of the newest finished one.

    changed: `tunes/<digest>/<file>` to when it was last changed, in seconds of the epoch; a finished search has a
    `tune.json`.
    """
    finished = sorted((moment, path) for path, moment in changed.items() if path.endswith("/tune.json"))
    recent = [path for path, moment in changed.items() if moment >= since]
    return {path.rpartition("/")[0] for path in (*recent, *(path for _, path in finished[-1:]))}


def unnamed(changed: Mapping[str, float], named: Collection[str], before: float) -> list[str]:
    """The artefacts that go: those that nobody names, last changed before a moment.

    changed: path in the workspace to when it was last changed, in seconds of the epoch. named: paths that stay.
    """
    paths = (path for path, moment in changed.items() if moment < before and path not in named)
    return [path for path in paths if not path.endswith(LAYOUT)]


def may_go_on(changed: float, over: bool, now: float, timeout_seconds: float) -> bool:
    """Whether a run may be in progress, or has ended only now.

    changed: when it left its last receipt. over: whether that was its last step's. timeout_seconds: of a step.
    """
    return changed >= now - GRACE_SECONDS - (0 if over else timeout_seconds)


def sweep(workspace: Workspace, config: Config, tonight: str = "") -> Swept:
    """Removes runs beyond those that are kept, every artefact that no kept run names, and older searches.

    tonight: the run that stays in any case.
    """
    workspace.look_again()  # a run may have begun meanwhile
    now, publish = time.time(), config.publish
    current = skip_broken(lambda: published_now(workspace.root)) or {}
    began = {str(run["run_id"]): datetime.fromisoformat(run["started_at"]) for run in runs(workspace)}
    going_on = {run_id for run_id in began if _may_go_on(workspace, run_id, now, config.nightly.timeout_seconds)}
    always = {tonight, str(current.get("run_id")), *going_on} - {""}
    published = {run_id for run_id in began if was_published(workspace.path("runs", run_id))}
    kept_ids = kept_runs(list(began), published, (publish.keep_runs, publish.keep_failed_runs), always)
    gone = sorted(began.keys() - kept_ids)
    freed = sum(workspace.remove(f"runs/{run_id}") for run_id in gone)
    oldest = min((began[run_id].timestamp() for run_id in kept_ids), default=now)
    named = {str(current.get("index")), *kept_searches(workspace.changed("tunes/*/*"), oldest)}
    for run_id in {*kept_ids, *always}:
        named |= _named(workspace.path("runs", run_id))
    artefacts = unnamed(workspace.changed(*SWEPT), named, now - GRACE_SECONDS)
    artefacts += unnamed(workspace.changed(INDEXES), named, now - max(GRACE_SECONDS, publish.grace_seconds))
    for name in artefacts:
        freed += workspace.remove(name)
        log.info("swept %s: no kept run names it", name)
    if not going_on - {tonight}:
        files, stored = workspace.changed(".tmp/*"), workspace.changed(f"{FOLDER}/*/*/*")
        # Where what those runs read is not known, none goes.
        media = skip_broken(lambda: _media(workspace, named)) if stored else set()
        for name in unnamed(files | stored, media, now - GRACE_SECONDS) if media is not None else ():
            freed += workspace.remove(name)
    return Swept(tuple(gone), tuple(artefacts), freed)


def _may_go_on(workspace: Workspace, run_id: str, now: float, timeout_seconds: float) -> bool:
    receipts = workspace.changed(f"runs/{run_id}/{OPENED}", f"runs/{run_id}/steps/*.json")
    over = f"runs/{run_id}/steps/publish.json" in receipts
    return may_go_on(max(receipts.values(), default=0), over, now, timeout_seconds)


@dataclass(frozen=True)
class _Left:
    """What is read of a step's receipt: the path of what it left."""

    path: str


def _named(run: Path) -> set[str]:
    """The artefacts that a run's receipts name; what a broken one named, nobody can read any more."""
    receipts = (skip_broken(partial(read_json, path, _Left)) for path in (run / "steps").glob("*.json"))
    return {str(receipt["path"]) for receipt in receipts if receipt}


def _media(workspace: Workspace, staged: Collection[str]) -> set[str]:
    """The stored media that the items of some snapshots name. staged: paths of artefacts, snapshots among them.

    Raises ShardCorrupt if items cannot be read.
    """
    names: set[str] = set()
    for path in (path for path in staged if path.startswith("staged/")):
        for bucket in workspace.path(path, "items").glob("*.parquet"):
            for modality in MEDIA.intersection(schema_of(bucket).names):
                where = pc.match_substring(pc.field(modality), PREFIX)
                for source in read_table(bucket, [modality], where)[modality].to_pylist():
                    stored = (name for name in names_of(source) if name.startswith(PREFIX))
                    names.update(f"{FOLDER}/{modality}/{path_of(name)}" for name in stored)
    return names
