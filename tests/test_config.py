from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, Modality, kinds_of, leaves, load
from pipeline.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "medley.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extract: {image: {batchrows: 2}}", r"unknown key extract\.image\.batchrows; allowed here: .*batch_rows"),
        ("extract: {text: {encoder: magic}}", r"extract\.text\.encoder: choose one of 'transformer'.*found 'magic'"),
        (
            "extract: {text: {encoder: tfidf, pooling: max}}",
            r"unknown key extract\.text\.pooling; allowed here: .*ngrams",
        ),
        ("extract: {text: {adapt: {rnk: 3}}}", r"unknown key extract\.text\.adapt\.rnk; allowed here: .*rank"),
        ("extract: {audio: {encoder: own}}", r"extract\.audio\.entry_point: Field required"),
        ("trian: {}", r"unknown key trian; allowed here: .*train"),
        ("train: {width: wide}", r"train\.width: .*found 'wide'"),
        ("train: {model: magic}", r"train\.model: .*'content', 'two_tower', .* or 'blend'"),
        ("ingest: {test_share: 2}", r"ingest\.test_share: .*less than or equal to 1"),
        ("a: [", "not YAML"),
        ("- a\n- b", "expected keys and values"),
    ],
)
def test_a_wrong_file_names_the_path_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_missing_file_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the path of a medley"):
        load(tmp_path / "none.yaml")


def test_an_override_goes_over_the_file_and_keeps_its_neighbours(tmp_path: Path) -> None:
    path = written(tmp_path, "train: {width: 32, max_epochs: 7}")
    config = load(path, ("train.width=16", "extract.audio=null"))
    assert (config.train.width, config.train.max_epochs, config.extract.audio) == (16, 7, None)
    with pytest.raises(ConfigError, match=r"write it as key\.path=value"):
        load(path, ("train.width",))


def test_paths_start_at_the_file_and_overridden_ones_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "items.sql").write_text("select 1")
    path = written(tmp_path, "source: {items: items.sql, params: {root: data}}")
    monkeypatch.chdir("/")
    config = load(path)
    assert config.workspace == str(tmp_path / "workspace")
    assert config.source.params["root"] == str(tmp_path / "data")
    assert config.source.items == str(tmp_path / "items.sql")
    assert load(path, ("workspace=w",)).workspace == "/w"


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_every_kind_of_encoder_is_chosen_by_one_line_and_lists_its_own_settings(modality: Modality) -> None:
    for kind, model in kinds_of(modality).items():
        settings = {"encoder": kind, **{"own": {"entry_point": "mine"}, "array": {"file": "a.npy"}}.get(kind, {})}
        config = Config.model_validate({"extract": {modality: settings}})
        assert type(getattr(config.extract, modality)) is model
        found = dict(leaves(config))
        assert found[f"extract.{modality}.encoder"]["enum"] == list(kinds_of(modality))
        assert {f"extract.{modality}.{name}" for name in model.model_fields if name != "adapt"} <= set(found)
        assert Config.model_validate(config.model_dump(mode="json")) == config


def test_weights_of_a_relative_path_start_at_the_file_and_overridden_ones_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(written(tmp_path, "extract: {text: {weights: 'path:models/mini'}}"))
    assert config.extract.text.weights == f"path:{tmp_path}/models/mini"  # type: ignore[union-attr]
    monkeypatch.chdir("/")
    given = load(written(tmp_path, ""), ("extract.text.weights=path:models/mini",))
    assert given.extract.text.weights == "path:/models/mini"  # type: ignore[union-attr]


def test_every_setting_has_a_path_a_type_and_its_default() -> None:
    found = dict(leaves())
    assert found["train.width"]["default"] == Config().train.width
    assert found["extract.text.pooling"]["default"] == "auto"
    assert {"mean", "max", "cls", "last", "attention", "joint"} < set(found["extract.text.pooling"]["enum"])
    assert all("type" in schema or "enum" in schema or "const" in schema for schema in found.values())
