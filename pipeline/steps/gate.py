"""The gate's inputs: what tonight left, what is published, and the verdicts on both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pipeline.artefacts.counts import Receipts, earlier_receipts, staged_rows_of, vectors_of
from pipeline.artefacts.evaluated import Evaluated
from pipeline.artefacts.published import CURRENT, published_now
from pipeline.artefacts.runs import StepReceipt
from pipeline.artefacts.staged import Staged
from pipeline.errors import StepFailed
from pipeline.evaluation.drift import Facts, against_published, not_compared, not_older
from pipeline.evaluation.gate import Verdict, index_latency, index_recall, integrity, log_age, quality
from pipeline.evaluation.list_changes import list_changes_of
from pipeline.night import Night
from pipeline.storage.documents import Json, skip_broken
from pipeline.storage.files import sha256_of
from pipeline.workspace import Workspace


def judge(night: Night) -> list[Verdict]:
    """Every rule of the gate, judged on the evaluated fit, on the index as written, and against what is published.

    Raises StepFailed if an earlier version made the index, and ShardCorrupt or WorkspaceError if something of tonight
    cannot be read; what cannot be read of the published night is a warning.
    """
    rules, index = night.config.publish.gate, night.receipt("index")
    receipts = {receipt.step: receipt for receipt in night.receipts()}
    now = _facts(night.workspace, night.folder, receipts)
    if missing := [name for name in ("recall", "recall_high", "counted_ms") if name not in index.details]:
        raise StepFailed(f"{index.path}: an earlier version made it, without {missing[0]}; run the step `index` again")
    measured = {name: float(str(index.details[name])) for name in ("recall", "recall_high", "counted_ms")}
    metrics = now.evaluated or Evaluated.read(night.workspace.path(night.folder))
    return [
        quality(metrics.test, metrics.trained, rules, night.config.baseline, metrics.paired),
        index_recall(measured["recall"], measured["recall_high"], rules),
        index_latency(measured["counted_ms"], night.config.index.max_latency_ms, rules),
        integrity(index.outputs, present(night.workspace, index)),
        log_age(now.newest_event, night.as_of, rules),
        *_compared(night, index, now),
    ]


def present(workspace: Workspace, index: StepReceipt) -> dict[str, str]:
    """The sha256 of those files of an index that are there, by path in the workspace."""
    return {name: sha256_of(path) for name in index.outputs if (path := workspace.path(name)).is_file()}


def _compared(night: Night, index: StepReceipt, now: Facts) -> Iterator[Verdict]:
    workspace, rules = night.workspace, night.config.publish.gate
    current = skip_broken(lambda: published_now(workspace.root))
    if current is None:
        broken = workspace.path(CURRENT).exists()
        first = Verdict("published", True, None, None, "nothing is published yet that could be compared with")
        yield not_compared("published", f"{CURRENT} cannot be read") if broken else first
        return
    yield not_older(night.as_of, datetime.fromisoformat(str(current["as_of"])), rules)
    if current["run_id"] == night.run_id:
        yield _again(index, current)
        return
    folder = f"runs/{current['run_id']}"
    receipts, unread = earlier_receipts(workspace.path(folder))
    before = _facts(workspace, folder, receipts, unread)
    lists = list_changes_of(workspace.path(index.path), workspace.path(str(current["index"])), night.config.seed)
    yield from against_published(now, before, lists, rules)


def _again(index: StepReceipt, current: Json) -> Verdict:
    """On a run that is the published one: what it left then is gone where it has been run anew."""
    if index.digest == current["digest"]:
        return Verdict("published", True, None, None, "this run is what is published")
    return not_compared("published", "that was this run, which has been run anew; give each night a run id of its own")


def _facts(workspace: Workspace, folder: str, receipts: Receipts, unread: list[str] | None = None) -> Facts:
    """Of a run's folder. unread: the steps whose receipt is broken."""
    vectors = vectors_of(receipts, unread or ())
    return Facts(
        rows=staged_rows_of(receipts),
        missing={modality: count.missing_share for modality, count in vectors.items()},
        newest_event=_newest(workspace.path(receipts["ingest"].path)) if "ingest" in receipts else None,
        evaluated=skip_broken(lambda: Evaluated.read(workspace.path(folder))),
    )


def _newest(staged: Path) -> datetime | None:
    return skip_broken(Staged(staged).newest_choice)
