"""Which layers of a network lose most by int8: each alone is quantised in simulation, and its cosine measured.

The simulation rounds a layer's weights to 8 bits a channel and its input to 8 bits over the range that it has on the
given batches, as post-training quantisation does (Jacob et al. 2018, "Quantization and Training of Neural Networks").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.encoders.engine.engines import Batch, device

MOST_BATCHES = 6


def losses(network: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    """For each linear or convolutional layer, by name: 1 - mean cosine of the output when it alone is quantised."""
    network = network.to(device())
    chosen = batches[:: max(1, len(batches) // MOST_BATCHES)]
    inputs = [tuple(torch.from_numpy(array).to(device()) for array in batch) for batch in chosen]
    with torch.inference_mode():
        exact = [network(*batch) for batch in inputs]
        by_layer = {}
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                with _Quantised(module):
                    rounded = [network(*batch) for batch in inputs]
                pairs = zip(exact, rounded, strict=True)
                cosines = torch.cat([torch.nn.functional.cosine_similarity(a, b) for a, b in pairs])
                by_layer[name] = float(1 - cosines.mean())
    return by_layer


def least_kept(losses: dict[str, float], allowed: float) -> int:
    """How many layers, most sensitive first, must stay exact for the losses of the others to add up to `allowed`."""
    remaining = sum(losses.values())
    for exact, loss in enumerate(sorted(losses.values(), reverse=True)):
        if remaining <= allowed:
            return exact
        remaining -= loss
    return len(losses)


class _Quantised:
    """A layer with rounded weights and input, for as long as the context lasts."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __enter__(self) -> None:
        weight: torch.Tensor = self.layer.weight  # type: ignore[assignment]
        self.original = weight.data
        scale = self.original.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
        shaped = scale.view(-1, *[1] * (self.original.ndim - 1))
        weight.data = (self.original / shaped).round() * shaped
        self.hook = self.layer.register_forward_pre_hook(lambda _, inputs: (_rounded(inputs[0]), *inputs[1:]))

    def __exit__(self, *_: object) -> None:
        self.layer.weight.data = self.original
        self.hook.remove()


def _rounded(values: torch.Tensor) -> torch.Tensor:
    low, high = values.amin(), values.amax()
    scale = (high - low).clamp(min=1e-12) / 255
    return ((values - low) / scale).round() * scale + low
