"""The runs of a workspace, `runs/<run_id>/`: as each began, and the receipts that its steps left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pipeline.errors import StepFailed
from pipeline.workspace import Json, Workspace, adapter, read_json

Note = TypeVar("Note")


@dataclass(frozen=True)
class StepReceipt:
    """What one step did: the digest and files it left, how many rows, how long, how much memory.

    details: what its builder noted, as JSON; `noted` gives it back as it was.
    """

    step: str
    path: str
    digest: str
    rows: int
    encoded_rows: int
    missing_rows: int
    skipped: bool
    seconds: float
    peak_rss_bytes: int
    outputs: dict[str, str] = field(default_factory=dict)
    details: Json = field(default_factory=dict)

    def noted(self, kind: type[Note]) -> Note:
        """What the step's builder returned, a dataclass. Raises StepFailed if an older version left something else."""
        try:
            return adapter(kind).validate_python(self.details)  # type: ignore[arg-type]
        except ValidationError:
            raise StepFailed(f"{self.path}: another version of Medley wrote its receipt; run it with --full") from None


def receipt_of(run: Path, step: str) -> StepReceipt | None:
    """What a step of a run left, None where it is not done. run: the run's folder.

    Raises StepFailed if another version of Medley wrote it otherwise.
    """
    document = read_json(run / "steps" / f"{step}.json")
    try:
        return None if document is None else StepReceipt(**document)
    except TypeError:
        fault = f"{run.name}: another version of Medley wrote its receipt of {step}"
        raise StepFailed(f"{fault}; run another night with this one") from None


def receipts_of(run: Path) -> list[StepReceipt]:
    """What every step of a run left so far, by name."""
    receipts = (receipt_of(run, path.stem) for path in sorted((run / "steps").glob("*.json")))
    return [receipt for receipt in receipts if receipt]


def total(step: str, parts: Sequence[StepReceipt]) -> StepReceipt:
    """The receipts of a step's parts as one: rows and seconds are sums, memory is the largest."""
    return StepReceipt(
        step=step,
        path=" ".join(part.path for part in parts),
        digest=" ".join(part.digest for part in parts),
        rows=sum(part.rows for part in parts),
        encoded_rows=sum(part.encoded_rows for part in parts),
        missing_rows=sum(part.missing_rows for part in parts),
        skipped=all(part.skipped for part in parts),
        seconds=round(sum(part.seconds for part in parts), 3),
        peak_rss_bytes=max((part.peak_rss_bytes for part in parts), default=0),
    )


def runs(workspace: Workspace) -> list[Json]:
    """The `run.json` of every run in the workspace, oldest first."""
    documents = [read_json(path) for path in workspace.root.glob("runs/*/run.json")]
    return sorted((document for document in documents if document), key=lambda document: str(document["started_at"]))
