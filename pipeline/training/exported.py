"""A network as ONNX, run by onnxruntime where there is no torch: the one definition of it stays the network itself.

The file holds all weights that the network reads, and nothing of the machine or the code that made it: the same bytes
for the same network. It is a graph of numbers, in which no code can travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artefacts.read import FULL
from pipeline.errors import ShardCorrupt
from pipeline.interactions import Floats
from pipeline.runtime import quiet

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

# The version of ONNX's operators: every runtime of the last years knows it.
OPSET = 17
OUTPUT = "output"
Run = Callable[[Mapping[str, "np.ndarray"]], Floats]


def export(network: nn.Module, example: Mapping[str, Tensor], free: Mapping[str, int], path: Path) -> None:
    """Writes a network that gives one tensor.

    example: what it takes, by name, in the order of its `forward` and on its device. free: the axis that is of any
    length, of those that have one; it is the same length in all, 2 or more in the example.
    """
    import torch

    with quiet(), torch.no_grad():
        # By tracing: `torch.export` makes the same of such a network in 4 to 11 seconds instead of .1 to .3.
        torch.onnx.export(
            network.eval(),
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=[OUTPUT],
            dynamic_axes={name: {axis: "length"} for name, axis in free.items()},
            opset_version=OPSET,
            dynamo=False,
        )


def loaded(path: Path, kind: str) -> tuple[tuple[str, ...], Run]:
    """The names of what an exported network takes, and what runs it, from any thread, on one thread.

    kind: what it is said not to be where it is damaged. The file is not looked at again. Raises ShardCorrupt, and so
    does a run whose inputs are not what the network takes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised
    with _as_corrupt(path, kind):
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, np.ndarray]) -> Floats:
        with _as_corrupt(path, kind):
            found: Floats = session.run([OUTPUT], dict(inputs))[0]
        return found

    return tuple(one.name for one in session.get_inputs()), run


@contextmanager
def _as_corrupt(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # onnxruntime's own have no other base
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise ShardCorrupt(f"{path}: not {kind} ({cause}); {FULL}") from None
