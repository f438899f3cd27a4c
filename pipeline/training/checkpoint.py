"""A fit's checkpoint, written after an epoch and resumed from: one safetensors file, replaced by rename.

Tensors lie under flat names, `weights.NAME`, `optimizers.0.3.exp_avg`; everything else is one JSON document in the
file's header, random generators of numpy among it. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Generators = Sequence[np.random.Generator | torch.Generator]
HEADER = "medley"


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Replaces the file; a kill at any moment leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    # A copy each: safetensors refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(copies, temporary, {HEADER: json.dumps(facts)})
    os.replace(temporary, path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts as written; None where there is no such file, or it is no checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[HEADER])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `prefix.`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that `named` put under the prefix, by their own names."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def of_optimizers(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimizers remember of every weight; a plain number becomes a tensor of no dimension."""
    return {
        f"{number}.{weight}.{name}": torch.as_tensor(value)
        for number, optimizer in enumerate(optimizers)
        for weight, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
    }


def to_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Restores it; the optimizers keep their own settings."""
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Any]] = {}
        for name, value in under(str(number), tensors).items():
            weight, slot = name.split(".", 1)
            # SparseAdam counts its steps in a Python int.
            state.setdefault(int(weight), {})[slot] = value if value.is_floating_point() else value.item()
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def of_generators(generators: Generators) -> list[Any]:
    """The generators' states as JSON."""
    return [
        generator.get_state().tolist() if isinstance(generator, torch.Generator) else generator.bit_generator.state
        for generator in generators
    ]


def to_generators(generators: Generators, states: Sequence[Any]) -> None:
    """Restores them."""
    for generator, state in zip(generators, states, strict=True):
        if isinstance(generator, torch.Generator):
            generator.set_state(torch.tensor(state, dtype=torch.uint8))
        else:
            generator.bit_generator.state = state
