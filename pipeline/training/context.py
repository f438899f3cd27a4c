"""How a fit runs, beside its settings: seed and threads, the other processes, a checkpoint file, a callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.training import DEFAULT_METRIC
from pipeline.training.distributed import ALONE, Processes

# One entry of a curve: `epoch`, `loss`, and what validation measured, by name.
Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Scratch:
    """A fit's checkpoint file, from which it resumes after a kill, and how many seconds old that may be."""

    path: Path
    seconds: float


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
        scratch = self.scratch and replace(
            self.scratch, path=self.scratch.path.with_name(f"{name}-{self.scratch.path.name}")
        )
        return replace(self, scratch=scratch)
