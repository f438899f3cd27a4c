from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Config, Modality, kinds_of, leaves, load
from pipeline.errors import ConfigError
from pipeline.recommend.models.als import AlsSettings
from pipeline.recommend.models.blend import BlendSettings
from pipeline.recommend.models.elsa import ElsaSettings
from pipeline.recommend.models.sequence import SequenceSettings


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "medley.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extract: {image: {batchrows: 2}}", r"unknown key extract\.image\.batchrows; allowed here: .*batch_rows"),
        (
            "extract: {text: {encoder: magic}}",
            r"extract\.text\.encoder: no encoder is called .magic",
        ),
        (
            "extract: {text: {encoder: tfidf, pooling: max}}",
            r"unknown key extract\.text\.pooling; allowed here: .*ngrams",
        ),
        ("extract: {text: {adapt: {rnk: 3}}}", r"unknown key extract\.text\.adapt\.rnk; allowed here: .*rank"),
        ("extract: {audio: {encoder: own}}", r"extract\.audio\.entry_point: Field required"),
        ("trian: {}", r"unknown key trian; allowed here: .*train"),
        ("train: {model: two_tower, width: wide}", r"train\.width: .*found 'wide'"),
        (
            "train: {width: 8}",
            r"unknown key train\.width; a setting of one model: name it, as in `train: .model: two_tower, wid",
        ),
        (
            "train: {model: magic}",
            r"train\.model: no model is called 'magic': there are als, auto, blend, bpr, .*, vbpr",
        ),
        ("train: {model: lightgnc}", r"train\.model: no model is called 'lightgnc': did you mean lightgcn\?"),
        ("train: {model: svd, width: 64}", r"unknown key train\.width; allowed here: model, .*widths"),
        ("train: {model: ease}", r"train: ease has no vectors to be published; it can stand in evaluate\.baselines"),
        (
            "train: {model: blend, members: [{model: als, factor: 8}]}",
            r"key train\.members\.0\.factor; .*factors",
        ),
        ("train: {members: [{model: blend}]}", r"train\.members: blend is made of members itself; name those"),
        ("train: {model: blend, members: [{model: als, processes: 2}]}", "als: processes is a setting of train itself"),
        ("evaluate: {baselines: [{model: als}, {model: als}]}", r"evaluate\.baselines: must name each model once"),
        ("publish: {gate: {baseline: graph}}", r"publish\.gate\.baseline graph is no model of evaluate\.baselines"),
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
    path = written(tmp_path, "train: {model: two_tower, width: 32, max_epochs: 7}")
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
    assert found["train.budget_minutes"]["default"] == 30
    assert found["extract.text.pooling"]["default"] == "auto"
    assert {"mean", "max", "cls", "last", "attention", "joint"} < set(found["extract.text.pooling"]["enum"])
    assert all("type" in schema or "enum" in schema or "const" in schema for schema in found.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {bpr: {width: 32}}", r"train\.bpr: write `train: \{model: bpr, width: 32\}` now"),
        ("train: {model: llm, llm: {rank: 4}}", r"train\.llm: write `train: \{model: llm, rank: 4\}` now"),
        ("train: {pairwise: {layers: 2}}", r"train\.pairwise: write .*\{model: lightgcn, layers: 2\}` now"),
        ("train: {model: blend, blend: {models: [als]}}", r"train\.blend: write .*members: \[\{model: two_tower\}"),
        (
            "evaluate: {als_factors: 32}",
            r"evaluate\.als_factors: write `\{model: als, factors: 32\}` in evaluate",
        ),
        ("evaluate: {popularity_half_life_days: [9]}", r"\{model: popularity, half_life_days: \[9\]\}"),
        ("ranker: {hidden: 32}", r"ranker: write `rerank: \{hidden: 32\}` now"),
    ],
)
def test_a_setting_of_an_earlier_version_is_told_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_another_model_by_override_leaves_the_settings_of_the_file_s_model(tmp_path: Path) -> None:
    path = written(tmp_path, "train: {model: sequence, width: 64, learning_rate: 0.1, processes: 2}")
    other = load(path, ("train.model=elsa", "train.neighbours=7")).train
    assert other.meaning() == {**ElsaSettings(neighbours=7).meaning()}
    assert other.processes == 2
    same = load(path, ("train.model=sequence",)).train
    assert same.meaning() == SequenceSettings(width=64, learning_rate=0.1).meaning()
    with pytest.raises(ConfigError, match=r"unknown key train\.width; allowed here: .*widths"):
        load(path, ("train.model=svd", "train.width=32"))


def test_an_override_reaches_into_a_list_of_models(tmp_path: Path) -> None:
    path = written(tmp_path, "train: {model: blend, members: [{model: svd}, {model: als, factors: 32}]}")
    config = load(path, ("train.members.1.iterations=3", "evaluate.baselines.5.factors=8"))
    assert config.evaluate.baselines[5].meaning() == AlsSettings(factors=8).meaning()
    assert isinstance(config.train, BlendSettings)
    assert config.train.members[1].meaning() == AlsSettings(factors=32, iterations=3).meaning()


def test_reading_a_configuration_imports_nothing_that_computes() -> None:
    code = "import sys; from pipeline.config import Config, leaves; list(leaves(Config())); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy", "pyarrow", "pandas", "faiss", "sklearn"} & set(modules)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("publish.gate.metric=ndcg@7",), r"metric: no night will measure ndcg@7: did you mean ndcg@5\? .* mrr@20"),
        (("evaluate.cutoffs=[5, 20]",), r"metric: no night will measure ndcg@10: did you mean ndcg@"),
        (("publish.gate.metric=ndgc@10",), "did you mean ndcg@10"),
        (("publish.gate.metric=novelty@10", "publish.gate.segment=cold"), "at evaluate.cutoffs, in cold, there are"),
        (("publish.gate.metric=",), "no night will measure a name that is empty"),
        (("publish.gate.segment=colds",), r"segment: no night will measure colds: did you mean cold\? there are all, "),
        (("publish.gate.segment=cold", "ingest.cold_item_share=0"), "no night will measure cold:"),
        (("publish.gate.segment=no_audio", "extract.audio=null"), "no night will measure no_audio: .*no_image"),
        (("publish.gate.segment=new_users",), "no night will measure new_users"),
        (("publish.gate.segment=co_choice",), "no night will measure co_choice"),
    ],
)
def test_a_gate_that_asks_for_what_no_night_measures_is_told_what_there_is(
    tmp_path: Path, settings: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load(written(tmp_path, ""), settings)


@pytest.mark.parametrize(
    "settings",
    [
        ("publish.gate.metric=coverage@20", "publish.gate.segment=cold_among_all"),
        ("publish.gate.metric=popularity_lift@5",),
        ("publish.gate.metric=mrr@3", "evaluate.cutoffs=[3]", "evaluate.baselines.1.half_life_days=[30]"),
        ("publish.gate.segment=cold", "ingest.cold_item_share=0", "ingest.split=given"),
        ("publish.gate.segment=no_scent", "extract.scent={encoder: array, file: a.npy}"),
        ("publish.gate.segment=new_users", "source.users=select 1"),
        ("publish.gate.segment=all_modalities",),
    ],
)
def test_a_gate_may_ask_for_all_that_is_measured(tmp_path: Path, settings: tuple[str, ...]) -> None:
    load(written(tmp_path, ""), settings)
