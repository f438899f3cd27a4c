"""A fit's progress: a bar on a terminal, a state for the log's line of a minute, and TensorBoard's event files.

Event files hold times, so they are no part of any artefact.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.heartbeat import say
from pipeline.training.context import Epoch, OnEpoch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@contextmanager
def watched(name: str, epochs: int, events: Path | None = None) -> Iterator[OnEpoch]:
    """The callback for a fit's epochs: a bar, and event files in a folder. epochs: at most, 0 where that is unknown."""
    with ExitStack() as stack:
        watchers = [stack.enter_context(_bar(name, epochs)), _state(name, epochs)]
        if events:
            watchers.append(stack.enter_context(_events(events)))

        def on_epoch(epoch: Epoch) -> None:
            for watcher in watchers:
                watcher(epoch)

        yield on_epoch


@contextmanager
def _bar(name: str, epochs: int) -> Iterator[OnEpoch]:
    """A bar on a terminal once there is an epoch; nothing in a log file, where a bar is noise."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name, total=epochs or None, visible=False, now="")

        def advance(epoch: Epoch) -> None:
            now = " ".join(f"{name} {value:.4g}" for name, value in epoch.items())
            progress.update(bar, completed=epoch["epoch"], visible=True, now=now)

        yield advance


def _state(name: str, epochs: int) -> OnEpoch:
    """Says how far a fit is, and how long it may take: fewer epochs where it stops early."""
    began = told = time.monotonic()
    last = 0

    def tell(epoch: Epoch) -> None:
        nonlocal began, told, last
        if epoch["epoch"] <= last:  # another model's, of several that are fitted
            began = told
        told, last = time.monotonic(), int(epoch["epoch"])
        done, numbers = int(epoch["epoch"]), {key: value for key, value in epoch.items() if key != "epoch"}
        seconds = (told - began) / max(done, 1)
        left = f", {seconds * (epochs - done):.0f} s left at most" if epochs else ""
        now = " ".join(f"{key} {value:.4g}" for key, value in numbers.items())
        say(f"{name}, epoch {done}{f' of {epochs}' if epochs else ''}, {now}, {seconds:.1f} s an epoch{left}")

    return tell


@contextmanager
def _events(folder: Path) -> Iterator[OnEpoch]:
    """Writes each epoch's numbers. A fit that goes on after a kill hands over all of them, so old files are dropped."""
    with ExitStack() as stack:
        opened: list[SummaryWriter] = []

        def write(epoch: Epoch) -> None:
            if not opened:
                # Imports torch: only what learns in epochs needs it.
                from torch.utils.tensorboard import SummaryWriter

                shutil.rmtree(folder, ignore_errors=True)
                opened.append(stack.enter_context(SummaryWriter(str(folder))))
            for name, value in epoch.items():
                if name != "epoch":
                    opened[0].add_scalar(name, value, int(epoch["epoch"]))

        yield write
