"""Publish: the gate, then `CURRENT.json`, the report, the run's manifest, and the sweep.

What is published is replaced only if the evaluated model beat its baseline, the index found what exact search finds,
and every file of the index is the one that was written. Otherwise the previous night stays, and the exit status is 3.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import GateRefused
from pipeline.media import media_root
from pipeline.night import Night, StepReceipt, peak_rss_bytes, runs
from pipeline.report import GateCheck, RunFiles, write_report
from pipeline.workspace import Json, Workspace, read_json, sha256_of

log = logging.getLogger("medley")
CURRENT = "CURRENT.json"
SHARDS = ("embeddings/*/*/*.parquet", "shared/*/*/*.parquet", "profiles/*/*/*.parquet")
SWEPT = (*SHARDS, "staged/*", "encoders/*/*", "fused/*", "models/*", "evaluations/*", "index/*", "tunes/*")
GRACE_SECONDS = 3600


def run(night: Night) -> StepReceipt:
    """Publishes the run's index if the gate lets it, and always leaves a report and a manifest.

    Raises GateRefused, after those are written, if a condition does not hold.
    """
    begin = time.perf_counter()
    gates = judge(night)
    refused = [gate for gate in gates if not gate.passed]
    index = night.receipt("index")
    if not refused:
        night.workspace.write_json(CURRENT, _current(night, index))
    _write_report(night, gates, published=not refused)
    receipt = StepReceipt(
        step="publish",
        path=index.path,
        digest=index.digest,
        rows=index.rows,
        encoded_rows=0,
        missing_rows=0,
        skipped=False,
        seconds=round(time.perf_counter() - begin, 3),
        peak_rss_bytes=peak_rss_bytes(),
        details={"published": not refused, "gates": [asdict(gate) for gate in gates]},
    )
    night.workspace.write_json(f"{night.folder}/steps/publish.json", asdict(receipt))
    night.workspace.write_json(f"{night.folder}/manifest.json", manifest(night))
    if refused:
        reasons = "; ".join(gate.sentence for gate in refused)
        raise GateRefused(f"not published: {reasons}. What was published before stays; see {report_path(night)}")
    sweep(night)
    log.info("published index %s, report %s", index.digest, report_path(night))
    return receipt


def report_path(night: Night) -> Path:
    """Where the run's report is written."""
    return night.workspace.path(night.folder, "report.html")


def judge(night: Night) -> list[GateCheck]:
    """The gate's conditions, judged on the evaluated fit and on the index as written."""
    metrics = night.workspace.read_json(f"{night.folder}/metrics.json") or {}
    return [_quality(night, metrics), _recall(night), _integrity(night)]


def manifest(night: Night) -> Json:
    """What the run did and left: counts per step (extraction summed over buckets) and each artefact's sha256."""
    steps: dict[str, Json] = {}
    artefacts: dict[str, str] = {}
    for receipt in night.receipts():
        artefacts |= receipt.outputs
        name = ".".join(receipt.step.split(".")[:2])
        steps[name] = _added(steps.get(name), receipt)
    published = night.receipt("publish")
    return {
        "run_id": night.run_id,
        "as_of": night.as_of.isoformat(),
        "steps": steps,
        "artefacts": artefacts,
        "published": published.digest if published.details["published"] else None,
    }


def _added(before: Json | None, receipt: StepReceipt) -> Json:
    now = {
        "digest": receipt.digest,
        "rows": receipt.rows,
        "encoded_rows": receipt.encoded_rows,
        "missing_rows": receipt.missing_rows,
        "skipped": receipt.skipped,
        "seconds": receipt.seconds,
        "peak_rss_bytes": receipt.peak_rss_bytes,
    }
    if before is None:
        return dict(now)
    summed = {key: before[key] + now[key] for key in ("rows", "encoded_rows", "missing_rows")}
    return {
        **summed,
        "digest": f"{before['digest']} {now['digest']}",
        "skipped": bool(before["skipped"] and now["skipped"]),
        "seconds": round(before["seconds"] + now["seconds"], 3),
        "peak_rss_bytes": max(before["peak_rss_bytes"], now["peak_rss_bytes"]),
    }


def _quality(night: Night, metrics: Json) -> GateCheck:
    gate = night.config.publish.gate
    model = str(night.receipt("train").details["model"])
    where = f"{gate.metric} on {gate.segment}"
    try:
        segment = metrics["test"][gate.segment]
        ours = float(segment[model][gate.metric]["mean"])
        theirs = float(segment[gate.baseline][gate.metric]["mean"])
    except KeyError as missing:
        return GateCheck(False, f"{where} was not measured: metrics.json has no {missing}")
    passed = ours > theirs * gate.min_ratio
    relation = "beats" if passed else "does not beat"
    times = "" if gate.min_ratio == 1 else f"{gate.min_ratio} × "
    return GateCheck(passed, f"{model} at {ours:.4f} {relation} {times}{gate.baseline} at {theirs:.4f} ({where})")


def _recall(night: Night) -> GateCheck:
    limit = night.config.publish.gate.min_index_recall
    recall = float(str(night.receipt("index").details["recall"]))
    relation = "reaches" if recall >= limit else "is below"
    return GateCheck(recall >= limit, f"index recall@10 of {recall:.4f} {relation} {limit}")


def _integrity(night: Night) -> GateCheck:
    outputs = night.receipt("index").outputs
    changed = [name for name, sha in outputs.items() if _sha256(night.workspace.path(name)) != sha]
    if changed:
        return GateCheck(False, f"{changed[0]} is not the file that was written; run the night with --full")
    return GateCheck(True, f"all {len(outputs)} files of the index have the sha256 that was written")


def _sha256(path: Path) -> str:
    return sha256_of(path) if path.is_file() else ""


def _current(night: Night, index: StepReceipt) -> Json:
    return {
        "index": index.path,
        "digest": index.digest,
        "run_id": night.run_id,
        "as_of": night.as_of.isoformat(),
        "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write_report(night: Night, gates: list[GateCheck], published: bool) -> None:
    path = night.workspace.path(".tmp", f"report-{night.run_id}.html")
    write_report(
        RunFiles(
            workspace=night.workspace.root,
            run_id=night.run_id,
            name=night.config.name,
            note=night.config.note,
            as_of=night.as_of.isoformat(),
            media_root=media_root(night.config),
            staged=night.workspace.path(night.receipt("ingest").path),
            fused=night.workspace.path(night.receipt("fuse").path),
            model=night.workspace.path(night.receipt("train").path),
            index=night.workspace.path(night.receipt("index").path),
            gate=tuple(gates),
            published=published,
            seed=night.config.seed,
            headline_metric=night.config.publish.gate.metric,
            headline_segment=night.config.publish.gate.segment,
        ),
        path,
    )
    path.replace(report_path(night))


def sweep(night: Night) -> None:
    """Removes runs beyond `publish.keep_runs`, every artefact that no kept run names, and searches older than those.

    No run names a search for settings, which comes after one: what has gone on since the oldest kept run began is kept,
    and the newest, which reports show.
    """
    workspace = night.workspace
    current = workspace.read_json(CURRENT) or {}
    began = {str(run["run_id"]): datetime.fromisoformat(str(run["started_at"])) for run in runs(workspace)}
    found = list(began)
    kept = {*found[-night.config.publish.keep_runs :], night.run_id, str(current.get("run_id"))}
    for run_id in set(found) - kept:
        shutil.rmtree(workspace.path("runs", run_id), ignore_errors=True)
    oldest = min(began[run_id] for run_id in kept & set(found))
    named = {str(current.get("index")), *_searches(workspace, oldest.timestamp())}
    for run_id in kept:
        named |= {str((read_json(p) or {}).get("path")) for p in workspace.path("runs", run_id, "steps").glob("*.json")}
    old = time.time() - GRACE_SECONDS
    for pattern in SWEPT:
        for path in workspace.root.glob(pattern):
            relative = str(path.relative_to(workspace.root))
            if relative not in named and path.stat().st_mtime < old and not relative.endswith("layout.json"):
                workspace.remove(relative)
                log.info("swept %s: no kept run names it", relative)
    _sweep_temporary(workspace, old)


def _searches(workspace: Workspace, since: float) -> set[str]:
    """The searches that have gone on since a moment, in seconds of the epoch, and the newest."""
    files = sorted(workspace.root.glob("tunes/*/*"), key=lambda path: path.stat().st_mtime)
    shown = [path for path in files if path.name == "tune.json"][-1:]
    kept = [*shown, *(path for path in files if path.stat().st_mtime >= since)]
    return {str(path.parent.relative_to(workspace.root)) for path in kept}


def _sweep_temporary(workspace: Workspace, old: float) -> None:
    for path in workspace.path(".tmp").iterdir():
        if path.stat().st_mtime < old:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
