"""Why the newest run of a workspace is not the published one, as far as its receipts tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.artefacts.published import INTEGRITY
from pipeline.artefacts.runs import StepReceipt, earlier_receipt
from pipeline.storage.documents import Json

# The largest first.
UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


def ago(seconds: float) -> str:
    """A time that has passed, in words: `3 hours ago`."""
    if span := duration(seconds):
        return f"{span} ago"
    return "just now" if seconds >= 0 else "in the future"


def duration(seconds: float) -> str:
    """A length of time in words, in the largest unit that it fills: `3 hours`; empty for less than a minute."""
    for unit, length in UNITS:
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return ""


def why_not_published(run: Json, folder: Path, steps: Sequence[str]) -> str:
    """A sentence: which rule of the gate refused a run, or which step it has come to, and when that was last heard of.

    run: its `run.json`. folder: the run's. steps: the names of a night's, in their order.
    """
    publish = earlier_receipt(folder, "publish")
    if publish is None:
        return _unfinished(run, folder, steps)
    gates = publish.details.get("gates", [])
    if not publish.details.get("published"):
        refused = [gate for gate in gates if not gate["passed"]]
        reasons = "; ".join(f"{gate['name']}: {gate['sentence']}" for gate in refused)
        way = way_out(str(run["run_id"]), [gate["name"] for gate in refused])
        return f"the gate refused it: {reasons}{f'; {way}'.rstrip('; ')}"
    return (
        "another run was published after it, or it was killed before it was: `medley publish` with its run id does that"
    )


def way_out(run_id: str, refused: Sequence[str]) -> str:
    """How a run that the gate refused is published all the same, ending in a semicolon; empty where nothing does that.

    refused: the names of the rules that did not hold.
    """
    if INTEGRITY in refused:
        return ""
    return f"if that is meant, `medley publish --run-id {run_id} --force REASON` publishes it all the same; "


def _unfinished(run: Json, folder: Path, steps: Sequence[str]) -> str:
    receipts = {path.stem: path.stat().st_mtime for path in (folder / "steps").glob("*.json")}
    done = [step for step in steps if _is_done(step, receipts, run, folder)]
    following = next(step for step in steps if step not in done)
    heard = max([datetime.fromisoformat(run["started_at"]).timestamp(), *receipts.values()])
    last = f"{done[-1]} was done" if done else "it began"
    if following in {name.partition(".")[0] for name in receipts}:
        last = f"a part of {following} was done"
    return f"it is in {following}, or failed there: {last} {ago(datetime.now(UTC).timestamp() - heard)}"


def _is_done(step: str, receipts: Iterable[str], run: Json, folder: Path) -> bool:
    """Whether a step is done; extraction, when every bucket of every modality is."""
    if step != "extract":
        return step in receipts
    ingested = earlier_receipt(folder, "ingest")
    modalities = [name for name, settings in run["config"].get("extract", {}).items() if settings]
    parts = [sum(name.startswith(f"extract.{modality}.bucket-") for name in receipts) for modality in modalities]
    return ingested is not None and all(count >= _buckets(ingested) for count in parts)


def _buckets(ingested: StepReceipt) -> int:
    return int(ingested.details.get("buckets", 1))
