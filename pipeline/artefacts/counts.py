"""What a run's receipts count: rows of the source's tables, and items with and without a vector, by modality."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artefacts.runs import StepReceipt, earlier_receipt
from pipeline.artefacts.staged import SourceSummary
from pipeline.storage.documents import skip_broken

Receipts = Mapping[str, StepReceipt]


@dataclass(frozen=True)
class VectorCount:
    """Of a modality, how many items have a vector, and how many have none."""

    present: int
    missing: int

    @property
    def missing_share(self) -> float:
        """Of all items; 0 where there are none."""
        return self.missing / max(1, self.present + self.missing)


def earlier_receipts(run: Path) -> tuple[dict[str, StepReceipt], list[str]]:
    """By step, the receipts of a run that is over; and the steps whose receipt is broken, which is warned of."""
    names = sorted(path.stem for path in run.glob("steps/*.json"))
    receipts = {name: receipt for name in names if (receipt := earlier_receipt(run, name))}
    return receipts, [name for name in names if name not in receipts]


def summary_of(receipts: Receipts) -> SourceSummary | None:
    """What `ingest` noted; None where that is gone, or of another version, which is warned of."""
    ingested = receipts.get("ingest")
    return skip_broken(lambda: ingested.noted(SourceSummary)) if ingested else None


def staged_rows_of(receipts: Receipts) -> dict[str, int]:
    """How many items, users and interactions were staged; empty where the receipts do not tell."""
    summary = summary_of(receipts)
    if summary is None:
        return {}
    return {"items": summary.items, "users": summary.users, "interactions": sum(summary.parts.values())}


def vectors_of(receipts: Receipts, broken: Collection[str] = ()) -> dict[str, VectorCount]:
    """By modality, over all buckets; without those of which a step is broken: the others alone would be fewer rows."""
    parts: dict[str, list[StepReceipt]] = {}
    for name, receipt in receipts.items():
        if ".bucket-" in name:
            parts.setdefault(modality_of(name), []).append(receipt)
    for name in broken:
        parts.pop(modality_of(name), None)
    return {
        modality: VectorCount(sum(p.rows - p.missing_rows for p in own), sum(p.missing_rows for p in own))
        for modality, own in parts.items()
    }


def modality_of(step: str) -> str:
    """The modality of a part of `extract`; empty for another step."""
    return step.split(".")[1] if step.startswith("extract.") else ""
