"""A night: one run's configuration, its "now", and the receipts of its steps in `runs/<run_id>/`."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artefacts.runs import OPENED, Opened, StepReceipt, receipt_of, receipts_of, runs
from pipeline.config import Config
from pipeline.errors import ConfigError, StepFailed
from pipeline.storage.documents import Json, read_json
from pipeline.workspace import Artefact, Workspace

log = logging.getLogger("medley")


# What a step's builder returns, from the folder or file that it wrote into: a dataclass or a mapping to be noted.
Build = Callable[[Path], Any]
COUNTS = ("rows", "encoded_rows", "missing_rows")


@dataclass(frozen=True)
class Night:
    """What every step of one run shares. dry: whether it only plans, and computes nothing, see `steps.plan`."""

    dry: ClassVar[bool] = False
    config: Config
    workspace: Workspace
    run_id: str
    as_of: datetime
    full: bool = False

    @property
    def folder(self) -> str:
        """The run's folder in the workspace."""
        return f"runs/{self.run_id}"

    def step(self, name: str, parent: str, key: str, build: Build) -> StepReceipt:
        """Commits the folder `parent/key`, or skips it where it is there already, and leaves a receipt.

        `build` returns what to note; its `rows`, `encoded_rows` and `missing_rows` become the receipt's counts.
        """
        return self._perform(
            name, f"{parent}/{key}", lambda: self.workspace.commit_folder(parent, key, _plain(build)), not self.full
        )

    def shard(self, name: str, path: str, build: Build) -> StepReceipt:
        """As `step`, for one file of many: of one that is there already, the log says nothing."""
        commit = partial(self.workspace.commit_file, path, _plain(build))
        return self._perform(name, path, commit, not self.full, logging.DEBUG)

    def content_step(self, name: str, parent: str, build: Build) -> StepReceipt:
        """As `step`, for a folder that is named by its content and so has to be made to be known."""
        return self._perform(name, "", lambda: self.workspace.commit_folder(parent, None, _plain(build)), False)

    def receipt(self, step: str) -> StepReceipt:
        """What an earlier step of this run left.

        Raises StepFailed if it has not run yet.
        """
        receipt = self.done(step)
        if receipt is None:
            verb = step.split(".")[0]
            raise StepFailed(f"run {self.run_id} has no receipt of {step}; run `medley {verb}` with this run id first")
        return receipt

    def done(self, step: str) -> StepReceipt | None:
        """What an earlier step of this run left, None where it has not run yet."""
        return receipt_of(self.workspace.path(self.folder), step)

    def folder_of(self, step: str) -> Path:
        """The folder that an earlier step of this run left. Raises as `receipt`."""
        return self.workspace.path(self.receipt(step).path)

    def receipts(self) -> list[StepReceipt]:
        """What every step of this run left so far."""
        return receipts_of(self.workspace.path(self.folder))

    def _perform(
        self, name: str, path: str, commit: Callable[[], Artefact], may_skip: bool, skipped_level: int = logging.INFO
    ) -> StepReceipt:
        begin = time.perf_counter()
        reset_peak_rss()
        artefact = self.workspace.artefact(path) if may_skip else None
        skipped = artefact is not None
        artefact = artefact or commit()
        rows, encoded, missing = (int(artefact.details.get(count, 0)) for count in COUNTS)
        receipt = StepReceipt(
            step=name,
            path=artefact.path,
            digest=artefact.digest,
            rows=rows,
            encoded_rows=0 if skipped else encoded,
            missing_rows=missing,
            skipped=skipped,
            seconds=round(time.perf_counter() - begin, 3),
            peak_rss_bytes=peak_rss_bytes(),
            outputs=artefact.files,
            details=artefact.details,
        )
        self.workspace.write_json(f"{self.folder}/steps/{name}.json", asdict(receipt))
        log.log(skipped_level if skipped else logging.INFO, "%s", describe(receipt))
        return receipt


def describe(receipt: StepReceipt) -> str:
    """One line for the night's log."""
    rate = receipt.encoded_rows / receipt.seconds if receipt.seconds else 0
    parts = [f"{receipt.step:<26}", f"rows={receipt.rows}"]
    if receipt.missing_rows:
        parts.append(f"missing={receipt.missing_rows}")
    if receipt.encoded_rows:
        parts.append(f"encoded={receipt.encoded_rows} rows/s={rate:.0f}")
    parts.append("skipped, it is there already" if receipt.skipped else f"{receipt.seconds:.1f} s")
    parts.append(f"rss={receipt.peak_rss_bytes / 1e9:.1f} GB")
    return " ".join(parts)


def begin(config: Config, as_of: str | None, run_id: str | None, full: bool = False) -> Night:
    """Opens the workspace for a run; a new run's id is its time of start.

    Raises ConfigError if `as_of` is no ISO time or `run_id` is not made of letters, digits, dot, dash, underscore.
    """
    now = datetime.now(UTC)
    moment = parse_time(as_of) if as_of else now
    name = run_id or now.strftime("%Y%m%dT%H%M%S.%fZ")
    if not name.strip(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise ConfigError(f"--run-id {name}: use letters, digits, dot, dash and underscore")
    night = Night(config, Workspace(config.workspace), name, moment, full)
    if _opened(night.workspace, name) is None:
        started = {"run_id": name, "as_of": moment.isoformat(), "started_at": now.isoformat()}
        document = {**started, "config": config.model_dump(mode="json")}
        night.workspace.create_json(f"{night.folder}/{OPENED}", document)
    return night


def resume(config: Config, run_id: str | None, full: bool = False) -> Night:
    """Opens a run that `medley ingest` began; without an id, the one begun last.

    Raises StepFailed if there is none.
    """
    workspace = Workspace(config.workspace)
    name = run_id or next((str(run["run_id"]) for run in reversed(runs(workspace))), None)
    opened = _opened(workspace, name) if name else None
    if opened is None or name is None:
        raise StepFailed(f"workspace {workspace.root} has no run {name or ''}: begin one with `medley ingest`")
    return Night(config, workspace, name, parse_time(str(opened["as_of"])), full)


def _opened(workspace: Workspace, name: str) -> Json | None:
    return read_json(workspace.path("runs", name, OPENED), Opened, "begin another run with `medley ingest`")


def newest_with(workspace: Workspace, step: str) -> str | None:
    """The newest run in which a step is done, or None."""
    done = (str(run["run_id"]) for run in reversed(runs(workspace)))
    return next((name for name in done if workspace.path("runs", name, "steps", f"{step}.json").exists()), None)


def parse_time(text: str) -> datetime:
    """An ISO 8601 time as UTC; one without a zone is UTC already.

    Raises ConfigError if it is none, or of no year from 1 to 9999 in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(f"--as-of {text}: write an ISO time such as 2026-01-31T00:00:00Z") from None


def peak_rss_bytes() -> int:
    """Peak resident memory of this process: since the step began where the kernel can tell, else since its start."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_rss() -> None:
    """Resets the peak memory, where the kernel can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        log.debug("the kernel does not reset peak memory: steps report the process's peak")


def _plain(build: Build) -> Callable[[Path], Json]:
    """The builder, its note as a mapping that becomes JSON."""

    def built(path: Path) -> Json:
        note = build(path)
        return asdict(note) if is_dataclass(note) else dict(note)  # type: ignore[arg-type]

    return built
