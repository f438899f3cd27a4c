"""Publish: the gate, then the report, the run's manifest, `CURRENT.json`, and the sweep.

`CURRENT.json` moves once all else of the run is written: a full disk or a kill before leaves what was published, and a
night that moved it counts as published, whatever becomes of the sweep.

What is published is replaced only if the evaluated model beat its baseline, and the strongest one is not better; if the
index found what exact search finds, and every file of it is the one that was written. Otherwise the previous night
stays, and the exit status is 3.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pipeline.artefacts.evaluated import Evaluated
from pipeline.artefacts.published import CURRENT
from pipeline.artefacts.runs import StepReceipt, total
from pipeline.errors import GateRefused
from pipeline.evaluation.gate import Verdict, index_recall, integrity, quality, strongest
from pipeline.media import media_root
from pipeline.night import Night, peak_rss_bytes
from pipeline.report import RunFiles, write_report
from pipeline.steps import STEPS
from pipeline.steps.sweep import sweep
from pipeline.workspace import Json, sha256_of

log = logging.getLogger("medley")
# What the manifest says of each step.
SUMMED = ("digest", "rows", "encoded_rows", "missing_rows", "skipped", "seconds", "peak_rss_bytes")


def run(night: Night) -> StepReceipt:
    """Publishes the run's index if the gate lets it, and always leaves a report and a manifest.

    Raises GateRefused, after those are written, if a condition does not hold.
    """
    begin = time.perf_counter()
    verdicts = judge(night)
    refused = [verdict for verdict in verdicts if not verdict.passed]
    index = night.receipt("index")
    _write_report(night, verdicts, published=not refused)
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
        details={"published": not refused, "gates": [asdict(verdict) for verdict in verdicts]},
    )
    night.workspace.write_json(f"{night.folder}/steps/publish.json", asdict(receipt))
    night.workspace.write_json(f"{night.folder}/manifest.json", manifest(night))
    if refused:
        reasons = "; ".join(verdict.sentence for verdict in refused)
        raise GateRefused(f"not published: {reasons}. What was published before stays; see {report_path(night)}")
    night.workspace.write_json(CURRENT, _current(night, index))
    try:
        sweep(night)
    except OSError as error:
        log.warning("sweep: %s: %s; what no run needs is swept another night", error.filename, error.strerror)
    log.info("published index %s, report %s", index.digest, report_path(night))
    return receipt


def report_path(night: Night) -> Path:
    """Where the run's report is written."""
    return night.workspace.path(night.folder, "report.html")


def judge(night: Night) -> list[Verdict]:
    """The gate's conditions, judged on the evaluated fit and on the index as written."""
    rules, index = night.config.publish.gate, night.receipt("index")
    metrics = Evaluated.read(night.workspace.path(night.folder))
    present = {name: sha256_of(path) for name in index.outputs if (path := night.workspace.path(name)).is_file()}
    beside = strongest(metrics.paired, metrics.trained, rules)
    return [
        quality(metrics.test, metrics.trained, rules),
        *([beside] if beside else []),
        index_recall(float(str(index.details["recall"])), rules),
        integrity(index.outputs, present),
    ]


def manifest(night: Night) -> Json:
    """What the run did and left: counts per step (extraction summed over buckets) and each artefact's sha256."""
    parts: dict[str, list[StepReceipt]] = {}
    artefacts: dict[str, str] = {}
    for receipt in night.receipts():
        artefacts |= receipt.outputs
        parts.setdefault(".".join(receipt.step.split(".")[:2]), []).append(receipt)
    published = night.receipt("publish")
    return {
        "run_id": night.run_id,
        "as_of": night.as_of.isoformat(),
        "steps": {name: {field: getattr(total(name, own), field) for field in SUMMED} for name, own in parts.items()},
        "artefacts": artefacts,
        "published": published.digest if published.details["published"] else None,
    }


def _current(night: Night, index: StepReceipt) -> Json:
    return {
        "index": index.path,
        "digest": index.digest,
        "run_id": night.run_id,
        "as_of": night.as_of.isoformat(),
        "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write_report(night: Night, verdicts: list[Verdict], published: bool) -> None:
    path = night.workspace.path(".tmp", f"report-{night.run_id}.html")
    write_report(
        RunFiles(
            workspace=night.workspace.root,
            run_id=night.run_id,
            as_of=night.as_of.isoformat(),
            media_root=media_root(night.config),
            staged=night.folder_of("ingest"),
            fused=night.folder_of("fuse"),
            model=night.folder_of("train"),
            index=night.folder_of("index"),
            gate=tuple(verdicts),
            published=published,
            config=night.config,
            steps=tuple(step.name for step in STEPS),
        ),
        path,
    )
    path.replace(report_path(night))
