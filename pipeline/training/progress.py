"""How a fit goes on, for who watches: a bar on a terminal, and TensorBoard's event files beside the run's receipts.

Event files hold times, so they are no part of any artefact: `tensorboard --logdir WORKSPACE/runs` reads them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.night import Night

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Epoch = dict[str, float]


@contextmanager
def watched(night: Night, part: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """What a fit tells its epochs to. part: `evaluated` or `published`; epochs: how many there are at most."""
    with ExitStack() as stack:
        shown = [stack.enter_context(_bar(f"{part} fit", epochs))]
        if night.config.train.tensorboard:
            shown.append(stack.enter_context(_events(night.workspace.path(night.folder, "tensorboard", part))))

        def tell(epoch: Epoch) -> None:
            for one in shown:
                one(epoch)

        yield tell


@contextmanager
def _bar(name: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """A bar on a terminal; nothing in a log file, where a bar is noise."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name, total=epochs, now="")

        def advance(epoch: Epoch) -> None:
            now = " ".join(f"{name} {value:.4g}" for name, value in epoch.items())
            progress.update(bar, completed=epoch["epoch"], now=now)

        yield advance


@contextmanager
def _events(folder: Path) -> Iterator[Callable[[Epoch], None]]:
    """Writes each epoch's numbers; a fit that goes on after a kill tells all its epochs, so old files are dropped."""
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
