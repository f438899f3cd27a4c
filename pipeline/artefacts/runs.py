"""The runs of a workspace, `runs/<run_id>/`: as each began, and the receipts that its steps left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import AwareDatetime, ValidationError

from pipeline.errors import StepFailed
from pipeline.storage import fetched
from pipeline.storage.documents import Json, adapter, read_json, skip_broken
from pipeline.workspace import Workspace

Note = TypeVar("Note")


OPENED = "run.json"


@dataclass(frozen=True)
class Opened:
    """`run.json`: a run as it began. as_of, started_at: ISO times in UTC."""

    run_id: str
    as_of: AwareDatetime
    started_at: AwareDatetime
    config: Json


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
            noted: Note = adapter(kind).validate_python(self.details)  # type: ignore[arg-type]
            return noted
        except ValidationError:
            raise StepFailed(f"{self.path}: another version of Medley wrote its receipt; run it with --full") from None


def receipt_of(run: Path, step: str) -> StepReceipt | None:
    """What a step of a run left, None where it is not done. run: the run's folder.

    Raises WorkspaceError if it is broken, StepFailed if another version of Medley wrote it otherwise.
    """
    path = fetched(run / "steps" / f"{step}.json")
    document = read_json(path, StepReceipt, f"run `medley {step.split('.')[0]}` again")
    try:
        return None if document is None else StepReceipt(**document)
    except TypeError:
        fault = f"{run.name}: another version of Medley wrote its receipt of {step}"
        raise StepFailed(f"{fault}; run another night with this one") from None


def receipts_of(run: Path) -> list[StepReceipt]:
    """What every step of a run left so far, by name."""
    receipts = (receipt_of(run, path.stem) for path in sorted((fetched(run) / "steps").glob("*.json")))
    return [receipt for receipt in receipts if receipt]


def earlier_receipt(run: Path, step: str) -> StepReceipt | None:
    """As `receipt_of`, of a run that is over: a broken receipt is skipped with a warning."""
    return skip_broken(lambda: receipt_of(run, step))


def was_published(run: Path) -> bool:
    """Whether a run was ever published; not where its receipt of that is broken, which is warned of."""
    receipt = earlier_receipt(run, "publish")
    return receipt is not None and bool(receipt.details.get("was_published", receipt.details.get("published")))


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
    """The `run.json` of every run in the workspace, in the order they began; a broken one is skipped with a warning."""
    documents = [opened_run(workspace.path(name).parent) for name in workspace.changed(f"runs/*/{OPENED}")]
    return sorted(filter(None, documents), key=lambda document: datetime.fromisoformat(document["started_at"]))


def opened_run(run: Path) -> Json | None:
    """A run's `run.json`; None where there is none, or it is broken, which is warned of. run: the run's folder."""
    return skip_broken(lambda: read_json(fetched(run / OPENED), Opened, "remove the run's folder"))
