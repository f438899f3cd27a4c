"""Recommenders that the epoch loop trains, with the best epoch by full ranking of the validation part.

A recommender defines its weights, batches and loss, and how its vectors are made.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file

from pipeline.artefacts.read import readable
from pipeline.config.training import Schedule
from pipeline.evaluation.metrics import Task, inner_product, total_of
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.base import Content, Fit, OnEpoch, Recommender
from pipeline.recommend.item_sides import FILE
from pipeline.training.context import Context
from pipeline.training.loop import Learner, Validation, fit
from pipeline.training.torch_runtime import reproducible

Batch = TypeVar("Batch")


class Trained(Recommender, Learner[Batch]):
    """A recommender that the loop trains."""

    def __init__(self, schedule: Schedule, seed: int, threads: int) -> None:
        self.schedule = schedule
        self.seed = seed
        self.threads = threads
        self._items: Floats

    @abstractmethod
    def _prepare(self, content: Content, train: Interactions) -> None:
        """Makes weights, `_optimizers` and what batches are made of, for a fit that starts anew."""

    def _tables(self) -> dict[str, tuple[str, ...]]:
        """Which weights have a row for each of `items` or `users`, or for each of both, one after the other."""
        return {}

    @abstractmethod
    def _freeze(self) -> None:
        """Makes the served vectors from the current weights."""

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
        """Trains for `epochs`, or until `metric` on `validation` has not risen for `patience_epochs`.

        Goes on from the last epoch that a killed fit left in `scratch`. Raises StepFailed if the log leaves nothing
        to learn from.
        """
        schedule = self.schedule.model_copy(update={"max_epochs": epochs or self.schedule.max_epochs})
        context = Context(self.seed, self.threads, self.processes, self.scratch, on_epoch)
        with reproducible(self.threads):
            self._prepare(content, train)
            if self.before and self.before.warm_start:
                self.before.begin(self._weights(), self._tables())
            chosen_by = None
            if epochs is None and validation is not None and len(validation):
                chosen_by = self._validation(Task(self.processes.users(train), self.processes.users(validation)))
            state = fit(self, schedule, chosen_by, context)
            self._freeze()
        return Fit(state.epoch if chosen_by else state.epochs, state.curve, state.seconds)

    def save(self, folder: Path) -> None:
        """Writes the weights as `model.safetensors`."""
        save_file({name: weight.detach().cpu().contiguous() for name, weight in self._weights().items()}, folder / FILE)

    @torch.no_grad()
    def restore(self, content: Content, train: Interactions, chosen: Fit, folder: Path) -> None:
        """See Recommender: takes the saved weights."""
        with readable(folder / FILE, f"not the weights of a {self.name} model"):
            saved = load_file(folder / FILE)
        with reproducible(self.threads):
            self._prepare(content, train)
            for name, weight in self._weights().items():
                weight.copy_(saved[name])
            self._freeze()

    def _validation(self, task: Task) -> Validation:
        """task: this process's users."""

        def measure() -> dict[str, float]:
            self._freeze()
            scorer = inner_product(self.user_vectors(task.history), self.item_vectors)
            total, users = self.processes.sum(total_of(scorer, task, self.metric))
            return {self.metric: total / users if users else 0.0}

        return Validation(self.metric, measure)
