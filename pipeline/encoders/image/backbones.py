"""Image networks of timm and torchvision, by name: built, filled with weights, and read at any of their layers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import fx, nn

from pipeline.encoders.image.pixels import Preprocessing
from pipeline.encoders.weights import fill
from pipeline.errors import ConfigError
from pipeline.runtime import quiet

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# torchvision builds these for training from scratch unless told; with their weights the input is scaled once more.
_OF_INCEPTION = {"transform_input": True, "init_weights": False}
_INCEPTION = ("inception_v3", "googlenet")


def build_backbone(library: str, model: str, path: Path | None, layers: Sequence[str] = ()) -> nn.Module:
    """A network that takes normalised pixels [n × 3 × h × w] and gives what stands before its classifier, [n × d].

    With `layers`, it gives a list of their maps instead, and nothing after the last of them is computed or kept.
    Raises ConfigError for a name that the library or the network does not have, WeightsError for weights that do not
    fit. `path` None leaves it as it was initialised.
    """
    network = _built(library, model)
    if path is not None:
        fill(network, path, f"{library}'s {model}")
    network.eval()
    if layers:
        return _Layers(_cut(network, library, model, layers), layers)
    if library == "timm":
        network.reset_classifier(0)  # type: ignore[operator]
        return network
    return _without_classifier(network, model)


def statistics_of(library: str, model: str, entry: str = "DEFAULT") -> Preprocessing:
    """The preprocessing that an architecture's published weights were trained with.

    Raises ConfigError for an unknown model, or an `entry` that torchvision does not list for it.
    """
    if library == "timm":
        from timm.data import resolve_data_config

        data = resolve_data_config({}, model=_built(library, model))
        side = int(data["input_size"][-1])
        mode = data["crop_mode"]
        if data["input_size"] != (3, side, side) or mode not in ("center", "squash"):
            raise ConfigError(
                f"extract: timm's {model} takes pictures of a shape that Medley does not make; choose another"
            )
        filter_ = _FILTERS.get(data["interpolation"], Image.Resampling.BICUBIC)
        resized = int(side / data["crop_pct"])
        return Preprocessing(resized, side, tuple(data["mean"]), tuple(data["std"]), filter_, mode == "squash")
    preset = weights_entry(model, entry).transforms()
    filter_ = _FILTERS[preset.interpolation.value]
    return Preprocessing(preset.resize_size[0], preset.crop_size[0], tuple(preset.mean), tuple(preset.std), filter_)


def weights_entry(model: str, entry: str) -> Any:
    """torchvision's description of one set of weights of an architecture.

    Raises ConfigError for an unknown model or entry.
    """
    from torchvision.models import get_model_weights, list_models

    try:
        known = get_model_weights(model)
    except ValueError:
        raise _unknown("torchvision", model, list_models()) from None
    if entry not in known.__members__:
        raise ConfigError(
            f"extract: torchvision's {model} has no weights {entry}; it has {', '.join(known.__members__)}"
        )
    return known[entry]


class Normalised(nn.Module):
    """A backbone that takes uint8 pixels [n × h × w × 3] and gives one vector, [n × d].

    Layers are averaged over their map, or laid out flat, and put one after the other.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: nn.Module, shape: Preprocessing, flatten: bool = False) -> None:
        super().__init__()
        self.backbone, self.flatten = backbone, flatten
        self.register_buffer("mean", torch.tensor(shape.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(shape.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[n × h × w × 3] uint8 to [n × d]."""
        scaled = pixels.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        output = self.backbone((scaled - self.mean) / self.std)
        maps = output if isinstance(output, list | tuple) else [output]
        return torch.cat([layer.flatten(1) if self.flatten else _averaged(layer) for layer in maps], dim=1)


class _Layers(nn.Module):
    """Reads some layers of a network cut after the last of them, as [n × c × h × w], [n × tokens × c] or [n × d]."""

    def __init__(self, cut: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.cut, self.names = cut, list(names)

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        maps = self.cut(pixels)
        return [maps[name] for name in self.names]


def _averaged(layer: torch.Tensor) -> torch.Tensor:
    if layer.ndim == 4:
        # Swin and its kin keep channels last: a map has more channels than pixels on a side.
        channels_last = layer.shape[1] == layer.shape[2] and layer.shape[3] != layer.shape[2]
        return layer.mean((1, 2) if channels_last else (2, 3))
    return layer.mean(1) if layer.ndim == 3 else layer


def _built(library: str, model: str) -> nn.Module:
    """A network as it is initialised. Raises ConfigError for a name that the library does not have."""
    more: dict[str, Any]
    if library == "timm":
        import timm

        build, known, more = timm.create_model, timm.list_models, {"pretrained": False}
    else:
        from torchvision.models import get_model, list_models

        build, known, more = get_model, list_models, _OF_INCEPTION if model in _INCEPTION else {}
    try:
        network: nn.Module = build(model, **more)
    except (RuntimeError, ValueError):  # timm's and torchvision's, for a name that they do not have
        raise _unknown(library, model, list(known())) from None
    return network


def _unknown(library: str, model: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(model, known, 3)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return ConfigError(f"extract: {library} has no model {model}{meant}")


def _cut(network: nn.Module, library: str, model: str, layers: Sequence[str]) -> nn.Module:
    # timm knows which of its modules must not be followed.
    tracing = import_module("timm.layers" if library == "timm" else "torchvision.models.feature_extraction")
    modules = dict(network.named_modules())
    try:
        with quiet():
            known = tracing.get_graph_node_names(network)[1]
            reached = {name for node in known for name in _and_parents(node)}
            wrong = next((name for name in layers if name not in reached), None)
            cut = None if wrong else tracing.create_feature_extractor(network, {name: name for name in layers})
    except Exception as error:  # torch.fx says in many ways that a network's control flow cannot be followed
        raise ConfigError(
            f"extract: the layers of {model} cannot be read one by one ({type(error).__name__}); leave layers empty"
        ) from None
    if cut is None:
        named = [name for name in reached if name in modules] or known
        near = ", ".join(difflib.get_close_matches(str(wrong), named, 5, 0.3) or sorted(named)[:8])
        raise ConfigError(f"extract: {model} has no layer {wrong}; near it are {near}")
    return _kept_apart(cut.eval())


def _and_parents(node: str) -> list[str]:
    parts = node.split(".")
    return [".".join(parts[: depth + 1]) for depth in range(len(parts))]


def _kept_apart(cut: fx.GraphModule) -> nn.Module:
    """A cut network whose layers are copied before what follows them may change them in place, as a ReLU does."""
    (output,) = [node for node in cut.graph.nodes if node.op == "output"]
    copies = {}
    for name, node in output.args[0].items():
        with cut.graph.inserting_after(node):
            copies[name] = cut.graph.call_method("clone", (node,)) if len(node.users) > 1 else node
    output.args = (copies,)
    return fx.GraphModule(cut, cut.graph).eval()


def _without_classifier(network: nn.Module, model: str) -> nn.Module:
    """The network with its last linear layer, the classifier, taken out."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(f"extract: torchvision's {model} ends in no linear classifier; name the layer to read")
    parent, _, last = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return network
