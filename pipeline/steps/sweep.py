"""Sweep: what a night leaves behind, once it is published.

- runs: the newest `publish.keep_runs`, tonight's and the published one stay, older ones go;
- artefacts: what no kept run's receipts name goes, an hour after it was last changed, as a run may be writing it;
- media that the source gave as bytes: what no kept run's items name goes, likewise;
- searches for settings, which no run names: what has gone on since the oldest kept run began stays, and the newest,
  which reports show.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artefacts.published import CURRENT
from pipeline.artefacts.runs import receipt_of, runs
from pipeline.media import MEDIA
from pipeline.media.stored import FOLDER, PREFIX, path_of
from pipeline.night import Night
from pipeline.workspace import Workspace, read_json

log = logging.getLogger("medley")
SHARDS = ("embeddings/*/*/*.parquet", "shared/*/*/*.parquet", "profiles/*/*/*.parquet")
DIGESTS = ("fused/*", "models/*", "reranked/*", "evaluations/*", "index/*", "tunes/*")
SWEPT = (*SHARDS, "staged/*", "encoders/*/*", *DIGESTS)
LAYOUT = "layout.json"
GRACE_SECONDS = 3600


def kept_runs(run_ids: Sequence[str], count: int, always: Collection[str]) -> set[str]:
    """The runs that stay. run_ids: all of them, oldest first. always: those that stay whatever their age."""
    return {*run_ids[-count:], *(run_id for run_id in run_ids if run_id in always)}


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


def sweep(night: Night) -> None:
    """Removes runs beyond `publish.keep_runs`, every artefact that no kept run names, and older searches."""
    workspace, before = night.workspace, time.time() - GRACE_SECONDS
    current = workspace.read_json(CURRENT) or {}
    began = {str(run["run_id"]): datetime.fromisoformat(str(run["started_at"])) for run in runs(workspace)}
    kept_ids = kept_runs(list(began), night.config.publish.keep_runs, {night.run_id, str(current.get("run_id"))})
    for run_id in began.keys() - kept_ids:
        shutil.rmtree(workspace.path("runs", run_id), ignore_errors=True)
    oldest = min(began[run_id] for run_id in kept_ids).timestamp()
    named = {str(current.get("index")), *kept_searches(_changed(workspace, "tunes/*/*"), oldest)}
    for run_id in kept_ids:
        receipts = workspace.path("runs", run_id, "steps").glob("*.json")
        named |= {str((read_json(receipt) or {}).get("path")) for receipt in receipts}
    for name in unnamed(_changed(workspace, f"{FOLDER}/*/*/*"), _media(workspace, kept_ids), before):
        workspace.path(name).unlink(missing_ok=True)
    for name in unnamed(_changed(workspace, *SWEPT), named, before):
        workspace.remove(name)
        log.info("swept %s: no kept run names it", name)
    for name in unnamed(_changed(workspace, ".tmp/*"), (), before):
        _remove(workspace.path(name))


def _media(workspace: Workspace, run_ids: Collection[str]) -> set[str]:
    """The media that the staged items of some runs name."""
    receipts = (receipt_of(workspace.path("runs", run_id), "ingest") for run_id in run_ids)
    names: set[str] = set()
    for staged in {receipt.path for receipt in receipts if receipt}:
        for bucket in workspace.path(staged, "items").glob("*.parquet"):
            for modality in MEDIA.intersection(pq.read_schema(bucket).names):
                stored = pq.read_table(bucket, columns=[modality], filters=pc.starts_with(pc.field(modality), PREFIX))
                names |= {f"{FOLDER}/{modality}/{path_of(name)}" for name in stored[modality].to_pylist()}
    return names


def _changed(workspace: Workspace, *patterns: str) -> dict[str, float]:
    """Every path of some patterns, and when it was last changed."""
    paths = (path for pattern in patterns for path in workspace.root.glob(pattern))
    return {str(path.relative_to(workspace.root)): path.stat().st_mtime for path in paths}


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
