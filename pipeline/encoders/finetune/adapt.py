"""Fine-tuning an encoder on the catalogue: items that the same user chose, one after the other, become neighbours.

For a batch of n pairs (a, b) with unit vectors u and v and temperature τ, the loss is InfoNCE both ways (van den Oord
et al. 2018; the symmetric form of CLIP, Radford et al. 2021):

    L = ½ Σ_i [ -log softmax_j(u_i·v_j / τ)_i - log softmax_j(v_i·u_j / τ)_i ] / n

where a pair's other items count as negatives, unless they are the same item. Only interactions of the training part
are used. The last blocks are trained: their layers, or low-rank updates of these (LoRA, Hu et al. 2021, by peft), which
are added to the weights at the end. A tenth of the pairs is held out; the epoch with the lowest loss on it is kept, and
if that is the one before the first, nothing is changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.config import Modality
from pipeline.config.shared import Adapt
from pipeline.config.training import Schedule
from pipeline.encoders.engine.engines import device
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.encoders.finetune.augment import augment
from pipeline.errors import StepFailed, WeightsError
from pipeline.interactions import Int32s, Interactions
from pipeline.training.context import Context, Learner, Validation
from pipeline.training.loop import fit
from pipeline.training.softmax import info_nce

log = logging.getLogger("medley")
FILE = "adapted.safetensors"
MEASURE = "log_likelihood"
HELD_OUT = 0.1
PATIENCE_EPOCHS = 3
FEWEST_PAIRS = 20
# The first part of an item, by its code; None where it has none.
Fetch = Callable[[Int32s], list[np.ndarray | None]]


@dataclass(frozen=True)
class Task:
    """What is trained on: pairs of item codes, (n, 2) int32, and how to read an item."""

    modality: Modality
    pairs: Int32s
    fetch: Fetch
    context: Context


def pairs_of(train: Interactions, settings: Adapt, seed: int) -> Int32s:
    """Neighbours in the histories of a training log: (n, 2) int32 item codes, at most `settings.pairs`, shuffled."""
    same = (train.user[1:] == train.user[:-1]) & (train.item[1:] != train.item[:-1])
    pairs = np.stack([train.item[:-1][same], train.item[1:][same]], axis=1)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    order = np.random.default_rng(seed).permutation(len(pairs))[: settings.pairs]
    return pairs[order].astype(np.int32)


def train(encoder: NetworkEncoder, task: Task, folder: Path) -> list[float]:
    """Trains a loaded encoder's network and writes what changed to the folder.

    Returns the held-out loss before training and after each epoch. Raises StepFailed if too few pairs can be used.
    """
    settings = encoder.settings.adapt or Adapt()
    usable = _usable(task)
    if len(usable) < FEWEST_PAIRS:
        raise StepFailed(
            f"extract.{task.modality}.adapt: {len(usable)} pairs of co-chosen items have {task.modality}, too few to "
            f"train on (at least {FEWEST_PAIRS}); set adapt to null"
        )
    held = max(2, round(len(usable) * HELD_OUT))
    learner = _Learner(encoder, task, settings, (usable[:held], usable[held:]))
    schedule = Schedule(
        max_epochs=settings.epochs, patience_epochs=PATIENCE_EPOCHS, evaluate_every=1, clip=1.0, precision="float32"
    )
    validation = Validation(MEASURE, lambda: {MEASURE: learner.log_likelihood()}, from_start=True)
    state = fit(learner, schedule, validation, task.context)
    losses = [round(-entry[MEASURE], 5) for entry in state.curve]
    log.info("adapt %s: epoch %d kept of held-out losses %s", task.modality, state.epoch, losses)
    changed = learner.state() if state.epoch else {}
    save_file({name: tensor.contiguous() for name, tensor in changed.items()}, folder / FILE)
    return losses


def restore(network: nn.Module, folder: Path) -> nn.Module:
    """A network with the weights that `train` wrote. Raises WeightsError if they are gone or of another network."""
    try:
        changed = load_file(folder / FILE)
        unexpected = network.load_state_dict(changed, strict=False).unexpected_keys
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{folder / FILE}: {str(error).splitlines()[0]}; run the night with --full") from None
    if unexpected:
        raise WeightsError(f"{folder / FILE}: holds {unexpected[0]}, which the network has not; run with --full")
    return network


def _usable(task: Task) -> Int32s:
    codes = np.unique(task.pairs)
    usable: list[int] = []
    for start in range(0, len(codes), 256):
        batch = codes[start : start + 256]
        usable += [int(code) for code, part in zip(batch, task.fetch(batch), strict=True) if part is not None]
    return task.pairs[np.isin(task.pairs, usable).all(axis=1)]


def blocks_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The repeated blocks of a network, in order, by name: of all lists of like modules, the one of most weights."""
    best: list[tuple[str, nn.Module]] = []
    for prefix, module in network.named_modules():
        children = [(f"{prefix}.{name}" if prefix else name, child) for name, child in module.named_children()]
        alike = isinstance(module, nn.ModuleList | nn.Sequential) and len({type(child) for _, child in children}) == 1
        if alike and len(children) > 1 and _size(children) > _size(best):
            best = children
    return best or [("", network)]


def _size(modules: list[tuple[str, nn.Module]]) -> int:
    return sum(parameter.numel() for _, module in modules for parameter in module.parameters())


def _trainable(network: nn.Module, settings: Adapt) -> Mapping[str, nn.Module]:
    """Freezes everything but what is trained; returns the trained layers by their names in the unchanged network."""
    network.requires_grad_(False)
    chosen = blocks_of(network)[-settings.last_layers :]
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    layers = {
        f"{prefix}.{name}".strip("."): module
        for prefix, block in chosen
        for name, module in block.named_modules()
        if isinstance(module, kinds) and (not isinstance(module, nn.Conv2d) or module.groups == 1)
    }
    if settings.method == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules=list(layers))
        inject_adapter_in_model(config, network)
        return {name: network.get_submodule(name) for name in layers}
    for layer in layers.values():
        layer.requires_grad_(True)
    return layers


class _Learner(Learner[Int32s]):
    """The trained layers of a network; a batch is pairs of items."""

    def __init__(self, encoder: NetworkEncoder, task: Task, settings: Adapt, pairs: tuple[Int32s, Int32s]) -> None:
        """pairs: held out, and learned from."""
        torch.manual_seed(task.context.seed)
        network, self.device = encoder.network.to(device()), torch.device(device())
        self.encoder, self.task, self.settings = encoder, task, settings
        self.layers = _trainable(network, settings)
        self.held_out, self.pairs = pairs
        self._weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        rate = settings.learning_rate
        self._optimizers = [torch.optim.AdamW(self._weights.values(), lr=rate, weight_decay=0.01)]
        # Each epoch has a generator of its own; dropout draws from torch's.
        self._generators = [torch.default_generator]

    def state(self) -> dict[str, torch.Tensor]:
        """The trained layers' parameters by name, with low-rank updates added to the weights."""
        return {f"{name}.{key}": value for name, layer in self.layers.items() for key, value in _merged(layer).items()}

    @torch.no_grad()
    def log_likelihood(self) -> float:
        """Minus the mean loss of a held-out pair, without augmentation."""
        batches = list(self._cut(self.held_out))
        losses = [float(self._contrast(batch, None)) * len(batch) for batch in batches]
        return -sum(losses) / sum(len(batch) for batch in batches)

    def _batches(self) -> Iterator[Int32s]:
        self.rng = np.random.default_rng([self.task.context.seed, self.epoch - 1])
        return self._cut(self.pairs[self.rng.permutation(len(self.pairs))])

    def _loss(self, batch: Int32s) -> torch.Tensor:
        return self._contrast(batch, self.rng if self.settings.augment else None)

    def _cut(self, pairs: Int32s) -> Iterator[Int32s]:
        for start in range(0, len(pairs), self.settings.batch_pairs):
            batch = pairs[start : start + self.settings.batch_pairs]
            if len(batch) > 1:
                yield batch

    def _contrast(self, pairs: Int32s, rng: np.random.Generator | None) -> torch.Tensor:
        """The mean loss of a batch; rng: of its augmentation."""
        codes = pairs.T.ravel()
        parts = [part for part in self.task.fetch(codes) if part is not None]
        if rng is not None:
            others = rng.permutation(len(parts))
            parts = [
                augment(part, self.task.modality, parts[other], rng) for part, other in zip(parts, others, strict=True)
            ]
        batch = [torch.from_numpy(array).to(device()) for array in self.encoder.collate(parts)]
        vectors = nn.functional.normalize(self.encoder.network(*batch).float(), dim=1)
        left, right = vectors.chunk(2)
        scores = left @ right.T / self.settings.temperature
        mine, theirs = torch.from_numpy(pairs).to(left.device).T
        return (info_nce(scores, mine, theirs) + info_nce(scores.T, theirs, mine)) / 2


def _merged(layer: nn.Module) -> dict[str, torch.Tensor]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer
    state = {key: value.detach().cpu().clone() for key, value in plain.state_dict().items()}
    if isinstance(layer, BaseTunerLayer):
        state["weight"] += layer.get_delta_weight("default").detach().cpu()  # type: ignore[operator]
    return state
