from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config import Config
from pipeline.encoders import Prepared, Text, make
from pipeline.encoders.engine import engine_selection as choosing
from pipeline.encoders.engine import engines, sensitivity
from pipeline.encoders.engine.engine_selection import Trial, best_of, choose, describe
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.errors import StepFailed, WeightsError
from tests import checkpoints
from tests.pictures import picture, png

WORDS = ["sea", "loud", "quiet", "a record", "of waves", "brass", "drums and", "the night"]


def text_encoder(folder: Path | None = None, prepared: Prepared | None = None, **more: object) -> NetworkEncoder:
    where = {"weights": f"path:{folder}"} if folder else {}
    config = Config.model_validate({"extract": {"text": {"template": "{text}", "max_tokens": 64, **where, **more}}})
    return _loaded(config, "text", prepared)


def image_encoder(prepared: Prepared | None = None, **more: object) -> NetworkEncoder:
    return _loaded(Config.model_validate({"extract": {"image": {"batch_rows": 4, **more}}}), "image", prepared)


def _loaded(config: Config, modality: str, prepared: Prepared | None) -> NetworkEncoder:
    encoder = make(config, modality, prepared)  # type: ignore[arg-type]
    assert isinstance(encoder, NetworkEncoder)
    encoder.load()
    return encoder


def sentences(count: int, seed: int = 0) -> list[Text]:
    rng = np.random.default_rng(seed)
    return [Text({"text": " ".join(rng.choice(WORDS, rng.integers(1, 9)))}) for _ in range(count)]


def inputs_of(encoder: NetworkEncoder, count: int = 24) -> list[list[np.ndarray]]:
    if type(encoder).__name__ == "TransformerTextEncoder":
        return [encoder.decode(one) for one in sentences(count)]
    return [encoder.decode(png(picture(250, 230 + seed, seed))) for seed in range(count)]


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def with_engine(encoder: NetworkEncoder, prepared: Prepared) -> NetworkEncoder:
    encoder.use(engines.make(prepared, encoder.network, encoder.collate(encoder.examples())))
    return encoder


@pytest.mark.parametrize("family", sorted(checkpoints.FRAMES))
def test_openvino_gives_torchs_vectors_for_texts_of_any_length_and_number(family: str, tmp_path: Path) -> None:
    encoder = text_encoder(checkpoints.write(family, tmp_path))
    inputs = inputs_of(encoder)
    expected = encoder.embed(inputs)
    with_engine(encoder, Prepared(engine="openvino"))
    assert len({len(parts[0]) for parts in inputs}) > 5
    scale = np.abs(expected).max()
    np.testing.assert_allclose(encoder.embed(inputs), expected, atol=1e-4 * scale)
    np.testing.assert_allclose(encoder.embed(inputs[:1]), expected[:1], atol=1e-4 * scale)


def test_openvino_gives_torchs_vectors_for_any_number_of_pictures() -> None:
    encoder = image_encoder()
    inputs = inputs_of(encoder, 7)
    expected = encoder.embed(inputs)
    with_engine(encoder, Prepared(engine="openvino"))
    np.testing.assert_allclose(encoder.embed(inputs), expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(encoder.embed(inputs[:1]), expected[:1], atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_bf16_keeps_the_direction(engine: str, tmp_path: Path) -> None:
    for encoder in (text_encoder(), image_encoder()):
        inputs = inputs_of(encoder, 6)
        expected = encoder.embed(inputs)
        found = with_engine(encoder, Prepared(engine=engine, precision="bf16")).embed(inputs)
        assert found.dtype == np.float32
        assert cosines(found, expected).mean() > 0.999


def test_int8_that_was_written_is_read_back_and_gives_the_same_vectors(tmp_path: Path) -> None:
    encoder = image_encoder()
    inputs = inputs_of(encoder, 8)
    exact = encoder.embed(inputs)
    model = engines.to_openvino(encoder.network, encoder.collate(encoder.examples()))
    batches = [encoder.collate([one[0] for one in inputs[at : at + 4]]) for at in (0, 4)]
    quantised = engines.quantise(model, batches, encoder.transformer)
    encoder.use(engines.openvino_engine(quantised, "int8"))
    expected = encoder.embed(inputs)
    assert 0.9 < cosines(expected, exact).mean() < 0.99999
    engines.save_quantised(quantised, tmp_path)
    again = image_encoder(Prepared(tmp_path, engine="openvino", precision="int8"))
    np.testing.assert_allclose(again.embed(inputs), expected, atol=1e-4 * np.abs(expected).max())


def test_an_int8_network_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"calibrated int8 network is gone; run the night with --full"):
        image_encoder(Prepared(tmp_path, engine="openvino", precision="int8"))


def test_a_small_catalogue_stays_with_torch_and_loads_no_other_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = text_encoder(checkpoints.write("bert", tmp_path / "weights"))
    sample = inputs_of(encoder)
    used: list[str] = []
    for name in ("to_openvino", "openvino_engine", "quantise"):
        monkeypatch.setattr(engines, name, lambda *_, name=name: used.append(name))
    chosen, trials = choose(encoder, sample, rows=100)
    assert (chosen.engine, chosen.precision, trials, used) == ("torch", "fp32", [], [])


def test_a_large_catalogue_takes_the_fastest_trial_that_keeps_the_cosine(tmp_path: Path) -> None:
    folder = tmp_path / "fitted"
    folder.mkdir()
    encoder = text_encoder(checkpoints.write("bert", tmp_path / "weights"), Prepared(folder), auto_above_seconds=0)
    chosen, trials = choose(encoder, inputs_of(encoder), rows=1000)
    tried = {(trial.engine, trial.precision) for trial in trials}
    assert {("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8")} <= tried
    best = best_of(encoder.settings, trials)
    assert (chosen.engine, chosen.precision) == (best.engine, best.precision)
    assert best.cosine >= encoder.settings.min_cosine
    assert (folder / engines.QUANTISED).exists() == (chosen.precision == "int8")
    assert [trial["engine"] for trial in describe(trials)] == [trial.engine for trial in trials]


def test_among_trials_speed_decides_unless_it_is_noise_or_costs_the_cosine() -> None:
    exact = Trial("torch", "fp32", 100, 1, 1)
    settings = text_encoder_settings()
    noise, faster = Trial("openvino", "fp32", 105, 0.9999999, 1), Trial("openvino", "bf16", 250, 0.9995, 0.99)
    wrong = Trial("openvino", "int8", 900, 0.9985, 0.99)
    assert best_of(settings, [exact, noise]) == exact
    assert best_of(settings, [exact, noise, faster, wrong]) == faster
    assert best_of(text_encoder_settings(engine="openvino", precision="fp32"), [exact, noise, faster]) == noise
    with pytest.raises(StepFailed, match=r"no engine here runs torch in int8"):
        best_of(text_encoder_settings(engine="torch", precision="int8"), [exact, wrong])


def text_encoder_settings(**more: object):  # type: ignore[no-untyped-def]
    return Config.model_validate({"extract": {"text": more}}).extract.text


def test_a_demanded_int8_that_loses_too_much_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "ALLOWED", (1.0,))
    demanded = {"precision": "int8", "min_cosine": 1.0}
    encoder = text_encoder(checkpoints.write("bert", tmp_path / "weights"), Prepared(tmp_path), **demanded)
    with pytest.raises(StepFailed, match=r"in int8 keeps a mean cosine of [01]\.\d+ to fp32, below min_cos") as caught:
        choose(encoder, inputs_of(encoder), rows=1000)
    assert "\n" not in str(caught.value)


class Untraceable(nn.Module):
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.linalg.matrix_exp(ids.float().mean(1)[:, None, None].expand(-1, 2, 2) / 999).flatten(1)


def test_a_network_that_another_engine_cannot_run_stays_with_torch(tmp_path: Path) -> None:
    encoder = text_encoder(checkpoints.write("bert", tmp_path / "weights"), Prepared(tmp_path), auto_above_seconds=0)
    encoder.network = Untraceable()
    chosen, trials = choose(encoder, inputs_of(encoder), rows=1000)
    assert chosen.engine == "torch"
    assert {trial.engine for trial in trials} == {"torch"}


@pytest.mark.slow
@pytest.mark.skipif(
    "vnni" not in Path("/proc/cpuinfo").read_text("utf-8"),
    reason="without VNNI, products of bytes are saturated at 16 bits: int8 keeps less of the cosine than is asked",
)
def test_int8_keeps_the_layers_in_fp32_that_the_cosine_takes(tmp_path: Path) -> None:
    encoder = text_encoder(None, Prepared(tmp_path), precision="int8", min_cosine=0.999)
    sample = inputs_of(encoder, 32)
    exact = encoder.embed(sample)
    chosen, trials = choose(encoder, sample, rows=100_000)
    (int8,) = [trial for trial in trials if trial.precision == "int8"]
    assert chosen.precision == "int8"
    assert int8.cosine >= 0.999
    linear = sum(isinstance(module, nn.Linear) for module in encoder.network.modules())
    assert 0 < int8.kept < linear
    again = text_encoder(None, chosen, precision="int8", min_cosine=0.999)
    held_out = cosines(again.embed(sample), exact)[1::2]
    assert held_out.mean() == pytest.approx(int8.cosine, abs=1e-4)


def test_every_convolution_is_found_by_its_layer_though_its_normalisation_was_folded_into_it() -> None:
    encoder = make(Config(), "image")
    assert isinstance(encoder, NetworkEncoder)
    encoder.load()
    model = engines.to_openvino(encoder.network, encoder.collate(encoder.examples()))
    layers = [name for name, module in encoder.network.named_modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == 49
    assert len({name for layer in layers for name in engines.operations_of(model, [layer])}) == len(layers)


def test_precision_and_its_cosine_enter_the_key_and_the_engine_does_not(tmp_path: Path) -> None:
    encoder = text_encoder(checkpoints.write("bert", tmp_path))

    def key(**more: object) -> str:
        encoder.prepared = replace(Prepared(tmp_path), **more)  # type: ignore[arg-type]
        return encoder.key

    assert key() == key(engine="openvino") == key(engine="torch_compile")
    assert key(precision="bf16", cosine=0.9999) == key(precision="bf16", cosine=0.9999, engine="openvino")
    assert len({key(), key(precision="bf16", cosine=0.9999), key(precision="bf16", cosine=0.9998)}) == 3
    assert len({key(), key(fitted="a"), key(precision="int8", cosine=0.9999)}) == 3


def test_how_a_network_is_run_does_not_enter_its_key(tmp_path: Path) -> None:
    folder = checkpoints.write("bert", tmp_path)
    plain = text_encoder(folder).key
    running = {"batch_tokens": 99, "min_cosine": 0.5, "auto_above_seconds": 1, "max_error_rate": 0.9}
    assert text_encoder(folder, None, **running).key == plain
    assert text_encoder(folder, None, max_tokens=63).key != plain


class Outlier(nn.Module):
    """Three layers, of which the second sees one value far beyond the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(values))
        loud = torch.cat([hidden[:, :-1], hidden[:, -1:] + 3000], dim=1)
        return self.third(torch.tanh(self.second(loud) - 3000 * self.second.weight[:, -1]))


def test_the_layer_with_an_outlier_at_its_input_is_the_most_sensitive_and_is_kept_first() -> None:
    network = Outlier()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    values = np.random.default_rng(0).standard_normal((3, 8, 16)).astype(np.float32)
    losses = sensitivity.losses(network, [(one,) for one in values])
    assert set(losses) == {"first", "second", "third"}
    assert losses["second"] > 20 * max(losses["first"], losses["third"])
    assert sensitivity.least_kept(losses, losses["first"] + losses["third"] + 1e-9) == 1
    assert sensitivity.least_kept(losses, sum(losses.values()) + 1e-9) == 0
    assert sensitivity.least_kept(losses, 0) == len(losses)
    # What was simulated leaves nothing behind.
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_the_operations_of_a_layer_are_those_of_that_layer_alone(tmp_path: Path) -> None:
    encoder = text_encoder(checkpoints.write("bert", tmp_path))
    model = engines.to_openvino(encoder.network, encoder.collate(encoder.examples()))
    layers = [name for name, module in encoder.network.named_modules() if isinstance(module, nn.Linear)]
    names = {layer: engines.operations_of(model, [layer]) for layer in layers if "pooler" not in layer}
    assert all(len(found) == 1 for found in names.values())
    assert len({found[0] for found in names.values()}) == len(names)
