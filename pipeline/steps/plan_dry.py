"""A dry night: every step names what it would make, by the code that a night runs, and makes nothing.

It runs in a mirror of the workspace, whose files are links: what is there is found there, and what is written, which is
a snapshot of the source and receipts, goes with the mirror.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from pipeline.artefacts.published import published_now
from pipeline.artefacts.runs import StepReceipt, receipts_of
from pipeline.artefacts.shards import Summary
from pipeline.config import Config, Modality
from pipeline.errors import MedleyError, WorkspaceError
from pipeline.night import Night, parse_time
from pipeline.steps import STEPS, call, configured, extract, perform
from pipeline.steps.ingest import LAYOUT
from pipeline.storage import changed, fetched, local, store_of
from pipeline.storage.documents import skip_broken
from pipeline.workspace import Artefact, Workspace

NAME = "dry"
# The steps whose folder is named before it is made.
NAMED = tuple(step.name for step in STEPS if step.name not in ("ingest", "extract", "publish"))
NO_ROWS = Summary(0, 0, 0, 0, {}, [])


@dataclass(frozen=True)
class DryNight(Night):
    """A night that skips what is there, and only leaves the name of what is not. What is named by its content is made:
    the snapshot, see `steps.prepare` for the other.
    """

    dry: ClassVar[bool] = True

    def _perform(
        self,
        name: str,
        path: str,
        commit: Callable[[], Artefact],
        may_skip: bool,
        skipped_level: int = logging.INFO,
    ) -> StepReceipt:
        if not path or (may_skip and self.workspace.artefact(path)):
            return super()._perform(name, path, commit, may_skip, skipped_level)
        receipt = StepReceipt(name, path, Artefact(path).digest, 0, 0, 0, False, 0.0, 0, {}, asdict(NO_ROWS))
        self.workspace.write_json(f"{self.folder}/steps/{name}.json", asdict(receipt))
        return receipt


class _Named(Exception):
    """What a step would make."""


@dataclass(frozen=True)
class _Supposed(DryNight):
    """The same night, had some steps left other receipts, or none. It names what its next step would make."""

    supposed: Mapping[str, StepReceipt | None] = field(default_factory=dict)

    def done(self, step: str) -> StepReceipt | None:
        """See Night."""
        return self.supposed[step] if step in self.supposed else super().done(step)

    def _perform(self, name: str, path: str, *_: Any, **__: Any) -> NoReturn:
        raise _Named(path)


def suppose(night: Night, supposed: Mapping[str, StepReceipt | None], config: Config | None = None) -> Night:
    """A dry night with other receipts, and another configuration."""
    return _Supposed(config or night.config, night.workspace, night.run_id, night.as_of, False, supposed)


def named(night: Night, step: str) -> str:
    """What a step of a supposed night would make; empty if it cannot be run."""
    try:
        call(night, step)
    except _Named as path:
        return str(path)
    except MedleyError:
        return ""
    return ""


@contextmanager
def dry_night(config: Config, as_of: str | None, full: bool) -> Iterator[Night]:
    """A dry night that has not begun. Raises WorkspaceError if the workspace cannot be read; ConfigError as `begin`."""
    moment, root = parse_time(as_of) if as_of else datetime.now(UTC), _brought(config).resolve()
    with tempfile.TemporaryDirectory(prefix="medley-plan-") as folder:
        mirror = Path(folder) / "workspace"
        if root.is_dir():
            try:
                shutil.copytree(root, mirror, copy_function=os.symlink, ignore=shutil.ignore_patterns(".tmp"))
            except OSError:
                raise WorkspaceError(f"workspace {root}: it changed while it was looked at; plan again") from None
        yield DryNight(config, Workspace(mirror), NAME, moment, full)


def _brought(config: Config) -> Path:
    """The workspace's folder; of one in a store, with what the published night left in it."""
    root = local(config.workspace)
    for name in changed(root, "known/*/*", "retries/*/*", "runs/*", LAYOUT) if store_of(root) else ():
        fetched(root / name)
    current = skip_broken(lambda: published_now(root)) if store_of(root) else None
    for receipt in receipts_of(root / "runs" / str(current["run_id"])) if current else ():
        fetched(root / receipt.path)
    return root


def foresee(night: Night) -> dict[Modality, extract.Plan]:
    """Stages the source, and has every step leave a receipt of what it would make. Raises what `ingest` raises."""
    perform(night, "ingest")
    plans = {}
    for modality in configured(night.config):
        plans[modality] = extract.plan(night, modality)
        if plans[modality].seconds:
            extract.run(night, modality, list(plans[modality].seconds))
    for step in NAMED:
        call(night, step)
    return plans
