"""The one epoch loop: recommenders, learned fusions, attention over histories, the re-ranker and fine-tuning.

A `Learner` says what it learns, from which batches, by which loss. How long to train, which epoch's weights stay,
averaging, clipping, precision, going on after a kill, several processes, and that the same seed gives the same bytes
are this module's business. What is good is said by a `Validation` that the caller gives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from pipeline.config.training import Schedule
from pipeline.errors import StepFailed
from pipeline.training import checkpoint
from pipeline.training.averaging import RunningMean
from pipeline.training.context import Batch, Context, Epoch, Learner, Validation


@dataclass
class FitState:
    """How far a fit has come.

    averaged: the running mean of the weights, empty where none is kept. best: the served weights of the epoch of the
    best `score`; epoch: its number. steps: batches learned from. seconds: of training, before a kill too.
    """

    curve: list[Epoch] = field(default_factory=list)
    steps: int = 0
    averaged: dict[str, Tensor] = field(default_factory=dict)
    score: float = -math.inf
    epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Epochs that are over."""
        return int(self.curve[-1]["epoch"]) if self.curve else 0


def fit(
    learner: Learner[Batch], schedule: Schedule, validation: Validation | None = None, context: Context | None = None
) -> FitState:
    """Trains until `max_epochs`, or until validation has found no better epoch for `patience_epochs`.

    Goes on from the last epoch that a killed fit left in the context's scratch file. The learner is left with the
    weights of the best epoch, or without validation with those of the last, averaged where the schedule says so.
    Raises StepFailed if several processes would go on from different epochs.
    """
    return Loop(learner, schedule, validation, context or Context()).run()


class Loop(Generic[Batch]):
    """One fit under way; see `fit`."""

    def __init__(
        self, learner: Learner[Batch], schedule: Schedule, validation: Validation | None, context: Context
    ) -> None:
        self.learner, self.schedule, self.validation, self.context = learner, schedule, validation, context
        self.state = FitState()
        self._mean: RunningMean | None = None

    def run(self) -> FitState:
        """See `fit`."""
        state = self.state = self._resumed()
        self._mean = self._running_mean() if state.averaged else None
        self._agree()
        for earlier in state.curve:
            self._tell(earlier)
        begun, written = time.perf_counter() - state.seconds, state.seconds
        if self.validation and self.validation.from_start and not state.curve:
            self._enter({"epoch": 0}, measured=True)
            self._tell(state.curve[-1])
        while not self._over():
            number = state.epochs + 1
            entry = self.pass_over(number)
            if entry is None:
                break
            self._enter(entry, number % self.schedule.evaluate_every == 0 or number == self.schedule.max_epochs)
            state.seconds = time.perf_counter() - begun
            scratch = self.context.scratch
            if scratch and not self.context.processes.rank and state.seconds - written >= scratch.seconds:
                self._leave(scratch.path)
                written = state.seconds
            self._tell(entry)
        self._restore(state.best if self.validation else state.averaged)
        return state

    def pass_over(self, number: int) -> Epoch | None:
        """One epoch; its entry of the curve, None where there was no batch."""
        self.learner.epoch = number
        self._draw_apart(number)
        losses = [self.step(batch) for batch in self.learner._batches()]
        if self._mean is not None:
            self._mean.settle()
        return {"epoch": number, "loss": float(np.mean(losses))} if losses else None

    def step(self, batch: Batch) -> float:
        """Learns from a batch; its mean loss before that."""
        loss = self.learner._learn(batch, self.schedule, self.context.processes)
        self.state.steps += 1
        if self.schedule.averaging:
            self._average()
        return loss

    def _agree(self) -> None:
        processes, epochs = self.context.processes, len(self.state.curve)
        if processes.sum([epochs]) != [processes.size * epochs]:
            raise StepFailed(
                "the processes of the fit do not go on from the same epoch; let all of them use one workspace"
            )

    def _over(self) -> bool:
        state = self.state
        waited = state.score > -math.inf and state.epochs - state.epoch >= self.schedule.patience_epochs
        return state.epochs >= self.schedule.max_epochs or waited

    def _tell(self, entry: Epoch) -> None:
        if self.context.on_epoch:
            self.context.on_epoch(entry)

    def _draw_apart(self, epoch: int) -> None:
        """Gives every process but the first dropout of its own, from a new seed each epoch: none is in a checkpoint."""
        rank = self.context.processes.rank
        if rank:
            seed = np.random.SeedSequence([self.context.seed, epoch, rank]).generate_state(1)
            for generator in self.learner._generators:
                if isinstance(generator, torch.Generator):
                    generator.manual_seed(int(seed[0]))

    @torch.no_grad()
    def _average(self) -> None:
        """Takes a step's weights into their running mean, which begins as those of the first step."""
        if self._mean is not None:
            self._mean.add()
            return
        self.state.averaged = _copy(self.learner._weights)
        self._mean = self._running_mean()

    def _running_mean(self) -> RunningMean:
        state, learner = self.state, self.learner
        return RunningMean(self.schedule.averaging, state.averaged, state.steps, learner._weights, learner._optimizers)

    def _enter(self, entry: Epoch, measured: bool) -> None:
        """Adds an epoch to the curve, and where it is measured compares it with the best."""
        state = self.state
        state.curve.append(entry)
        if self.validation is None or not measured:
            return
        with self._served():
            entry |= self.validation.measure()
            score = entry[self.validation.metric]
            if score > state.score:
                state.score, state.epoch, state.best = score, state.epochs, _copy(self.learner._weights)

    @contextmanager
    def _served(self) -> Iterator[None]:
        """Inside, the weights are those that would be served, which are not those that training goes on from."""
        weights = self.learner._weights
        trained = {name: weights[name].data for name in self.state.averaged}
        try:
            for name, tensor in self.state.averaged.items():
                weights[name].data = tensor
            yield
        finally:
            for name, tensor in trained.items():
                weights[name].data = tensor

    @torch.no_grad()
    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        weights = self.learner._weights
        for name, tensor in tensors.items():
            weights[name].copy_(tensor)

    def _leave(self, path: Path) -> None:
        state, learner = self.state, self.learner
        tensors = {
            **checkpoint.named("weights", learner._weights),
            **checkpoint.named("averaged", state.averaged),
            **checkpoint.named("best", state.best),
            **checkpoint.named("optimizers", checkpoint.of_optimizers(learner._optimizers)),
        }
        facts = {name: getattr(state, name) for name in ("curve", "steps", "score", "epoch", "seconds")}
        facts |= {"made": self._made(), "generators": checkpoint.of_generators(learner._generators)}
        checkpoint.write(path, tensors, facts)

    def _resumed(self) -> FitState:
        """The state of a killed fit, weights and generators restored; else a new one."""
        learner, scratch = self.learner, self.context.scratch
        written = checkpoint.read(scratch.path) if scratch else None
        if written is None or written[1].pop("made") != self._made():
            return FitState()
        tensors, facts = written
        checkpoint.to_generators(learner._generators, facts.pop("generators"))
        checkpoint.to_optimizers(learner._optimizers, checkpoint.under("optimizers", tensors))
        self._restore(checkpoint.under("weights", tensors))
        averaged, best = (
            {name: tensor.to(learner.device) for name, tensor in checkpoint.under(part, tensors).items()}
            for part in ("averaged", "best")
        )
        return FitState(averaged=averaged, best=best, **facts)

    def _made(self) -> list[Any]:
        """What must be equal for a fit to resume another's checkpoint, and is in no digest."""
        metric = self.validation.metric if self.validation else ""
        running = [self.context.seed, self.context.threads, self.context.processes.size, str(self.learner.device)]
        return [type(self.learner).__name__, metric, self.schedule.max_epochs, *running, torch.__version__]


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
