"""Recommenders that the epoch loop trains, with the best epoch by full ranking of the validation part.

A recommender defines its weights, batches and loss, and how its vectors are made.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.config.kinds import Lazy
from pipeline.config.train import TrainedSettings
from pipeline.evaluation.metrics import Task, inner_product, total_of
from pipeline.interactions import Interactions
from pipeline.recommend.base import Content, Fit, FitInput, Recommender
from pipeline.recommend.item_sides import FILE
from pipeline.training.context import Batch, Context, Learner, Validation

if TYPE_CHECKING:
    import torch
    from safetensors import torch as safetensors
    from torch import Tensor

    from pipeline.training import loop, torch_runtime
else:
    torch, safetensors = Lazy("torch"), Lazy("safetensors.torch")
    loop, torch_runtime = Lazy("pipeline.training.loop"), Lazy("pipeline.training.torch_runtime")


Tables = Mapping[str, tuple[str, ...]]


class Trained(Recommender, Learner[Batch]):
    """A recommender that the loop trains.

    tables: the weights that have a row for each of `items` or `users`, or for each of both, one after the other.
    """

    settings: TrainedSettings
    tables: ClassVar[Tables] = {}

    @abstractmethod
    def _prepare(self, content: Content, train: Interactions) -> None:
        """Makes weights, `_optimizers` and what batches are made of, for a fit that starts anew."""

    @abstractmethod
    def _freeze(self) -> None:
        """Makes the served vectors, and `item_vectors`, from the current weights; called without gradients."""

    def learn(self, data: FitInput) -> Fit:
        """Trains for `epochs`, or until `metric` on `validation` has not risen for `patience_epochs`.

        Goes on from the last epoch that a killed fit left in `scratch`. Raises StepFailed if the log leaves nothing
        to learn from.
        """
        schedule = self.settings.model_copy(update={"max_epochs": data.epochs or self.settings.max_epochs})
        context = Context(self.seed, self.threads, self.processes, self.scratch, data.on_epoch)
        with torch_runtime.reproducible(self.threads):
            self._prepare(data.content, data.train)
            if self.before and self.before.warm_start:
                self.before.begin(self._weights, self.tables)
            chosen_by = None
            if data.epochs is None and data.validation is not None:
                parts = self.processes.users(data.train), self.processes.users(data.validation)
                chosen_by = self._validation(Task(*parts))
            state = loop.fit(self, schedule, chosen_by, context)
            with torch.no_grad():
                self._freeze()
        return Fit(state.epoch if chosen_by else state.epochs, state.curve, state.seconds)

    def _saved(self) -> dict[str, Tensor]:
        """The tensors that `save` writes."""
        return self._weights

    def save(self, folder: Path) -> None:
        """Writes the weights as `model.safetensors`."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._saved().items()}
        safetensors.save_file(tensors, folder / FILE)

    def restore(self, content: Content, train: Interactions, chosen: Fit, folder: Path) -> None:
        """See Recommender: takes the saved weights."""
        from pipeline.artefacts.read import readable

        with readable(folder / FILE, f"not the weights of a {self.name} model"):
            saved = safetensors.load_file(folder / FILE)
        with torch_runtime.reproducible(self.threads), torch.no_grad():
            self._prepare(content, train)
            for name, weight in self._weights.items():
                weight.copy_(saved[name])
            self._freeze()

    def _validation(self, task: Task) -> Validation:
        """task: this process's users."""

        def measure() -> dict[str, float]:
            with torch.no_grad():
                self._freeze()
            scorer = inner_product(self.user_vectors(task.history), self.item_vectors)
            total, users = self.processes.sum(total_of(scorer, task, self.metric))
            return {self.metric: total / users if users else 0.0}

        return Validation(self.metric, measure)
