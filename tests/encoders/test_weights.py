from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.config.shared import LITE0
from pipeline.encoders import Text, make
from pipeline.encoders.weights import check, files_of, locate
from pipeline.errors import ConfigError, MediaError, WeightsError
from tests import checkpoints


def text(words: str, title: str = "T") -> Text:
    return Text({"title": title, "text": words})


def test_a_template_names_its_columns_a_title_may_stand_alone_and_a_blank_text_is_missing() -> None:
    encoder = make(Config(), "text")
    assert encoder.render(text("words")) == "T. words"
    assert encoder.render(text("  ")) == "T"
    with pytest.raises(MediaError, match="no text"):
        encoder.render(text("  ", title=" "))
    odd = make(Config.model_validate({"extract": {"text": {"template": "{colour}"}}}), "text")
    with pytest.raises(ConfigError, match=r"extract\.text\.template names 'colour'.*title, text"):
        odd.render(text("x"))


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_another_tokenizer_beside_the_same_weights_is_another_encoder(tmp_path: Path, name: str) -> None:
    folder = checkpoints.write("bert", tmp_path)
    config = Config.model_validate({"extract": {"text": {"weights": f"path:{folder}"}}})
    before = make(config, "text").key
    (folder / "README.md").write_text("says nothing of the vectors")
    assert make(config, "text").key == before
    (folder / name).write_text((folder / name).read_text() + " ")
    assert make(config, "text").key != before


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("path:/nowhere", "does not exist"),
        ("package:no_such_package/model", "package no_such_package is not installed"),
        ("package:timm/no_such_file", "timm is installed but holds no no_such_file"),
        (f"nobody/no-such-model@{40 * '0'}", "give the folder as path:FOLDER"),
    ],
)
def test_weights_that_are_not_there_are_one_sentence(weights: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=said) as caught:
        make(Config.model_validate({"extract": {"text": {"weights": weights}}}), "text")
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"the folder holds none of model\.safetensors"):
        files_of(tmp_path)
    with pytest.raises(WeightsError, match=r"the folder holds no a\.gguf"):
        files_of(tmp_path, "a.gguf")


def test_weights_of_another_digest_are_refused() -> None:
    with pytest.raises(WeightsError, match="expected 0000"):
        check(LITE0, locate(LITE0), "0" * 64)
    assert check(LITE0, locate(LITE0)) == check(LITE0, locate(LITE0))
