"""How torch runs: where, on how many threads, and always with the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# A property of the module, which type stubs do not know of.
deterministic: Any = torch.utils.deterministic


def device() -> torch.device:
    """A CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
