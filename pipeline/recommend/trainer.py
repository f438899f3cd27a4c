"""One training loop for what learns in epochs: best weights by NDCG@10 on the validation part, full ranking.

A recommender fills in four methods of `Trained`; how long to train, what to keep, and that the same seed gives the
same bytes are this module's business.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.config.pairwise import Schedule
from pipeline.interactions import Floats, Interactions
from pipeline.metrics import Task, evaluate
from pipeline.recommend.contract import Content, Epoch, Fit, OnEpoch, Recommender
from pipeline.recommend.engine import reproducible
from pipeline.recommend.item_side import FILE

METRIC = "ndcg@10"


@dataclass
class _Best:
    score: float = -1.0
    epoch: int = 0
    weights: dict[str, Tensor] | None = None


class Trained(Recommender):
    """A recommender that is trained by the loop below, on the CPU: the same bytes for the same seed and threads."""

    def __init__(self, schedule: Schedule, seed: int, threads: int) -> None:
        self.schedule = schedule
        self.seed = seed
        self.threads = threads

    @abstractmethod
    def _prepare(self, content: Content, train: Interactions) -> None:
        """Makes weights and batches for a fit that starts anew."""

    @abstractmethod
    def _weights(self) -> dict[str, Tensor]:
        """What is learned, by name; the tensors themselves, which a better epoch is copied from and back into."""

    @abstractmethod
    def _epoch(self) -> float:
        """Trains for one epoch; returns its mean loss."""

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

        Raises StepFailed if the log leaves nothing to learn from.
        """
        started = time.perf_counter()
        self._items: Floats
        with reproducible(self.threads):
            self._prepare(content, train)
            if epochs is None and validation is not None and len(validation):
                chosen, curve = self._search(Task(train, validation), on_epoch)
            else:
                chosen, curve = self._run(epochs or self.schedule.max_epochs, on_epoch)
            self._freeze()
        return Fit(chosen, curve, time.perf_counter() - started)

    def save(self, folder: Path) -> None:
        """Writes the weights as `model.safetensors`."""
        save_file({name: weight.detach().contiguous() for name, weight in self._weights().items()}, folder / FILE)

    def _run(self, epochs: int, on_epoch: OnEpoch | None) -> tuple[int, list[Epoch]]:
        curve: list[Epoch] = []
        for number in range(1, epochs + 1):
            curve.append({"epoch": number, "loss": self._epoch()})
            if on_epoch:
                on_epoch(curve[-1])
        return epochs, curve

    def _search(self, task: Task, on_epoch: OnEpoch | None) -> tuple[int, list[Epoch]]:
        curve: list[Epoch] = []
        best = _Best()
        for number in range(1, self.schedule.max_epochs + 1):
            curve.append({"epoch": number, "loss": self._epoch()})
            if number % self.schedule.evaluate_every == 0 or number == self.schedule.max_epochs:
                curve[-1][METRIC] = self._validate(task)
                self._keep(best, curve[-1])
            if on_epoch:
                on_epoch(curve[-1])
            if number - best.epoch >= self.schedule.patience_epochs and best.epoch:
                break
        self._restore(best)
        return best.epoch, curve

    def _validate(self, task: Task) -> float:
        self._freeze()
        ndcg = evaluate(self.user_vectors(task.history), self.item_vectors, task, (10,)).values[METRIC]
        return float(ndcg.mean()) if len(ndcg) else 0.0

    def _keep(self, best: _Best, now: Epoch) -> None:
        if now[METRIC] > best.score:
            best.score, best.epoch = now[METRIC], int(now["epoch"])
            best.weights = {name: weight.detach().clone() for name, weight in self._weights().items()}

    @torch.no_grad()
    def _restore(self, best: _Best) -> None:
        for name, weight in self._weights().items():
            weight.copy_((best.weights or {})[name])


def step(loss: Tensor, optimizers: list[torch.optim.Optimizer], clip: float = 0.0) -> float:
    """One step down the loss's gradient, whose norm is clipped where `clip` is above 0; returns the loss.

    Sparse gradients are left as they are: an optimizer for those scales every step itself.
    """
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    if clip:
        weights = [weight for one in optimizers for group in one.param_groups for weight in group["params"]]
        dense = [weight for weight in weights if weight.grad is not None and not weight.grad.is_sparse]
        torch.nn.utils.clip_grad_norm_(dense, clip)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())
