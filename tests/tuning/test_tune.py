"""The search for settings: what it tries, what it never sees, and that it goes on where it was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import night as nights
from pipeline.artefacts.log import PARTS
from pipeline.config import Config, load
from pipeline.config.train import RECOMMENDERS
from pipeline.errors import ConfigError, StepFailed
from pipeline.interactions import Interactions
from pipeline.recommend import kind_of, recommender
from pipeline.recommend.base import Recommender
from pipeline.recommend.models.blend import BlendSettings
from pipeline.steps import extract, fuse, ingest
from pipeline.steps import tune as step
from pipeline.steps.ingest import staged_of
from pipeline.tuning import tune
from pipeline.tuning.search_space import applied, configured, space_of, suggest
from tests.conftest import AS_OF, ROOT, medley

YAML = """
source:
  params: {root: .}
  items: select i::varchar as item_id, 'Item ' || i as title, i::varchar as image from range(60) t(i)
  interactions: select 'u' || u as user_id, ((u % 6) * 10 + (u * 7 + i * 3) % 10)::varchar as item_id,
    timestamp '2024-01-01' + to_seconds(i) as ts,
    ['train', 'train', 'train', 'train', 'validation', 'test'][i + 1] as part from range(80) a(u), range(6) b(i)
ingest: {split: given}
threads: 1
extract: {text: null, image: {encoder: array, file: pictures.npy}, audio: null}
train: {model: elsa, max_epochs: 3, width: 16}
tune: {trials: 3, space: {train.width: [8, 16, 24], train.learning_rate: {low: 0.01, high: 0.5, log: true}}}
"""


@pytest.fixture(scope="session")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny shop whose pictures are given as an array, and one run of it that has fused vectors."""
    folder = tmp_path_factory.mktemp("tune") / "shop"
    folder.mkdir()
    np.save(folder / "pictures.npy", np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32))
    (folder / "medley.yaml").write_text(YAML)
    night = nights.begin(load(folder / "medley.yaml"), AS_OF, "first")
    ingest.run(night)
    extract.run(night, "image")
    fuse.run(night)
    return folder


@pytest.fixture
def shop(fused: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fused, tmp_path / "shop"))


def search(shop: Path, *overrides: str) -> dict[str, Any]:
    """What a search on the shop's run says."""
    return step.run(nights.resume(load(shop / "medley.yaml", overrides), None))


def found(shop: Path) -> dict[str, Any]:
    """What the one search of a shop says."""
    (path,) = shop.glob("workspace/tunes/*/tune.json")
    return json.loads(path.read_text())


def tried(document: dict[str, Any]) -> list[Any]:
    """Each trial's settings and score, without those that a kill cut short."""
    return [[t["settings"], t["value"]] for t in document["trials"] if t["state"] != "interrupted"]


def test_a_search_begins_with_what_is_configured_and_prints_the_best_settings(shop: Path) -> None:
    said = medley("tune", "-q", "-c", shop / "medley.yaml").stdout
    document = found(shop)
    first, *others = document["trials"]
    assert first["configured"]
    assert first["settings"] == {"train.learning_rate": 0.1, "train.width": 16}
    assert [trial["state"] for trial in document["trials"]] == ["complete"] * 3
    assert all(trial["seconds"] > 0 and trial["epochs"] >= 1 for trial in document["trials"])
    assert {trial["settings"]["train.width"] for trial in others} <= {8, 16, 24}
    assert all(0.01 <= trial["settings"]["train.learning_rate"] <= 0.5 for trial in others)
    best = document["best"]
    assert best["value"] == max(trial["value"] for trial in document["trials"])
    assert f"validation {best['value']:.4f}, as configured {first['value']:.4f}" in said
    if not best["configured"]:
        for name, value in best["settings"].items():
            assert f"-s {name}={value}" in said
        assert yaml.safe_load(said.split("YAML file:\n")[1])["train"].keys() == {"learning_rate", "width"}
    assert not list(shop.glob("workspace/CURRENT.json"))
    assert len(list(shop.glob("workspace/runs/*"))) == 1


def test_the_same_search_again_fits_nothing_and_more_trials_add_to_it(shop: Path) -> None:
    first = search(shop)
    assert search(shop)["trials"] == first["trials"]
    more = search(shop, "tune.trials=4")
    assert more == found(shop)
    assert more["trials"][:3] == first["trials"]
    assert len(more["trials"]) == 4


def test_a_killed_search_repeats_the_trial_that_was_cut_short_and_ends_as_if_it_had_not_been(shop: Path) -> None:
    undisturbed = Path(shutil.copytree(shop, shop.parent / "undisturbed"))
    long = ("tune.trials=4", "train.max_epochs=60", "train.patience_epochs=60")
    options = [part for override in long for part in ("-s", override)]
    command = [sys.executable, "-m", "pipeline.cli", "tune", "-q", "-c", str(shop / "medley.yaml"), *options]
    victim = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 300
    # Operation 4 of the journal begins a trial: the third is running.
    while sum(path.read_text().count('"op_code":4') for path in shop.glob("workspace/tunes/*/journal.log")) < 3:
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    (journal,) = shop.glob("workspace/tunes/*/journal.log")
    with journal.open("a") as file:
        file.write('{"op_code":')
    lock = journal.with_name("journal.log.lock")
    if not lock.is_symlink():
        lock.symlink_to(journal)
    resumed = search(shop, *long)
    assert [trial["state"] for trial in resumed["trials"]].count("interrupted") == 1
    assert tried(resumed) == tried(search(undisturbed, *long))


def test_nothing_a_search_fits_or_judges_holds_a_test_row(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = nights.resume(load(shop / "medley.yaml"), None)
    log = staged_of(night).read_log()
    rows = pq.read_table(night.workspace.path(night.receipt("ingest").path, "interactions.parquet")).to_pylist()
    users, items = ({name: code for code, name in enumerate(names)} for names in (log.users, log.items))
    pairs = {p: {(users[r["user_id"]], items[r["item_id"]]) for r in rows if r["part"] == p} for p in PARTS}
    hidden = pairs["test"] - pairs["train"] - pairs["validation"]
    assert hidden
    handed: list[Interactions] = []

    def watched(*arguments: Any) -> Recommender:
        model = recommender(*arguments)
        fit, scorer = model.fit, model.scorer
        model.fit = lambda content, *parts, **more: handed.extend(parts) or fit(content, *parts, **more)  # type: ignore[method-assign,func-returns-value]
        model.scorer = lambda history: handed.append(history) or scorer(history)  # type: ignore[method-assign,func-returns-value]
        return model

    monkeypatch.setattr(tune, "recommender", watched)
    document = step.run(night)
    assert len(handed) == 3 * len(document["trials"])
    for part in handed:
        assert not hidden & set(zip(part.user.tolist(), part.item.tolist(), strict=True))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("{train.wide: [8]}", r"tune\.space: train\.wide is no setting of train"),
        ("{fuse.width: [8, 16]}", r"tune\.space: fuse\.width is no setting of train"),
        ("{train.width: 8}", r"tune\.space: .*train\.width: give \{low: , high: \}.*or a list"),
        ("{train.width: {low: 8}}", r"tune\.space: .*train\.width\.high: Field required"),
        ("{train.width: {low: 8, high: 8}}", r"train\.width\.high: .*must be above low"),
        ("{train.learning_rate: {low: 0, high: 1, log: true}}", r"learning_rate\.log: .*needs a low above 0"),
        ("{train.learning_rate: {low: 0, high: 1}}", r"train\.learning_rate: .*greater than 0, found 0"),
        ("{train.model: {low: 0, high: 1}}", r"train\.model is no number; give a list of choices"),
        ("{train.model: [elsa, magic]}", r"train\.model: no model is called 'magic'"),
    ],
)
def test_a_wrong_space_is_one_sentence(shop: Path, space: str, said: str) -> None:
    document = yaml.safe_load(YAML)
    document["tune"]["space"] = yaml.safe_load(space)
    (shop / "medley.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=said) as caught:
        search(shop)
    assert "\n" not in str(caught.value)


def test_of_several_models_a_trial_has_the_settings_of_its_own_alone() -> None:
    space = {"train.model": ["elsa", "bpr"], "train.width": [8, 16], "train.l2": [0.1]}
    config = Config.model_validate({"tune": {"space": space}, "train": {"model": "elsa", "content_weight": 0.7}})
    for model, names in (("elsa", {"train.width"}), ("bpr", {"train.width", "train.l2"})):
        trial = optuna.trial.FixedTrial({"train.model": model, "train.width": 8, "train.l2": 0.1})
        settings = suggest(trial, space_of(config), config)  # type: ignore[arg-type]
        assert set(settings) == {"train.model", *names}
        assert applied(config, settings).train.model == model


def _learns(name: str) -> bool:
    return bool(kind_of(name).search_space) or "learning_rate" in kind_of(name).Settings.model_fields


@pytest.mark.parametrize("model", [name for name in RECOMMENDERS.names() if _learns(name)])
def test_every_model_that_learns_has_a_space_of_its_own_that_holds_what_is_configured(model: str) -> None:
    config = Config.model_validate({"train": {"model": model}})
    space = space_of(config)
    assert space
    assert set(configured(space, config)) == set(space)


def test_a_blend_has_the_spaces_of_its_models() -> None:
    members = [{"model": "graph"}, {"model": "elsa", "width": 64}, {"model": "als"}]
    blend = Config.model_validate({"train": {"model": "blend", "members": members}})
    names = [f"{at}.{name}" for at in (0, 1) for name in kind_of(str(members[at]["model"])).search_space]
    assert set(space_of(blend)) == {f"train.members.{name}" for name in names}
    trained = applied(blend, {"train.members.1.width": 32}).train
    assert isinstance(trained, BlendSettings)
    assert trained.members[1].width == 32  # type: ignore[attr-defined]


def test_a_model_that_learns_nothing_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="the content model has nothing to learn by"):
        space_of(Config.model_validate({"train": {"model": "content"}}))


def test_settings_that_cannot_be_fitted_are_passed_over(shop: Path) -> None:
    """Width and heads are allowed each, but not together."""
    space = "tune.space={train.width: [8], train.heads: [64]}"
    with pytest.raises(StepFailed, match=r"no trial could be judged: .*must divide width"):
        search(shop, "train.model=sequence", space, "tune.trials=2")


def test_one_search_runs_at_a_time(shop: Path) -> None:
    search(shop)
    (folder,) = shop.glob("workspace/tunes/*")
    with tune._alone(folder / tune.LOCK), pytest.raises(StepFailed, match="another process is at this search"):
        search(shop)


def test_a_search_ends_when_its_time_is_over_and_keeps_what_it_has(shop: Path) -> None:
    assert len(search(shop, "tune.trials=1")["trials"]) == 1
    begun = time.monotonic()
    found = search(shop, "tune.trials=100000", "tune.timeout_seconds=1")
    assert 1 < len(found["trials"]) < 100000
    assert time.monotonic() - begun < 60


def test_a_fit_that_lags_behind_is_ended_where_that_is_wanted(shop: Path) -> None:
    space = "tune.space={train.learning_rate: [0.1, 1.0e-9]}"
    found = search(shop, space, "tune.prune=true", "tune.random_trials=2", "tune.trials=8")
    assert {trial["state"] for trial in found["trials"]} == {"complete", "pruned"}
    assert found["best"]["state"] == "complete"


def test_without_a_run_the_vectors_are_made_first(fused: Path, tmp_path: Path) -> None:
    for name in ("medley.yaml", "pictures.npy"):
        shutil.copy(fused / name, tmp_path)
    medley("tune", "-q", "-c", tmp_path / "medley.yaml", "--trials", 1)
    (fuse,) = tmp_path.glob("workspace/runs/*/steps/fuse.json")
    assert not (fuse.parent / "train.json").exists()
    assert len(found(tmp_path)["trials"]) == 1
