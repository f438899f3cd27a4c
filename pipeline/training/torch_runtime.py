"""How torch runs: where, on how many threads, and always with the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# A property of the module, which type stubs do not know of.
deterministic: Any = torch.utils.deterministic


def device() -> torch.device:
    """A CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(where: torch.device | str, precision: str) -> torch.autocast:
    """Dense products in bfloat16 inside, where `precision` says so; auto does on a GPU that has it.

    On processors bfloat16 is only fast with instructions for it, and sparse products, which most of the models that
    train there consist of, do not have it.
    """
    where = torch.device(where)
    has = where.type == "cuda" and torch.cuda.is_bf16_supported()
    enabled = has if precision == "auto" else precision == "bfloat16"
    return torch.autocast(where.type, torch.bfloat16, enabled)


def full_precision(where: torch.device) -> torch.autocast:
    """Inside, every product is in the precision of its factors, whatever `autocast` is around it."""
    return torch.autocast(where.type, enabled=False)


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Deterministic algorithms on `threads` threads inside; what was set before is set again after."""
    # cuBLAS reads this when it starts, and is not deterministic without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = deterministic.fill_uninitialized_memory
    torch.set_num_threads(max(threads, 1))
    torch.use_deterministic_algorithms(True)
    # Else every new tensor is written once more than needed, lest somebody read what nobody wrote.
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        deterministic.fill_uninitialized_memory = filled


@torch.no_grad()
def clip(gradients: list[Tensor], longest: float) -> None:
    """Shortens the gradients, dense and sparse, in place: together they are no longer than `longest`."""
    lengths = [(gradient.coalesce().values() if gradient.is_sparse else gradient).norm() for gradient in gradients]
    factor = (longest / (torch.stack(lengths).norm() + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor)
