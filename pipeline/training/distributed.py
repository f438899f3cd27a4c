"""The processes that fit one model together: each learns from its own rows of every batch.

All of them draw the same batches from the same generators, and each makes and reads its own rows alone. A row weighs
there what it does in the whole batch, so that the sum of all gradients is that of the whole batch, but for rounding.
Then every process takes the same step, on weights that are the same in all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.interactions import Interactions, Mask
from pipeline.runtime import LOCAL_PROCESSES, STARTED_BY_TORCHRUN

if TYPE_CHECKING:
    from torch import Tensor

Numbers = npt.NDArray[np.integer]
GRACE_SECONDS = 60


@dataclass(frozen=True)
class Processes:
    """This process as one of `size`. rank: its number; number 0 writes what is written."""

    rank: int = 0
    size: int = 1

    def own(self, numbers: Numbers) -> tuple[Mask, float]:
        """Which rows of a batch, numbered so, are this process's: (n,) bool; and their share of all.

        A process that would have none takes the first, with a share of 0, so that it takes the step with the others.
        """
        own = numbers % self.size == self.rank
        share = float(own.mean())
        own[:1] |= share == 0
        return own, share

    def users(self, log: Interactions) -> Interactions:
        """The log of this process's users alone."""
        return log if self.size == 1 else log.subset(log.user % self.size == self.rank)

    def sum_gradients(self, weights: Iterable[Tensor], loss: Tensor) -> float:
        """Sums the gradients over all processes, in place, and returns the sum of their losses."""
        import torch

        if self.size == 1:
            return float(loss.detach())
        learned = [weight for weight in weights if weight.grad is not None]
        dense = [weight for weight in learned if not weight.grad.is_sparse]  # type: ignore[union-attr]
        together = torch.cat([loss.detach().reshape(1), *(weight.grad.reshape(-1) for weight in dense)])  # type: ignore[union-attr]
        _add(together)
        for weight in learned:
            if weight.grad.is_sparse:  # type: ignore[union-attr]
                # On the CPU: NCCL adds up no sparse ones.
                gradient = weight.grad.cpu()  # type: ignore[union-attr]
                _add(gradient)
                weight.grad = gradient.to(weight.device)
        total, *parts = together.split([1, *(weight.numel() for weight in dense)])
        for weight, part in zip(dense, parts, strict=True):
            weight.grad = part.view_as(weight)
        return float(total)

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """The numbers of all processes, added up."""
        import torch

        totals = torch.tensor(numbers, dtype=torch.float64)
        if self.size > 1:
            _add(totals)
        return list(totals.tolist())


ALONE = Processes()


def _add(tensor: Tensor) -> None:
    """Sums over all processes, in place."""
    from torch import distributed

    with _patient():
        distributed.all_reduce(tensor)


@contextmanager
def _patient() -> Iterator[None]:
    """Inside, an error waits before it is raised: where another process has failed, its error is the one to report."""
    try:
        yield
    except RuntimeError:
        time.sleep(GRACE_SECONDS)
        raise


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes of this fit, where torchrun or `pipeline.training.launch` started them; else this one alone.

    Raises ConfigError where there are GPUs, but not one for each process of this machine.
    """
    if STARTED_BY_TORCHRUN not in os.environ:
        yield ALONE
        return
    import torch
    from torch import distributed

    gpus, processes = torch.cuda.device_count(), int(os.environ[LOCAL_PROCESSES])
    if 0 < gpus < processes:
        raise ConfigError(f"{processes} processes fit a model on {gpus} GPUs, and each needs its own; start fewer")
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _patient():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
