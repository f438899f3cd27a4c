from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from pipeline.config import Config, ImageEncoder, TextEncoder
from pipeline.encoders import make
from pipeline.encoders.base import Text
from pipeline.encoders.weights import check, locate
from pipeline.errors import ConfigError, MediaError, WeightsError

TEXTS = ["A quiet record about the sea.", "Loud", "word " * 400]


def text(words: str, title: str = "T") -> Text:
    return Text({"title": title, "text": words})


def test_text_vectors_are_those_of_transformers_itself() -> None:
    encoder = make(Config(), "text")
    encoder.load()
    ours = encoder.embed([encoder.decode(text(words)) for words in TEXTS])
    folder = locate(TextEncoder())
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for row, words in enumerate(TEXTS):
        tokens = tokenizer(f"T. {words.strip()}", truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            theirs = network(**tokens).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(ours[row], theirs, atol=1e-5)


def test_a_template_names_its_columns_and_a_blank_text_is_missing() -> None:
    encoder = make(Config(), "text")
    with pytest.raises(MediaError, match="no text"):
        encoder.render(text("  "))
    odd = make(Config.model_validate({"extract": {"text": {"template": "{colour}"}}}), "text")
    with pytest.raises(ConfigError, match=r"extract\.text\.template names 'colour'.*title, text"):
        odd.render(text("x"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small transformers model with its tokenizer, as a local folder."""
    BertModel(
        BertConfig(vocab_size=30_522, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(locate(TextEncoder())).save_pretrained(tmp_path)
    return tmp_path


def test_a_local_folder_works_as_a_package_does(folder: Path) -> None:
    encoder = make(Config.model_validate({"extract": {"text": {"weights": f"path:{folder}"}}}), "text")
    encoder.load()
    assert encoder.embed([encoder.decode(text("x"))]).shape == (1, 16)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_another_tokenizer_beside_the_same_weights_is_another_encoder(folder: Path, name: str) -> None:
    config = Config.model_validate({"extract": {"text": {"weights": f"path:{folder}"}}})
    before = make(config, "text").key
    (folder / "README.md").write_text("says nothing of the vectors")
    assert make(config, "text").key == before
    (folder / name).write_text((folder / name).read_text() + " ")
    assert make(config, "text").key != before


def test_a_vector_does_not_depend_on_its_batch() -> None:
    generator = np.random.default_rng(0)
    words = [" ".join(["sea", "noise", "quiet"][i] for i in generator.integers(0, 3, n)) for n in range(1, 33)]
    pictures = [Image.fromarray(generator.integers(0, 255, (240, 240, 3), dtype=np.uint8)) for _ in range(32)]
    files = [io.BytesIO() for _ in pictures]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file, "PNG")
    for modality, raws in (("text", [text(w) for w in words]), ("image", [f.getvalue() for f in files])):
        encoder = make(Config(), modality)
        encoder.load()
        inputs = [encoder.decode(raw) for raw in raws]
        together = encoder.embed(inputs)
        alone = np.concatenate([encoder.embed([one]) for one in inputs])
        unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (together, alone)]
        np.testing.assert_allclose(*unit, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("path:/nowhere", "does not exist"),
        ("package:no_such_package/model", "package no_such_package is not installed"),
        ("package:timm/no_such_file", "timm is installed but holds no no_such_file"),
        ("nobody/no-such-model", "give the folder as path:FOLDER"),
    ],
)
def test_weights_that_are_not_there_are_one_sentence(weights: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=said) as caught:
        make(Config.model_validate({"extract": {"text": {"weights": weights}}}), "text")
    assert "\n" not in str(caught.value)


def test_weights_of_another_digest_are_refused() -> None:
    settings = ImageEncoder(sha256="0" * 64)
    with pytest.raises(WeightsError, match="expected 0000"):
        check(settings, locate(settings))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Trap()}, tmp_path / "trap.pth")
    settings = {"extract": {"image": {"weights": f"path:{tmp_path / 'trap.pth'}"}}}
    encoder = make(Config.model_validate(settings), "image")
    with pytest.raises(WeightsError, match="not safetensors or a plain state dict"):
        encoder.load()
    assert not (tmp_path / "ran").exists()


def test_image_vectors_are_those_of_timm_on_the_centre_crop() -> None:
    encoder = make(Config(), "image")
    encoder.load()
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    ours = encoder.embed([encoder.decode(buffer.getvalue())])[0]
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    tensors = torch.load(locate(ImageEncoder()), weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
    crop = np.asarray(picture, dtype=np.float32)[16:240, 16:240] / 255
    pixels = torch.from_numpy(((crop - 0.498) / 0.502).transpose(2, 0, 1).astype(np.float32))[None]
    with torch.inference_mode():
        theirs = network.forward_head(network.forward_features(pixels), pre_logits=True)[0].numpy()
    assert float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)) > 0.999


def test_pictures_of_any_shape_give_one_size() -> None:
    encoder = make(Config(), "image")
    encoder.load()
    for size in ((1, 1), (3, 4000), (4000, 3), (500, 333)):
        buffer = io.BytesIO()
        Image.new("RGB", size, "teal").save(buffer, "PNG")
        assert encoder.decode(buffer.getvalue()).shape == (3, 224, 224)
