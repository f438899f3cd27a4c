"""One training loop for what learns in epochs: best weights by NDCG@10 on the validation part, full ranking.

A recommender says what it learns, from which batches, by which loss, and how its vectors are made. How long to train,
what to keep, averaging, precision, going on after a kill, several processes, and that the same seed gives the same
bytes are this module's business.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pipeline.config.pairwise import Schedule
from pipeline.errors import StepFailed
from pipeline.evaluation.metrics import Task, evaluate
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Epoch, Fit, OnEpoch, Recommender
from pipeline.recommend.item_sides import FILE
from pipeline.training import checkpoint
from pipeline.training.torch_runtime import autocast, reproducible

METRIC = "ndcg@10"
Batch = TypeVar("Batch")


@dataclass
class Course:
    """How far a fit has come.

    averaged: the running mean of the weights, empty where none is kept. best: the served weights of the best epoch.
    """

    curve: list[Epoch] = field(default_factory=list)
    steps: int = 0
    averaged: dict[str, Tensor] = field(default_factory=dict)
    score: float = -1.0
    epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


class Trained(Recommender, Generic[Batch]):
    """A recommender that is trained by the loop below: the same bytes for the same seed, threads, device and input.

    One that several processes fit together makes its batches of `crew.own` rows, and draws them from generators of
    numpy, which are the same in all of them. Generators of torch, which dropout draws from, are each process's own.
    """

    def __init__(self, schedule: Schedule, seed: int, threads: int) -> None:
        self.schedule = schedule
        self.seed = seed
        self.threads = threads
        self.device = torch.device("cpu")
        self._items: Floats
        self._optimizers: list[torch.optim.Optimizer]

    @abstractmethod
    def _prepare(self, content: Content, train: Interactions) -> None:
        """Makes weights, `_optimizers` and what batches are made of, for a fit that starts anew."""

    @abstractmethod
    def _weights(self) -> dict[str, Tensor]:
        """What is learned, by name: the leaves themselves, which better ones are copied from and into."""

    def _tables(self) -> dict[str, tuple[str, ...]]:
        """Which weights have a row for each of `items` or `users`, or for each of both, one after the other."""
        return {}

    @abstractmethod
    def _generators(self) -> checkpoint.Generators:
        """Everything that the training draws from."""

    @abstractmethod
    def _batches(self) -> Iterator[Batch]:
        """The batches of one epoch."""

    @abstractmethod
    def _loss(self, batch: Batch) -> Tensor:
        """A batch's mean loss, as far as it is this process's, differentiable by the weights."""

    @abstractmethod
    def _freeze(self) -> None:
        """Makes the vectors that are served from the weights as they are."""

    @property
    def item_vectors(self) -> Floats:
        """(n_items, d) float32."""
        return self._items

    def fit(
        self,
        content: Content,
        train: Interactions,
        validation: Interactions | None = None,
        epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Fit:
        """Trains for `epochs`, or until NDCG@10 on `validation` has not risen for `patience_epochs`.

        Goes on from the last epoch that a killed fit left in `scratch`. Raises StepFailed if the log leaves nothing
        to learn from.
        """
        with reproducible(self.threads):
            self._prepare(content, train)
            if self.before and self.before.warm_start:
                self.before.begin(self._weights(), self._tables())
            task = None
            if epochs is None and validation is not None and len(validation):
                task = Task(self.crew.users(train), self.crew.users(validation))
            course = self._run(epochs or self.schedule.max_epochs, task, on_epoch)
            self._restore(course.best if task else course.averaged)
            self._freeze()
        return Fit(course.epoch if task else len(course.curve), course.curve, course.seconds)

    def save(self, folder: Path) -> None:
        """Writes the weights as `model.safetensors`."""
        save_file({name: weight.detach().cpu().contiguous() for name, weight in self._weights().items()}, folder / FILE)

    def _run(self, epochs: int, task: Task | None, on_epoch: OnEpoch | None) -> Course:
        course = self._resumed(epochs)
        if self.crew.added([len(course.curve)]) != [self.crew.size * len(course.curve)]:
            raise StepFailed(
                "the processes of the fit do not go on from the same epoch; let all of them use one workspace"
            )
        for epoch in course.curve:
            _tell(on_epoch, epoch)
        begun = time.perf_counter() - course.seconds
        written = course.seconds
        while not self._over(course, epochs, task):
            number = len(course.curve) + 1
            self._draw_apart(number)
            course.curve.append({"epoch": number, "loss": self._epoch(course)})
            if task and (number % self.schedule.evaluate_every == 0 or number == epochs):
                self._look(course, task)
            course.seconds = time.perf_counter() - begun
            if self.scratch and not self.crew.rank and course.seconds - written >= self.scratch.seconds:
                self._leave(self.scratch.path, course, epochs)
                written = course.seconds
            _tell(on_epoch, course.curve[-1])
        return course

    def _over(self, course: Course, epochs: int, task: Task | None) -> bool:
        done = len(course.curve)
        waited = task and course.epoch and done - course.epoch >= self.schedule.patience_epochs
        return done >= epochs or bool(waited)

    def _draw_apart(self, epoch: int) -> None:
        """Gives every process but the first dropout of its own, from a new seed each epoch: none is in a checkpoint."""
        if self.crew.rank:
            seed = np.random.SeedSequence([self.seed, epoch, self.crew.rank]).generate_state(1)
            for one in self._generators():
                if isinstance(one, torch.Generator):
                    one.manual_seed(int(seed[0]))

    def _epoch(self, course: Course) -> float:
        losses = [self._step(batch, course) for batch in self._batches()]
        return float(np.mean(losses))

    def _step(self, batch: Batch, course: Course) -> float:
        loss = self._learn(batch)
        course.steps += 1
        if self.schedule.averaging:
            self._average(course)
        return loss

    def _learn(self, batch: Batch) -> float:
        """Moves the weights by one batch; its mean loss before that."""
        with autocast(self.device, self.schedule.precision):
            loss = self._loss(batch)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        whole = self.crew.learn(self._weights().values(), loss)
        if self.schedule.clip:
            _clip([weight.grad for weight in self._weights().values() if weight.grad is not None], self.schedule.clip)
        for optimizer in self._optimizers:
            optimizer.step()
        return whole

    @torch.no_grad()
    def _average(self, course: Course) -> None:
        weights = self._weights()
        if not course.averaged:
            course.averaged = _copy(weights)
            return
        mean = get_ema_multi_avg_fn(self.schedule.averaging)
        mean([course.averaged[name] for name in weights], [*weights.values()], course.steps)

    def _look(self, course: Course, task: Task) -> None:
        with self._served(course):
            self._freeze()
            ndcg = evaluate(self.user_vectors(task.history), self.item_vectors, task, (10,)).values[METRIC]
            total, users = self.crew.added([ndcg.sum(), len(ndcg)])
            now = total / users if users else 0.0
            course.curve[-1][METRIC] = now
            if now > course.score:
                course.score, course.epoch, course.best = now, len(course.curve), _copy(self._weights())

    @contextmanager
    def _served(self, course: Course) -> Iterator[None]:
        """Inside, the weights are those that would be served, which are not those that training goes on from."""
        weights = self._weights()
        kept = {name: weights[name].data for name in course.averaged}
        try:
            for name, tensor in course.averaged.items():
                weights[name].data = tensor
            yield
        finally:
            for name, tensor in kept.items():
                weights[name].data = tensor

    @torch.no_grad()
    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self._weights()[name].copy_(tensor)

    def _leave(self, path: Path, course: Course, epochs: int) -> None:
        tensors = {
            **checkpoint.named("weights", self._weights()),
            **checkpoint.named("averaged", course.averaged),
            **checkpoint.named("best", course.best),
            **checkpoint.named("optimizers", checkpoint.of_optimizers(self._optimizers)),
        }
        facts = {name: getattr(course, name) for name in ("curve", "steps", "score", "epoch", "seconds")}
        facts |= {"made": self._made(epochs), "generators": checkpoint.of_generators(self._generators())}
        checkpoint.write(path, tensors, facts)

    def _resumed(self, epochs: int) -> Course:
        """The course that a killed fit left, its weights and generators restored; else a new one."""
        found = checkpoint.read(self.scratch.path) if self.scratch else None
        if found is None or found[1].pop("made") != self._made(epochs):
            return Course()
        tensors, facts = found
        checkpoint.to_generators(self._generators(), facts.pop("generators"))
        checkpoint.to_optimizers(self._optimizers, checkpoint.under("optimizers", tensors))
        self._restore(checkpoint.under("weights", tensors))
        averaged, best = (
            {name: tensor.to(self.device) for name, tensor in checkpoint.under(part, tensors).items()}
            for part in ("averaged", "best")
        )
        return Course(averaged=averaged, best=best, **facts)

    def _made(self, epochs: int) -> list[Any]:
        """What must be the same for a fit to go on where another one stopped, and is in no digest."""
        return [self.name, epochs, self.seed, self.threads, self.crew.size, str(self.device), torch.__version__]


def _tell(on_epoch: OnEpoch | None, epoch: Epoch) -> None:
    if on_epoch:
        on_epoch(epoch)


@torch.no_grad()
def _clip(gradients: list[Tensor], longest: float) -> None:
    """Shortens the gradients, dense and sparse, in place: together they are no longer than `longest`."""
    lengths = [(one.coalesce().values() if one.is_sparse else one).norm() for one in gradients]
    factor = (longest / (torch.stack(lengths).norm() + 1e-6)).clamp(max=1)
    for one in gradients:
        one.mul_(factor)


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
