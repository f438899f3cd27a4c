"""Publish: the gate, then the report, the run's manifest, `CURRENT.json`, and the sweep.

`CURRENT.json` moves once all else of the run is written: a full disk or a kill before leaves what was published, and a
night that moved it counts as published, whatever becomes of the sweep.

What is published is replaced only if every rule of the gate holds, see `pipeline.steps.gate`. Otherwise the previous
night stays, and the exit status is 3. A reason given by hand publishes past every rule but `integrity`, and is recorded
with the run, in `CURRENT.json` and in the report.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.artefacts.published import INTEGRITY, published_now, replace_published
from pipeline.artefacts.runs import StepReceipt, earlier_receipt, total, was_published
from pipeline.errors import GateRefused
from pipeline.evaluation.gate import Verdict
from pipeline.media import media_root
from pipeline.night import Night, peak_rss_bytes
from pipeline.report import RunFiles, write_report
from pipeline.serving.newest_run import way_out
from pipeline.steps import STEPS
from pipeline.steps.gate import judge
from pipeline.steps.sweep import sweep
from pipeline.storage.documents import Json, skip_broken

log = logging.getLogger("medley")
# What the manifest says of each step.
SUMMED = ("digest", "rows", "encoded_rows", "missing_rows", "skipped", "seconds", "peak_rss_bytes")


def run(night: Night, force: str = "") -> StepReceipt:
    """Publishes the run's index if the gate lets it, and always leaves a report and a manifest.

    force: why it is to be published though the gate refuses it; empty to obey the gate. Raises GateRefused, after the
    report and the manifest are written, if a rule does not hold and is not overridden.
    """
    begin = time.perf_counter()
    before = skip_broken(lambda: published_now(night.workspace.root))
    verdicts = judge(night)
    refused = [verdict for verdict in verdicts if not verdict.passed]
    overridden = bool(force and refused) and all(verdict.name != INTEGRITY for verdict in refused)
    published, forced = overridden or not refused, force if overridden else ""
    index, folder = night.receipt("index"), night.workspace.path(night.folder)
    earlier = earlier_receipt(folder, "publish")
    # Judged again, and refused: the index that went out is still one to go back to.
    stood = earlier is not None and earlier.digest == index.digest and was_published(folder)
    _write_report(night, verdicts, published, forced)
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
        details={
            "published": published,
            "was_published": published or stood,
            "gates": [asdict(verdict) for verdict in verdicts],
            "forced": forced,
        },
    )
    night.workspace.write_json(f"{night.folder}/steps/publish.json", asdict(receipt))
    night.workspace.write_json(f"{night.folder}/manifest.json", manifest(night))
    for verdict in verdicts:
        if verdict.warning or (forced and not verdict.passed):
            log.warning("gate: %s: %s", verdict.name, verdict.sentence)
    if not published:
        raise GateRefused(_refusal(night, refused))
    opened = {"run_id": night.run_id, "as_of": night.as_of.isoformat()}
    replace_published(night.workspace, before, opened, index, forced)
    try:
        sweep(night.workspace, night.config, night.run_id)
    except OSError as error:
        log.warning("sweep: %s: %s; what no run needs is swept another night", error.filename, error.strerror)
    by_force = f" by force ({forced})" if forced else ""
    log.info("published index %s%s, report %s", index.digest, by_force, report_path(night))
    return receipt


def _refusal(night: Night, refused: Sequence[Verdict]) -> str:
    reasons = "; ".join(f"{verdict.name}: {verdict.sentence}" for verdict in refused)
    way = way_out(night.run_id, [verdict.name for verdict in refused])
    return f"not published: {reasons}. What was published before stays; {way}see {report_path(night)}"


def report_path(night: Night) -> Path:
    """Where the run's report is written."""
    return night.workspace.path(night.folder, "report.html")


def manifest(night: Night) -> Json:
    """What the run did and left: counts per step (parts summed) and each artefact's sha256."""
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


def _write_report(night: Night, verdicts: Sequence[Verdict], published: bool, forced: str) -> None:
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
            forced=forced,
            config=night.config,
            steps=tuple(step.name for step in STEPS),
        ),
        path,
    )
    night.workspace.put(path, f"{night.folder}/report.html")
