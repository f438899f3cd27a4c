"""Engines: what runs a network. Any of them gives the same vectors, as near as its precision allows.

| engine | device | fp32 | bf16 | int8 |
|---|---|---|---|---|
| torch | CUDA where there is one, else CPU | yes, `channels_last` | autocast | – |
| torch_compile | likewise | yes | autocast | – |
| openvino | CPU | yes | yes | calibrated on the catalogue by nncf |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.encoders.base import Prepared, Vectors
from pipeline.errors import WeightsError
from pipeline.runtime import quiet

if TYPE_CHECKING:
    import torch

# OpenVINO and nncf report their use to their makers where this package is found: a night tells nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# What a network takes: one array an input, each with the batch first.
Batch = tuple[np.ndarray, ...]
QUANTISED = "int8.xml"
# How OpenVINO's names of what came from a module of the torch network begin.
MODULE = "__module."
# Batches that OpenVINO runs side by side. Threads that share a batch wait for each other after every layer, for as long
# as a decoding thread or a neighbour holds one of their cores; threads with a batch each wait for nobody.
STREAMS = 2


@dataclass(frozen=True)
class Engine:
    """Runs a network: `run` takes one batch to (n, d) float32; up to `streams` threads may call it at a time."""

    run: Callable[[Batch], Vectors]
    streams: int = 1


def device() -> str:
    """Where torch runs: CUDA where there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def computes_bf16() -> bool:
    """Whether this machine multiplies in bf16; one that only converts to it and back is far slower than in fp32."""
    import torch

    known = torch.cpu.get_capabilities()
    return device() == "cuda" or any(known.get(flag) for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def make(prepared: Prepared, network: torch.nn.Module, example: Batch) -> Engine:
    """The engine that was chosen for a network, which takes tensors of `example`'s kinds and gives (n, d).

    Raises WeightsError if the quantised network that was chosen is not there.
    """
    if prepared.engine != "openvino":
        return torch_engine(network, prepared.precision, prepared.engine == "torch_compile")
    if prepared.precision != "int8":
        return openvino_engine(to_openvino(network, example), prepared.precision)
    file = (prepared.folder or Path()) / QUANTISED
    if not file.is_file():
        raise WeightsError(f"{file}: the calibrated int8 network is gone; run the night with --full")
    return openvino_engine(_core().read_model(file), "int8")


def torch_engine(network: torch.nn.Module, precision: str, compiled: bool = False) -> Engine:
    """Runs a network by torch, on CUDA where there is one."""
    import torch

    place = device()
    network = network.eval().to(place).to(memory_format=torch.channels_last)
    run = torch.compile(network, dynamic=True) if compiled else network

    def forward(batch: Batch) -> Vectors:
        tensors = [torch.from_numpy(array).to(place) for array in batch]
        autocast = torch.autocast(place, torch.bfloat16, enabled=precision == "bf16")
        with torch.inference_mode(), autocast:
            return np.asarray(run(*tensors).float().cpu())

    return Engine(forward)


def to_openvino(network: torch.nn.Module, example: Batch) -> Any:
    """A network as an OpenVINO model with free batch size and lengths; `example` holds rows of unlike length."""
    import openvino
    import torch

    with quiet(), torch.inference_mode():
        model = openvino.convert_model(
            network.eval().cpu(), example_input=tuple(torch.from_numpy(array) for array in example)
        )
    shapes = {}
    for port, array in zip(model.inputs, example, strict=True):
        # Rows and lengths vary; what a network's own design fixes (channels, a picture's side) stays.
        free = 1 if array.ndim > 2 else array.ndim
        shapes[port] = openvino.PartialShape([-1] * free + list(array.shape[free:]))
    model.reshape(shapes)
    _name_after_layers(model, _readers(network, example))
    return model


def _readers(network: torch.nn.Module, example: Batch) -> dict[str, str]:
    """For each module that reads a convolution's output as it is, such as a batch normalisation: the convolution."""
    import torch

    made: dict[int, tuple[str, torch.Tensor]] = {}
    convolutions: dict[str, str] = {}

    def watch(name: str, module: torch.nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if inputs and id(inputs[0]) in made:
                convolutions[name] = made[id(inputs[0])][0]
            if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d) and isinstance(output, torch.Tensor):
                made[id(output)] = (name, output)

        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in network.named_modules()]
    try:
        with torch.inference_mode():
            network(*(torch.from_numpy(array) for array in example))
    finally:
        for handle in handles:
            handle.remove()
    return convolutions


def _name_after_layers(model: Any, readers: dict[str, str]) -> None:
    """Gives a convolution its layer's name again where a batch normalisation, folded into it, took it away."""
    for op in model.get_ops():
        if not op.get_type_name().endswith("Convolution") or op.get_friendly_name().startswith(MODULE):
            continue
        names = [port.get_node().get_friendly_name() for port in op.output(0).get_target_inputs()]
        layers = [readers.get(name.removeprefix(MODULE).split("/")[0]) for name in names]
        if len(layers) == 1 and layers[0]:
            op.set_friendly_name(f"{MODULE}{layers[0]}/{op.get_friendly_name()}")


def openvino_engine(model: Any, precision: str) -> Engine:
    """Runs an OpenVINO model on the CPU, with as many threads as OMP_NUM_THREADS says."""
    hint = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}[precision]
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(wanted) if wanted.isdigit() else os.cpu_count() or 1
    streams = min(STREAMS, threads)
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
    compiled = _core().compile_model(model, "CPU", settings)
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        requests.put(compiled.create_infer_request())

    def forward(batch: Batch) -> Vectors:
        request = requests.get()
        try:
            return np.asarray(request.infer(list(batch), share_inputs=True)[0], dtype=np.float32)
        finally:
            requests.put(request)

    return Engine(forward, streams)


def quantise(model: Any, batches: Sequence[Batch], transformer: bool, exact: Sequence[str] = ()) -> Any:
    """An int8 copy of an OpenVINO model, its ranges taken from `batches`; operations named in `exact` stay fp32."""
    with quiet():
        import nncf

        data = nncf.Dataset([list(batch) for batch in batches])
        return nncf.quantize(
            model.clone(),
            data,
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=list(exact)) if exact else None,
        )


def operations_of(model: Any, layers: Sequence[str]) -> list[str]:
    """The names of an OpenVINO model's products that came from these layers of the torch network."""
    marks = tuple(f"{MODULE}{layer}/" for layer in layers)
    products = ("MatMul", "Convolution", "GroupConvolution")
    operations = ((op.get_friendly_name(), op.get_type_name()) for op in model.get_ops())
    return [name for name, kind in operations if kind in products and name.startswith(marks)]


def save_quantised(model: Any, folder: Path) -> None:
    """Writes a quantised model to where `make` finds it."""
    import openvino

    openvino.save_model(model, folder / QUANTISED, compress_to_fp16=False)


def _core() -> Any:
    import openvino

    return openvino.Core()
