"""What the epoch loop is given: who learns, what says how good that is, and how the fit runs beside its settings.

Nothing here imports torch: what learns is named wherever a configuration is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline.config.training import DEFAULT_METRIC, Schedule
from pipeline.training.distributed import ALONE, Processes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.training.checkpoint import Generators

Batch = TypeVar("Batch")

# One entry of a curve: `epoch`, `loss`, and what validation measured, by name.
Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Scratch:
    """A fit's checkpoint file, from which it resumes after a kill, and how many seconds old that may be."""

    path: Path
    seconds: float

    def named(self, name: str) -> Scratch:
        """The file of one of several fits, beside this one."""
        return replace(self, path=self.path.with_name(f"{name}-{self.path.name}"))


@dataclass(frozen=True)
class Context:
    """How a fit runs, which is no part of what it learns, but for `seed` and `metric`.

    metric: what validation chooses by, where it ranks items. processes: those that fit together, all in the same way.
    scratch: None where a killed fit begins anew. on_epoch: called after every epoch with its entry of the curve, and on
    resuming with the earlier ones.
    """

    seed: int = 0
    threads: int = 1
    processes: Processes = ALONE
    scratch: Scratch | None = None
    on_epoch: OnEpoch | None = None
    metric: str = DEFAULT_METRIC

    def named(self, name: str) -> Context:
        """The context of one of several fits, which has a scratch file of its own."""
        return replace(self, scratch=self.scratch and self.scratch.named(name))


@dataclass(frozen=True)
class Validation:
    """What chooses the epoch whose weights stay: the highest `metric` of what `measure` returns.

    measure: called with the weights in place that would be served. from_start: whether it is called before the first
    epoch too, so that what training does not improve stays as it was.
    """

    metric: str
    measure: Callable[[], Mapping[str, float]]
    from_start: bool = False


class Learner(ABC, Generic[Batch]):
    """What learns in epochs: the same bytes for the same seed, threads, device and input.

    device: where the weights are. epoch: the number of the pass that is under way, from 1. Methods with an underscore
    are called by the loop alone. _weights: the learned tensors by name, the leaves themselves, which the loop copies
    from and into. _generators: every generator that training uses.

    One that several processes fit together makes its batches of `Processes.own` rows, and draws them from generators of
    numpy, which are the same in all of them. Generators of torch, which dropout draws from, are each process's own.
    """

    device: torch.device | str = "cpu"
    epoch: int = 0
    _weights: dict[str, Tensor]
    _optimizers: Sequence[torch.optim.Optimizer]
    _generators: Generators

    @abstractmethod
    def _batches(self) -> Iterator[Batch]:
        """The batches of one epoch; none where there is nothing to learn."""

    @abstractmethod
    def _loss(self, batch: Batch) -> Tensor:
        """A batch's mean loss, as far as it is this process's, differentiable by the weights."""

    def _learn(self, batch: Batch, schedule: Schedule, processes: Processes) -> float:
        """Moves the weights by one batch; its mean loss before that."""
        from pipeline.training.torch_runtime import autocast, clip

        with autocast(self.device, schedule.precision):
            loss = self._loss(batch)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        weights = self._weights.values()
        whole = processes.sum_gradients(weights, loss)
        if schedule.clip:
            clip([weight.grad for weight in weights if weight.grad is not None], schedule.clip)
        for optimizer in self._optimizers:
            optimizer.step()
        return whole
