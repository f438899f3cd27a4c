from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, ViTForImageClassification

from pipeline.config import Config
from pipeline.encoders import Encoder, Text, make
from pipeline.errors import ConfigError, WeightsError
from tests import checkpoints
from tests.pictures import ODD, png

TEXTS = ["a sleeve with the sea on it", "loud", "one two three"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: checkpoints.write(family, tmp_path_factory.mktemp(family)) for family in checkpoints.PROCESSORS}


def loaded(folder: Path, **more: object) -> Encoder:
    image = {"encoder": "transformers", "weights": f"path:{folder}", **more}
    encoder = make(Config.model_validate({"extract": {"image": image}}), "image")
    encoder.load()
    return encoder


def vectors(encoder: Encoder, pictures: list[Image.Image]) -> np.ndarray:
    return encoder.embed([encoder.decode(png(one)) for one in pictures])


# What `auto` takes: the joint space, else the pooled output, else the first token.
@pytest.mark.parametrize("family", ["clip", "siglip", "dinov2", "vit"])
@pytest.mark.parametrize("pooling", ["auto", "cls", "mean"])
def test_a_vector_is_what_the_model_gives_for_what_its_processor_gives(
    folders: dict[str, Path], family: str, pooling: str
) -> None:
    ours = vectors(loaded(folders[family], pooling=pooling), ODD)
    processor, network = AutoImageProcessor.from_pretrained(folders[family]), AutoModel.from_pretrained(folders[family])
    # The processor scales a picture far longer than wide as any other: one at a time, since sizes differ.
    pixels = torch.cat([processor(images=one, return_tensors="pt")["pixel_values"] for one in ODD])
    with torch.inference_mode():
        if pooling == "auto" and family in ("clip", "siglip"):
            theirs = network.get_image_features(pixel_values=pixels).pooler_output
        else:
            found = getattr(network, "vision_model", network)(pixel_values=pixels)
            hidden = found.last_hidden_state
            theirs = {"auto": found.pooler_output, "cls": hidden[:, 0], "mean": hidden.mean(1)}[pooling]
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))
    assert np.ptp(ours, axis=0).max() > 0.05


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("pooling", ["joint", "auto"])
def test_texts_and_pictures_of_a_joint_model_lie_in_one_space(
    folders: dict[str, Path], family: str, pooling: str
) -> None:
    pictures = loaded(folders[family], pooling=pooling)
    settings = {"weights": f"path:{folders[family]}", "pooling": pooling, "template": "{text}"}
    texts = make(Config.model_validate({"extract": {"text": settings}}), "text")
    texts.load()
    assert pictures.space == texts.space != ""
    assert pictures.width == texts.width
    left = texts.embed([texts.decode(Text({"text": text})) for text in TEXTS])
    right = vectors(pictures, ODD)
    cosines = (left / np.linalg.norm(left, axis=1)[:, None]) @ (right / np.linalg.norm(right, axis=1)[:, None]).T

    network = AutoModel.from_pretrained(folders[family]).eval()
    processor, tokenizer = (
        AutoImageProcessor.from_pretrained(folders[family]),
        AutoTokenizer.from_pretrained(folders[family]),
    )
    padding = {"padding": "max_length", "max_length": 24} if family == "siglip" else {"padding": True}
    tokens = tokenizer(TEXTS, truncation=True, return_tensors="pt", **padding)
    mask = {} if family == "siglip" else {"attention_mask": tokens["attention_mask"]}
    pixels = torch.cat([processor(images=one, return_tensors="pt")["pixel_values"] for one in ODD])
    with torch.inference_mode():
        logits = network(input_ids=tokens["input_ids"], pixel_values=pixels, **mask).logits_per_text
        bias = getattr(network, "logit_bias", torch.zeros(1))
        theirs = ((logits - bias) / network.logit_scale.exp()).numpy()
    np.testing.assert_allclose(cosines, theirs, atol=1e-4)


def test_a_vision_model_alone_names_no_space_and_refuses_joint_pooling(folders: dict[str, Path]) -> None:
    assert loaded(folders["vit"]).space == ""
    assert loaded(folders["clip"], pooling="mean").space == ""
    with pytest.raises(ConfigError, match=r"extract\.image\.pooling: .* has no joint space; choose cls or mean"):
        loaded(folders["dinov2"], pooling="joint")


def test_a_checkpoint_without_a_pooler_gives_its_first_token_every_time(tmp_path: Path) -> None:
    folder = checkpoints.write("vit", tmp_path)
    expected = vectors(loaded(folder, pooling="cls"), ODD)
    network = ViTForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder)
    np.testing.assert_allclose(vectors(loaded(folder), ODD), expected, atol=1e-6)


def test_views_give_the_mean_over_them(folders: dict[str, Path]) -> None:
    plain = vectors(loaded(folders["vit"]), [ODD[0], ImageOps.mirror(ODD[0])])
    flipped = vectors(loaded(folders["vit"], views="flip"), ODD[:2])
    np.testing.assert_allclose(flipped[0], plain.mean(0), atol=1e-5)


def test_a_picture_thinner_than_any_photograph_is_encoded_in_bounded_memory(folders: dict[str, Path]) -> None:
    encoder = loaded(folders["clip"])
    for size in ((1, 1), (1, 65_535), (65_535, 1), (3, 3)):
        (part,) = encoder.decode(png(Image.new("RGB", size, "teal")))
        assert part.shape == (3, 32, 32)


def test_a_folder_without_an_image_processor_is_one_sentence(tmp_path: Path) -> None:
    folder = checkpoints.write("vit", tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="no image processor of transformers there") as caught:
        loaded(folder)
    assert "\n" not in str(caught.value)
