"""Evaluation is honest: the test part is opened once, after everything is fitted and chosen, and by nothing else."""

from __future__ import annotations

import ast
import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.log import LEARNT, PARTS, Log, OpenedLog
from pipeline.artefacts.model import Settled
from pipeline.artefacts.staged import OPENED, open_test
from pipeline.artefacts.vectors import read_vectors
from pipeline.config.gate import metrics, segments
from pipeline.errors import StepFailed
from pipeline.night import Night
from pipeline.recommend.base import Content, Fit, FitInput
from pipeline.recommend.models.als import AlsSettings
from pipeline.recommend.models.blend import BlendSettings
from pipeline.recommend.models.content import ContentRecommender, ContentSettings
from pipeline.recommend.models.ease import EaseSettings
from pipeline.recommend.models.elsa import ElsaSettings
from pipeline.recommend.models.rp3beta import RP3Beta
from pipeline.steps import evaluate, fuse, rerank, train
from pipeline.steps.baselines import fit_baselines, models_of, settled_of
from pipeline.steps.extract import modality_vectors
from pipeline.steps.ingest import staged_of
from pipeline.workspace import Workspace
from tests.conftest import ROOT
from tests.planted_night import CONFIG, LOGS, STAGED, planted_night, write_rows

SEALED = ("test", "held_out")
CODES = pa.array([PARTS.index(part) for part in SEALED], pa.int8())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A planted night that has been fused and trained; tests take a copy."""
    night = planted_night(tmp_path_factory.mktemp("trained") / "workspace")
    fuse.run(night)
    train.run(night)
    rerank.run(night)
    return night


@pytest.fixture(scope="module")
def judged(trained: Night, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The same night after evaluate."""
    night = copied(trained, tmp_path_factory.mktemp("judged"))
    evaluate.run(night)
    return night


def copied(night: Night, folder: Path) -> Night:
    shutil.copytree(night.workspace.root, folder / "workspace")
    return replace(night, workspace=Workspace(folder / "workspace"))


def opened(night: Night, evaluation: str, folder: Path) -> OpenedLog:
    return open_test(staged_of(night), night.workspace, night.folder, evaluation, folder)


def metrics_of(night: Night) -> dict[str, Any]:
    return json.loads(night.workspace.path(night.folder, "metrics.json").read_text())


def poison(night: Night) -> None:
    """Gives every sealed row, chosen or shown, another item, another time and another weight."""
    folder = night.workspace.path(STAGED)
    tables = [_poisoned(pq.read_table(folder / f"{name}.parquet")) for name in LOGS]
    for name in ("log", "shown"):
        for arrays in (folder / name).iterdir():
            if arrays.is_dir():
                shutil.rmtree(arrays)
    write_rows(night.workspace.root, *tables)


def _poisoned(table: pa.Table) -> pa.Table:
    columns = {name: table[name].to_numpy().copy() for name in table.column_names}
    sealed = np.isin(columns["part"], [PARTS.index(part) for part in SEALED])
    columns["item"][sealed] = np.random.default_rng(5).permutation(columns["item"][sealed])
    columns["ts"][sealed] += 40 * 86_400_000_000
    columns["weight"][sealed] *= 3
    return pa.table(columns)


def evaluated_fit(night: Night) -> dict[str, bytes]:
    """Every file that the evaluated fit is made of or leaves, by its name."""
    folders = [night.workspace.path(night.receipt(step).path) for step in ("fuse", "train", "rerank")]
    names = ("items/*", "fusion.safetensors", "curve.json", "users.safetensors", "evaluated/**/*")
    found = {f"{path.parent.name}/{path.name}": path for f in folders for name in names for path in f.glob(name)}
    return {name: path.read_bytes() for name, path in found.items() if path.is_file()}


def test_no_artefact_of_the_evaluated_fit_depends_on_what_is_sealed(trained: Night, tmp_path: Path) -> None:
    other = planted_night(tmp_path / "workspace")
    poison(other)
    fuse.run(other)
    train.run(other)
    rerank.run(other)
    ours, theirs = evaluated_fit(trained), evaluated_fit(other)
    assert {"evaluated/item_vectors.parquet", "evaluated/user_vectors.parquet"} < set(ours)
    assert "evaluated/model.safetensors" in ours
    assert "evaluated/ranker.safetensors" in ours
    assert {"evaluated/user.onnx", "evaluated/user.safetensors", "beside/reads.safetensors"} < set(ours)
    assert trained.receipt("rerank").details["learned_from"] == "shown"
    assert ours == theirs
    curves = [json.loads(night.workspace.path(night.receipt("train").path, "curves.json").read_text())
              for night in (trained, other)]  # fmt: skip
    for chosen in ("evaluated", "chosen_epochs"):
        assert curves[0][chosen] == curves[1][chosen]
    # What is published is made from everything, so it must differ, or nothing was poisoned.
    published = [night.workspace.path(night.receipt("train").path, "published") for night in (trained, other)]
    vectors = [(folder / "item_vectors.parquet").read_bytes() for folder in published]
    assert vectors[0] != vectors[1]


def test_no_baseline_and_no_choice_among_them_depends_on_what_is_sealed(trained: Night, tmp_path: Path) -> None:
    other = copied(trained, tmp_path)
    poison(other)
    ours, theirs = (_fitted(night, tmp_path) for night in (trained, other))
    assert (ours.strongest, ours.beside.validation) == (theirs.strongest, theirs.beside.validation)
    users = np.arange(50, dtype=np.int32)
    assert set(ours.beside.scorers) == {"random", "popularity", "item_knn", "rp3beta", "ease", "als", "content"}
    assert ours.trained == "two_tower"
    for name, scorer in {**ours.beside.scorers, **ours.without, "": ours.first_stage}.items():
        other_scorer = {**theirs.beside.scorers, **theirs.without, "": theirs.first_stage}[name]
        np.testing.assert_array_equal(scorer(users), other_scorer(users), err_msg=name)


def test_what_is_read_to_learn_from_holds_no_sealed_row(trained: Night) -> None:
    log, everything = staged_of(trained).read_log(), staged_of(trained).read_everything()
    table = pq.read_table(trained.workspace.path(STAGED, "interactions.parquet"))
    learnt = pc.sum(pc.invert(pc.is_in(table["part"], CODES))).as_py()
    assert len(log.entries) == learnt < len(everything) == len(table)
    assert len(log.of("train")) + len(log.of("validation")) == learnt
    for part in SEALED:
        with pytest.raises(LookupError, match="only evaluate opens it"):
            log.of("train", part)
        with pytest.raises(LookupError, match="only evaluate opens it"):
            log.shown("train", part)
    assert not hasattr(everything, "part")


def test_what_was_shown_is_read_part_by_part_and_the_sealed_ones_by_the_opened_log_alone(
    trained: Night, tmp_path: Path
) -> None:
    night = copied(trained, tmp_path)
    table = pq.read_table(night.workspace.path(STAGED, "shown.parquet"))
    rows = {part: pc.sum(pc.equal(table["part"], code)).as_py() for code, part in enumerate(PARTS)}
    log, whole = staged_of(night).read_log(), opened(night, "key", tmp_path)
    assert {part: len(log.shown(part)) for part in LEARNT} == {part: rows[part] for part in LEARNT}
    assert {part: len(whole.shown(part)) for part in PARTS} == rows
    assert min(rows.values()) > 0
    assert len(staged_of(night).read_all_shown()) == len(table)
    assert not log.cold[log.shown(*LEARNT).item].any()
    # An hour before each choice, by the clock that ages are counted from.
    assert set(np.round(log.shown("train").age_days % 1 * 24, 6)) == {1.0}


def test_the_test_part_is_opened_once_a_run(judged: Night, tmp_path: Path) -> None:
    night = copied(judged, tmp_path)
    receipt = night.receipt("evaluate")
    assert receipt.details["opened_rows"] > 0
    assert night.workspace.read_json(f"{receipt.path}/{OPENED}") == {"rows": receipt.details["opened_rows"]}
    with pytest.raises(StepFailed, match="run first has opened its test part already"):
        opened(night, "anything else", tmp_path)
    changed = night.config.model_copy(update={"seed": 1})
    with pytest.raises(StepFailed, match="begin another run"):
        evaluate.run(replace(night, config=changed))
    # The next run may, and the same evaluation may, where a kill left it undone.
    another = night.workspace.path("runs", "second")
    shutil.copytree(night.workspace.path(night.folder), another)
    (another / OPENED).unlink()
    evaluate.run(replace(night, config=changed, run_id="second"))
    before = metrics_of(night)
    evaluate.run(replace(night, full=True))
    assert metrics_of(night) == before


def test_one_evaluation_opens_the_test_part_once(trained: Night, tmp_path: Path) -> None:
    night = copied(trained, tmp_path)
    assert type(opened(night, "key", tmp_path)) is not Log
    with pytest.raises(StepFailed, match="already"):
        opened(night, "key", tmp_path)


def names_in(module: Path) -> tuple[set[str], set[str]]:
    """A module's names, and its text constants that are no docstring."""
    tree = ast.parse(module.read_text("utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return names, {text for text in texts if "\n" not in text}


def test_nothing_but_evaluate_can_open_the_test_part() -> None:
    folders = (ROOT / "pipeline", ROOT / "dags")
    found = {str(p.relative_to(ROOT)): names_in(p) for folder in folders for p in folder.rglob("*.py")}
    assert {module for module, (names, _) in found.items() if "open_test" in names} == {"pipeline/steps/evaluate.py"}
    reading = {"_of_parts", "map_rows", "OpenedLog"}
    own = {"pipeline/artefacts/staged.py", "pipeline/artefacts/log.py"}
    takers = {module for module, (names, _) in found.items() if reading & names} - own
    # Whoever takes an opened log is called by evaluate alone.
    assert takers == {
        f"pipeline/{place}.py" for place in ("steps/evaluate", "evaluation/item_similarity", "evaluation/segments")
    }
    users = {
        module for module, (names, _) in found.items() if {"tasks_of", "questions"} & names and module not in takers
    }
    assert users == set()
    # The rows with their ids are written for others; a plan counts those that are new, and when the newest was.
    readers = {m for m, (_, texts) in found.items() if {"interactions.parquet", "shown.parquet"} & texts}
    assert readers == {"pipeline/steps/plan_changes.py", "pipeline/artefacts/staged.py"}
    callers = {m for m, (names, _) in found.items() if "read_all_shown" in names}
    assert callers == {"pipeline/steps/rerank.py"}, "what is published is learned from all"


def test_metrics_have_every_segment_and_what_lists_are_worth(judged: Night) -> None:
    document = metrics_of(judged)
    segments = {"all", "warm", "cold", "cold_among_all", "head", "tail", "no_text", "no_image", "no_audio"}
    assert segments | {"all_modalities"} <= set(document["test"])
    lists = {f"{metric}@{k}" for metric in ("novelty", "diversity", "popularity_lift") for k in (5, 10, 20, 50)}
    of_all = document["test"]["all"]["two_tower"]
    assert lists <= set(of_all)
    assert all(set(of_all[name]) == {"mean", "low", "high", "users"} for name in lists)
    assert not lists & set(document["test"]["warm"]["two_tower"])
    by_popularity, by_chance = (document["test"]["all"][name] for name in ("popularity", "random"))
    assert by_popularity["popularity_lift@10"]["mean"] > by_chance["popularity_lift@10"]["mean"]
    assert by_popularity["novelty@10"]["mean"] < by_chance["novelty@10"]["mean"]
    assert document["test"]["all"]["content"]["diversity@10"]["mean"] < by_chance["diversity@10"]["mean"]
    assert _finite(document)


@pytest.mark.parametrize("segment", ["all", "cold", "no_text"])
def test_the_gate_may_ask_for_what_is_measured_of_a_recommender_and_for_nothing_else(
    judged: Night, segment: str
) -> None:
    asks = judged.config.publish.gate.model_copy(update={"segment": segment})
    config = judged.config.model_copy(update={"publish": judged.config.publish.model_copy(update={"gate": asks})})
    test = metrics_of(judged)["test"]
    assert set(metrics(config)) == set(test[segment]["two_tower"])
    assert {name for name, models in test.items() if "two_tower" in models} <= set(segments(config))


def test_every_model_is_compared_with_the_baseline_that_validation_prefers(judged: Night) -> None:
    document = metrics_of(judged)
    paired, scores = document["paired"], document["test"]["all"]
    assert (paired["metric"], paired["segment"]) == ("ndcg@10", "all")
    assert paired["baseline"] == max(paired["validation"], key=paired["validation"].get)
    assert set(paired["models"]) == set(scores) - {paired["baseline"]}
    for name, found in paired["models"].items():
        gap = scores[name]["ndcg@10"]["mean"] - scores[paired["baseline"]]["ndcg@10"]["mean"]
        assert found["mean"] == pytest.approx(gap)
        assert found["low"] <= found["mean"] <= found["high"]
        assert 0 < found["p"] <= 1


def test_a_baseline_that_takes_too_long_is_left_out_and_says_so(trained: Night, tmp_path: Path) -> None:
    night = copied(trained, tmp_path)
    limited = night.config.evaluate.model_copy(update={"baseline_seconds": 1e-9})
    hurried = replace(night, config=night.config.model_copy(update={"evaluate": limited}))
    fitted = fit_baselines(hurried, staged_of(hurried).read_log(), {}, tmp_path)
    assert set(fitted.scorers) == {"random", "content"}
    assert set(fitted.validation) == {"random"}
    assert set(fitted.notes) == {"popularity", "item_knn", "rp3beta", "ease", "als"}
    assert set(fitted.notes.values()) == {"not run: it takes longer than evaluate.baseline_seconds allows, 1e-09 s"}


def test_where_the_strongest_fails_those_that_it_was_better_than_stand_in(
    trained: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, log = trained, staged_of(trained).read_log()
    scores = {"popularity": 0.1, "item_knn": 0.2, "rp3beta": 0.4, "ease": 0.3, "als": 0.3}
    chosen = fit_baselines(night, log, {}, Path(mkdtemp(dir=tmp_path))).fits
    kept = {name: Settled("", chosen[name].settings, 1, score) for name, score in scores.items()}
    measured = {"random", "popularity", "rp3beta", "content"}
    whole = fit_baselines(night, log, kept, Path(mkdtemp(dir=tmp_path)))
    assert set(whole.scorers) == measured
    assert set(whole.notes) == {"item_knn", "ease", "als"}
    assert set(settled_of(night, kept, whole)) == set(scores)

    def fails(*_: object) -> None:
        raise StepFailed("it is out of order")

    monkeypatch.setattr(RP3Beta, "state_of", fails)
    without = fit_baselines(night, log, kept, Path(mkdtemp(dir=tmp_path)))
    assert set(without.scorers) == {*measured, "item_knn", "ease", "als"} - {"rp3beta"}
    assert without.notes == {"rp3beta": "not run: it is out of order"}
    assert settled_of(night, kept, without)["rp3beta"] == asdict(kept["rp3beta"])


def test_the_model_itself_leaves_no_baseline_out(trained: Night) -> None:
    als = replace(trained, config=trained.config.model_copy(update={"train": AlsSettings()}))
    assert "als" in models_of(trained)
    assert "als" not in models_of(als)


def test_what_a_reader_of_a_baselines_figures_has_to_know_stands_in_metrics(trained: Night, tmp_path: Path) -> None:
    night = copied(trained, tmp_path)
    baselines = (EaseSettings(max_items=20), *night.config.evaluate.baselines[:1])
    config = night.config.model_copy(
        update={"evaluate": night.config.evaluate.model_copy(update={"baselines": baselines})}
    )
    evaluate.run(replace(night, config=config))
    notes = metrics_of(night)["notes"]
    assert list(notes) == ["ease"]
    assert notes["ease"].startswith("looks at the 20 of ")


def test_leaving_out_a_modality_changes_what_it_tells_of(judged: Night) -> None:
    document = metrics_of(judged)
    found = document["ablation"]
    assert (found["model"], found["way"], set(found["segments"])) == ("two_tower", "inference", {"all", "cold"})
    for segment, modalities in found["segments"].items():
        assert set(modalities) == {"text", "image", "audio"}
        for without in modalities.values():
            stages = document["test"][segment]
            whole = stages.get("first_stage", stages["two_tower"])["ndcg@10"]["mean"]
            assert without["ndcg@10"]["change"]["mean"] == pytest.approx(without["ndcg@10"]["mean"] - whole)
            assert {name.partition("@")[0] for name in without} == {"ndcg", "recall"}
    assert any(w["ndcg@10"]["change"]["mean"] for w in found["segments"]["all"].values())


def test_a_model_of_the_modalities_is_fitted_again_without_each(trained: Night, tmp_path: Path) -> None:
    settings = {"train": ElsaSettings(width=8, max_epochs=2)}
    night = replace(copied(trained, tmp_path), config=CONFIG.model_copy(update=settings))
    train.run(night)
    assert _fitted(night, tmp_path).without == {}
    asked = night.config.evaluate.model_copy(update={"ablation": "refit"})
    again = replace(night, config=night.config.model_copy(update={"evaluate": asked}))
    found = _fitted(again, tmp_path)
    users = np.arange(20, dtype=np.int32)
    assert set(found.without) == {"text", "image", "audio"}
    assert all(not np.array_equal(s(users), found.first_stage(users)) for s in found.without.values())


def _fitted(night: Night, tmp_path: Path) -> evaluate.Fitted:
    return evaluate._fitted(night, staged_of(night).read_log(), {}, Path(mkdtemp(dir=tmp_path)))


ALS = {"model": "als", "factors": 8, "iterations": 3, "regularization": [5], "alpha": [4]}


def _without(trained: Night, tmp_path: Path, way: str, *members: str) -> tuple[Night, evaluate.Fitted]:
    """A night that has trained a blend, and what it is ranked with."""
    small = {"model": "graph", "width": 8, "max_epochs": 2}, {"model": "elsa", "width": 8, "max_epochs": 2}, ALS
    known = {str(settings["model"]): settings for settings in small}
    parts = [known.get(member, {"model": member}) for member in members]
    settings = BlendSettings.model_validate({"members": parts})
    asked = CONFIG.evaluate.model_copy(update={"ablation": way})
    config = CONFIG.model_copy(update={"train": settings, "evaluate": asked})
    night = replace(copied(trained, tmp_path), config=config)
    train.run(night)
    return night, _fitted(night, tmp_path)


def test_a_blend_goes_without_a_modality_in_the_members_that_can(
    trained: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    equal = lambda objective, weights, among, steps: tuple(1 / len(among) for _ in among)  # noqa: E731
    monkeypatch.setattr("pipeline.recommend.models.blend.climbed", equal)
    night, found = _without(trained, tmp_path, "inference", "content", "graph", "elsa", "als")
    assert evaluate._way(night) == "inference"
    assert set(found.without) == {"text", "image", "audio"}
    users = np.arange(400, dtype=np.int32)
    folder = night.workspace.path(night.receipt("train").path, "evaluated")
    vectors = {name: read_vectors(folder / f"{name}_vectors.parquet", f"{name}_id")[1] for name in ("user", "item")}
    widths = np.cumsum([0, CONFIG.fuse.width, 9, 8, 8])
    assert widths[-1] == vectors["item"].shape[1]
    whole = found.first_stage(users)
    for scorer in found.without.values():
        # Content and graph change, elsa and als do not: what differs is in the first two members' columns.
        changed = scorer(users) - whole
        able = vectors["user"][users, : widths[2]]
        explained = np.linalg.lstsq(able, changed, rcond=None)[0]
        np.testing.assert_allclose(able @ explained, changed, atol=1e-4)
        assert np.abs(changed).max() > 1e-3


def test_a_blend_is_fitted_again_whole_or_has_no_ablation_where_none_reads_content(
    trained: Night, tmp_path: Path
) -> None:
    night, found = _without(trained, tmp_path / "refit", "refit", "elsa", "als")
    assert evaluate._way(night) == "refit"
    assert set(found.without) == {"text", "image", "audio"}
    night, found = _without(trained, tmp_path / "none", "inference", "elsa", "als")
    assert (evaluate._way(night), found.without) == ("", {})
    night, found = _without(trained, tmp_path / "ids", "refit", "bpr", "als")
    assert (evaluate._way(night), found.without) == ("", {})


def test_what_is_fitted_again_reads_nothing_of_the_modality_that_is_gone(
    trained: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Content] = []

    def spied(self: ContentRecommender, data: FitInput) -> Fit:
        told.append(data.content)
        return learn(self, data)

    learn = ContentRecommender.learn
    monkeypatch.setattr(ContentRecommender, "learn", spied)
    asked = CONFIG.evaluate.model_copy(update={"ablation": "refit"})
    config = CONFIG.model_copy(update={"evaluate": asked, "train": ContentSettings()})
    night = replace(copied(trained, tmp_path), config=config)
    train.run(night)
    whole, *_ = told
    told.clear()
    _fitted(night, tmp_path)
    *_, text, image, audio = told
    vectors = {m: ~np.isnan(v[:, 0]) for m, v in modality_vectors(night)}
    for gone, content in (("text", text), ("image", image), ("audio", audio)):
        only = vectors[gone] & ~np.any([held for name, held in vectors.items() if name != gone], axis=0)
        lacks = ~vectors[gone]
        np.testing.assert_allclose(content.vectors[lacks], whole.vectors[lacks], atol=1e-5)
        assert not content.vectors[only].any()
        assert not content.present[only].any()
        both = vectors[gone] & ~only
        assert np.abs(content.vectors[both] - whole.vectors[both]).max(axis=1).min() > 1e-4


def _finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return math.isfinite(value) if isinstance(value, float) else True


def test_the_gate_sees_the_list_that_goes_out_and_beside_it_the_first_stages(trained: Night, tmp_path: Path) -> None:
    documents = {}
    for used in (True, False):
        night = copied(trained, tmp_path / str(used))
        path = night.workspace.path(night.receipt("rerank").path, "reranked.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"used": used}))
        evaluate.run(night)
        documents[used] = metrics_of(night)
    with_it, without = (documents[used]["test"] for used in (True, False))
    for segment in ("all", "cold", "cold_among_all", "head"):
        assert with_it[segment]["first_stage"] == without[segment]["two_tower"]
        assert "first_stage" not in without[segment]
        assert {"first_stage", *without[segment]} == set(with_it[segment])
    assert with_it["all"]["two_tower"] != with_it["all"]["first_stage"]
    worth = documents[True]["ranker"]["test"]
    for stage, name in (("first_stage", "first_stage"), ("reordered", "two_tower")):
        assert worth[stage]["ndcg@10"] == pytest.approx(with_it["all"][name]["ndcg@10"])
    gap = worth["reordered"]["ndcg@10"]["mean"] - worth["first_stage"]["ndcg@10"]["mean"]
    assert worth["gain"]["ndcg@10"]["mean"] == pytest.approx(gap)
    assert documents[False]["ranker"]["test"] == worth
    assert documents[True]["ablation"]["segments"] == documents[False]["ablation"]["segments"]
    assert documents[True]["ablation"]["stage"] == "first_stage"
    assert {"first_stage", "two_tower"} <= set(documents[True]["paired"]["models"])
