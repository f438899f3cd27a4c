from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image, ImageOps
from timm.data import create_transform, resolve_data_config
from torch import nn

from pipeline.config import Config
from pipeline.encoders import Encoder, make
from pipeline.encoders.image.backbones import Normalised, build_backbone, statistics_of
from pipeline.encoders.image.kinds.timm import BackboneEncoder
from pipeline.encoders.weights import locate
from pipeline.errors import ConfigError, WeightsError
from tests.pictures import ODD, picture, png

LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("vgg11", "convnext_tiny", "vit_b_16")]
NETWORKS = ["resnet18", "inception_v3", "efficientnet_b0", "swin_t", *LARGE]


def settings(model: str, folder: Path, **more: object) -> Config:
    image = {"encoder": "torchvision", "model": model, "weights": f"path:{folder / model}.pth", **more}
    return Config.model_validate({"extract": {"image": image}})


def written(model: str, folder: Path) -> nn.Module:
    """A network of torchvision with random weights, saved as a state dict, as it stands with published weights."""
    torch.manual_seed(3)
    inception = model == "inception_v3"
    more = {"transform_input": True, "init_weights": False} if inception else {}
    network = torchvision.models.get_model(model, weights=None, **more).eval()
    torch.save(network.state_dict(), folder / f"{model}.pth")
    return network


def loaded(config: Config) -> BackboneEncoder:
    encoder = make(config, "image")
    assert isinstance(encoder, BackboneEncoder)
    encoder.load()
    return encoder


def vectors(encoder: Encoder, pictures: list[Image.Image]) -> np.ndarray:
    return encoder.embed([encoder.decode(png(one)) for one in pictures])


def seen_by(network: nn.Module, names: list[str], pixels: torch.Tensor) -> list[torch.Tensor]:
    """What each named module gives in one forward pass of the whole network."""
    found: dict[str, torch.Tensor] = {}
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: found.__setitem__(name, output.clone())
        )
    with torch.inference_mode():
        network(pixels)
    return [found[name] for name in names]


def close(ours: np.ndarray, theirs: torch.Tensor) -> None:
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("model", NETWORKS)
def test_a_vector_is_what_torchvision_has_before_its_classifier(model: str, tmp_path: Path) -> None:
    network = written(model, tmp_path)
    ours = vectors(loaded(settings(model, tmp_path)), ODD)
    prepare = torchvision.models.get_model_weights(model).DEFAULT.transforms()
    classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    theirs: list[torch.Tensor] = []
    classifier.register_forward_pre_hook(lambda _, inputs: theirs.append(inputs[0]))
    with torch.inference_mode():
        network(torch.stack([prepare(one) for one in ODD]))
    close(ours, theirs[0])


def _channels(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean((2, 3)) if maps.ndim == 4 else maps


LAYERS = [
    # In an order other than the network's; what follows bn1 and layer1.0.bn2 changes them in place.
    ("resnet18", ["layer2", "bn1", "layer1.0.bn2", "avgpool"], _channels),
    # Channels last.
    ("swin_t", ["features.1", "features.5.3"], lambda maps: maps.mean((1, 2))),
    pytest.param("vgg11", ["features.8", "features.0"], _channels, marks=pytest.mark.slow),
    pytest.param("vit_b_16", ["encoder.layers.encoder_layer_1"], lambda t: t.mean(1), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("model", "layers", "averaged"), LAYERS)
def test_each_layer_that_is_asked_for_gives_its_own_output_in_the_order_asked(
    model: str, layers: list[str], averaged: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    network = written(model, tmp_path)
    prepare = torchvision.models.get_model_weights(model).DEFAULT.transforms()
    theirs = seen_by(network, layers, torch.stack([prepare(one) for one in ODD[:2]]))
    close(vectors(loaded(settings(model, tmp_path, layers=layers)), ODD[:2]), torch.cat([*map(averaged, theirs)], 1))
    flat = vectors(loaded(settings(model, tmp_path, layers=layers, feature_map="flatten")), ODD[:2])
    close(flat, torch.cat([one.flatten(1) for one in theirs], 1))


def test_nothing_after_the_last_layer_is_computed_or_kept() -> None:
    network = build_backbone("torchvision", "resnet18", None, ["layer1"])
    assert {name.split(".")[1] for name, _ in network.named_parameters()} == {"conv1", "bn1", "layer1"}
    called: list[str] = []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _module, _inputs, _output, name=name: called.append(name))
    network(torch.zeros(1, 3, 64, 64))
    assert "cut.layer1.1.bn2" in called
    assert not [name for name in called if "layer2" in name or "fc" in name]


def test_timm_with_its_packaged_weights_gives_what_timm_gives() -> None:
    ours = vectors(loaded(Config()), ODD)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000).eval()
    tensors = torch.load(locate(Config().extract.image.weights), weights_only=True)  # type: ignore[union-attr]
    network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
    prepare = create_transform(**resolve_data_config({}, model=network))
    with torch.inference_mode():
        pixels = torch.stack([prepare(one) for one in ODD])
        close(ours, network.forward_head(network.forward_features(pixels), pre_logits=True))


# The three ways in which published networks of timm take a picture, at their own sizes.
@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "dm_nfnet_f0", "tf_efficientnet_b1"])
def test_pixels_are_those_of_timms_own_transform(model: str) -> None:
    prepare = create_transform(**resolve_data_config({}, model=timm.create_model(model)))
    shape = statistics_of("timm", model)
    normalise = Normalised(nn.Identity(), shape, flatten=True)
    for one in ODD:
        pixels = torch.from_numpy(shape.apply(one).copy())[None]
        np.testing.assert_allclose(normalise(pixels)[0], prepare(one).flatten(), atol=1e-4)


def test_a_very_long_picture_is_cut_as_torchvision_cuts_it_without_being_resized_whole() -> None:
    shape = statistics_of("torchvision", "resnet18")
    prepare = torchvision.models.get_model_weights("resnet18").DEFAULT.transforms()
    normalise = Normalised(nn.Identity(), shape, flatten=True)
    long = picture(1500, 80)
    pixels = torch.from_numpy(shape.apply(long).copy())[None]
    # One step of 256 in a few pixels.
    difference = (normalise(pixels)[0] - prepare(long).flatten()).abs()
    assert float(difference.max()) < 2.5 / 255 / 0.22
    assert float(difference.mean()) < 1e-3
    for size in ((1, 1), (1, 30_000), (30_000, 1)):
        assert shape.apply(Image.new("RGB", size, "teal")).shape == (224, 224, 3)


def test_views_give_the_mean_over_them() -> None:
    def encoder(views: str) -> BackboneEncoder:
        return loaded(Config.model_validate({"extract": {"image": {"views": views}}}))

    one = picture(240, 160, 5)
    crops = [
        one.crop((left, top, left + 210, top + 140)) for left, top in ((0, 0), (30, 0), (0, 20), (30, 20), (15, 10))
    ]
    both = [view for crop in crops for view in (crop, ImageOps.mirror(crop))]
    plain = encoder("centre")
    mirrored = vectors(plain, [one, ImageOps.mirror(one)])
    assert np.abs(mirrored[0] - mirrored[1]).max() > 0.01
    # A second picture stands beside it: views of one must not be averaged into the other.
    np.testing.assert_allclose(vectors(encoder("flip"), [one, ODD[0]])[0], mirrored.mean(0), atol=1e-4)
    np.testing.assert_allclose(vectors(encoder("crops"), [one, ODD[0]])[0], vectors(plain, both).mean(0), atol=1e-4)


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    encoder = loaded(Config())
    inputs = [encoder.decode(png(picture(240, 240, seed))) for seed in range(16)]
    together = encoder.embed(inputs)
    alone = np.concatenate([encoder.embed([one]) for one in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.linalg.norm(alone, axis=1).max())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"model": "resnet81"}, r"torchvision has no model resnet81; did you mean resnet18"),
        ({"encoder": "timm", "model": "tf_efficientnet_light0"}, r"timm has no model tf_efficientnet_light0.*lite0"),
        ({"layers": ["layer9"]}, r"resnet18 has no layer layer9; near it are .*layer"),
        ({"layers": ["layer1", "layer"]}, r"resnet18 has no layer layer; near it are .*layer"),
        ({"preprocessing": "IMAGENET1K_V7"}, r"resnet18 has no weights IMAGENET1K_V7; it has IMAGENET1K_V1, DEFAULT"),
    ],
)
def test_a_wrong_name_is_one_sentence_with_the_near_ones(more: dict[str, object], said: str, tmp_path: Path) -> None:
    written("resnet18", tmp_path)
    image = {"encoder": "torchvision", "model": "resnet18", "weights": f"path:{tmp_path}/resnet18.pth", **more}
    if more.get("encoder") == "timm":
        image.pop("preprocessing", None)
    with pytest.raises(ConfigError, match=said) as caught:
        loaded(Config.model_validate({"extract": {"image": image}}))
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    written("resnet18", tmp_path).state_dict()
    state = torch.load(tmp_path / "resnet18.pth", weights_only=True)
    wrong = [
        {**state, "fc.weight": torch.zeros(7, 512)},
        {name: tensor for name, tensor in state.items() if name != "fc.bias"},
        {"state_dict": state, "epoch": 3},
        {f"module.{name}": torch.zeros(3) for name in state},
    ]
    for tensors in wrong:
        torch.save(tensors, tmp_path / "resnet18.pth")
        with pytest.raises(WeightsError, match=r"do not fit torchvision's resnet18|not a plain state dict") as caught:
            loaded(settings("resnet18", tmp_path))
        assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Trap()}, tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError, match="not safetensors or a plain state dict"):
        loaded(settings("resnet18", tmp_path))
    assert not (tmp_path / "ran").exists()


def test_torchvisions_own_weights_without_a_network_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    config = Config.model_validate({"extract": {"image": {"encoder": "torchvision", "model": "resnet18"}}})
    with pytest.raises(
        WeightsError, match=r"cannot be downloaded .*fetch resnet18-\w+\.pth elsewhere.* path:FILE"
    ) as e:
        make(config, "image")
    assert "\n" not in str(e.value)


def test_downloaded_weights_are_found_where_torchvision_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    written("resnet18", tmp_path)
    (tmp_path / "resnet18.pth").rename(kept / "resnet18-f37072fd.pth")
    config = {"encoder": "torchvision", "model": "resnet18", "weights": "torchvision:IMAGENET1K_V1"}
    encoder = loaded(Config.model_validate({"extract": {"image": config}}))
    assert vectors(encoder, ODD[:1]).shape == (1, 512)
