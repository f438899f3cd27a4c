"""A night may take models and settings from the one that is published, never from one that knows what it may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.artefacts.model import Settled
from pipeline.config import load
from pipeline.config.train import TrainSettings
from pipeline.errors import ShardCorrupt
from pipeline.night import Night, begin
from pipeline.recommend.models.als import AlsSettings
from pipeline.recommend.models.random import RandomSettings
from pipeline.steps.baselines import beaten
from pipeline.steps.prepare import restore
from pipeline.steps.warm_start import Kept, earlier_models, kept_settings
from pipeline.storage.documents import adapter, read_json
from tests.conftest import AS_OF, Shop, edit, options

ASKED = (
    "train.model=two_tower",
    "train.warm_start=true",
)


def opened(shop: Shop, *overrides: str, as_of: str = AS_OF) -> Night:
    """A run of the shop that has what the first night staged."""
    night = begin(load(shop.config, overrides), as_of, "now")
    first = read_json(shop.workspace / "runs/first/steps/ingest.json")
    night.workspace.write_json("runs/now/steps/ingest.json", first)
    return night


def test_only_a_night_that_asks_and_may_know_it_is_given_the_published_model(night: Shop) -> None:
    trained = read_json(night.workspace / "runs/first/steps/train.json")
    assert trained is not None
    assert earlier_model_of(opened(night, "train.model=two_tower")) == ""
    assert earlier_model_of(opened(night, *ASKED)) == trained["path"]
    assert earlier_model_of(opened(night, "train.model=svd")) == trained["path"]
    assert earlier_model_of(replace(opened(night, *ASKED), full=True)) == ""
    assert earlier_model_of(opened(night, "train.model=two_tower", "train.hard_negatives=3")) == trained["path"]
    assert earlier_model_of(opened(night, *ASKED, "ingest.validation_share=0.2")) == ""
    assert earlier_model_of(opened(night, *ASKED, "seed=1")) == ""
    assert earlier_model_of(opened(night, "train.warm_start=true", "train.model=graph")) == ""


def test_a_night_of_an_earlier_time_or_cut_begins_without(night: Shop) -> None:
    assert earlier_model_of(opened(night, *ASKED)) != ""
    before = opened(night.copy(night.folder.parent / "earlier"), *ASKED, as_of="2000-01-01T00:00:00Z")
    assert earlier_model_of(before) == ""
    cut = opened(night, *ASKED)
    staged = cut.receipt("ingest")
    other = f"{staged.path}-cut"
    split = read_json(night.workspace / staged.path / "split.json") or {}
    cut.workspace.write_json(f"{other}/split.json", {**split, "validation_cut": "1990-01-01T00:00:00Z"})
    cut.workspace.write_json("runs/now/steps/ingest.json", {**staged.__dict__, "path": other})
    assert earlier_model_of(cut) == ""


def test_a_warm_night_names_the_model_it_began_at_and_logs_its_epochs(night: Shop) -> None:
    quick = options("train.model=two_tower", "train.max_epochs=2", "train.warm_start=true", "train.hard_negatives=2")
    night.run("second", *quick)
    first, second = (read_json(night.workspace / f"runs/{run}/steps/train.json") for run in ("first", "second"))
    assert first is not None
    assert second is not None
    assert second["details"]["before"] == first["path"] != second["path"]
    # The same run again is the same model, though the published night is now itself.
    night.run("second", *quick)
    again = read_json(night.workspace / "runs/second/steps/train.json")
    assert again is not None
    assert (again["skipped"], again["digest"]) == (True, second["digest"])
    curves = read_json(night.workspace / second["path"] / "curves.json")
    assert curves is not None
    for part in ("evaluated", "published"):
        events = EventAccumulator(str(night.workspace / "runs/second/tensorboard" / part)).Reload()
        written = [event.step for event in events.Scalars("loss")]
        assert written == [int(epoch["epoch"]) for epoch in curves[part]]
    assert not list(Path(night.workspace / ".tmp").glob("fit-*"))


def test_a_night_without_change_is_the_one_that_began_at_an_earlier_model(night: Shop) -> None:
    settings = "train.model=svd", "evaluate.baselines=[{model: popularity}]"
    svd = options(*settings)
    night.run("first-svd", *svd)
    edit(night, lambda rows: [{**rows[0], "blurb": rows[0]["blurb"] + " A new word."}, *rows[1:]])
    night.run("second-svd", *svd)
    night.run("unchanged", *svd)
    first, second, unchanged = (trained(night, run) for run in ("first-svd", "second-svd", "unchanged"))
    # While settings are chosen nothing is begun at.
    assert first["details"]["before"] == ""
    assert second["details"]["before"] == first["path"]
    assert (unchanged["skipped"], unchanged["digest"]) == (True, second["digest"])
    assert earlier_models(opened(night, *settings)) == [first["path"], second["path"]]
    file = night.workspace / second["path"] / "evaluated/model.safetensors"
    file.write_bytes(b"\x00" * file.stat().st_size)
    edit(night, lambda rows: [{**rows[0], "blurb": "Another."}, *rows[1:]])
    said = night.run("damaged", *svd, status=1).stderr
    assert "not the weights that the published night fitted" in said
    assert "--full" in said


def test_settings_are_kept_for_some_nights_and_then_chosen_again(night: Shop) -> None:
    models = {"als": AlsSettings(), "random": RandomSettings()}
    first = receipt(night, "first")
    chosen = adapter(dict[str, Settled]).validate_python(first["details"]["settled"])
    assert set(chosen) == {"popularity", "item_knn", "rp3beta", "ease", "als"}
    assert kept(opened(night), models) == {"als": replace(chosen["als"], nights=1)}
    # Not where they would be chosen from other values, by another metric, anew, or by a night that may not know.
    assert kept(opened(night), {"als": AlsSettings(factors=8)}) == {}
    assert kept(opened(night, "publish.gate.metric=recall@20"), models) == {}
    assert kept(opened(night, "seed=1"), models) == {}
    assert kept(opened(night, "evaluate.settled_nights=0"), models) == {}
    assert kept(opened(night, as_of="2000-01-01T00:00:00Z"), models) == {}
    assert kept(replace(opened(night), full=True), models) == {}

    quick = options("train.model=two_tower", "train.max_epochs=2", "evaluate.settled_nights=1")
    night.run("second", *quick)
    second = receipt(night, "second")
    assert {settled["nights"] for settled in second["details"]["settled"].values()} == {1}
    assert second["details"]["settled"]["als"] == {**first["details"]["settled"]["als"], "nights": 1}
    # A night without change takes what is there, however long it was kept; the next one with a change chooses anew.
    night.run("unchanged", *quick)
    unchanged = receipt(night, "unchanged")
    assert (unchanged["skipped"], unchanged["digest"]) == (True, second["digest"])
    night.run("third", *quick, "-s", "train.max_epochs=3")
    third = receipt(night, "third")
    assert {settled["nights"] for settled in third["details"]["settled"].values()} == {0}

    # Meanwhile the strongest of them was measured, and the gate's own.
    measured = {run: models_of(night, run) for run in ("first", "second", "third")}
    strongest = max(chosen, key=lambda name: chosen[name].score or 0)
    assert measured["first"] - measured["second"] == set(chosen) - {strongest, "popularity"}
    assert measured["third"] == measured["first"]
    notes = metrics(night, "second")["notes"]
    assert set(notes) >= measured["first"] - measured["second"]
    assert all(strongest in notes[name] for name in measured["first"] - measured["second"])
    # What a next night may take is still all of them.
    assert set(second["details"]["settled"]) == set(chosen)


def test_only_what_another_was_better_than_that_same_night_is_left_out(night: Shop) -> None:
    tonight = opened(night)
    scores = {"popularity": (0.1, 1), "als": (0.2, 1), "ease": (0.3, 1), "item_knn": (0.3, 1), "rp3beta": (0.05, 2)}
    kept = {name: Settled("", {}, nights, score) for name, (score, nights) in scores.items()}
    assert beaten(tonight, kept) == {"als": "ease"}
    assert beaten(tonight, {name: replace(own, score=None) for name, own in kept.items()}) == {}
    other = opened(night, "publish.gate.baseline=als")
    assert set(beaten(other, kept)) == {"popularity"}


def models_of(shop: Shop, run: str) -> set[str]:
    return set(metrics(shop, run)["test"]["all"])


def metrics(shop: Shop, run: str) -> dict[str, Any]:
    document = read_json(shop.workspace / f"runs/{run}/metrics.json")
    assert document is not None
    return document


@pytest.mark.parametrize("text", ["", "[]", '{"path": 3}'])
@pytest.mark.parametrize(
    "name", ["CURRENT.json", "runs/first/run.json", "runs/first/steps/ingest.json", "runs/first/steps/train.json"]
)
def test_what_is_broken_of_the_published_night_stops_no_other(
    night: Shop, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    now = opened(night, *ASKED)
    (night.workspace / name).write_text(text)
    caplog.clear()
    with caplog.at_level("WARNING", "medley"):
        assert earlier_model_of(now) == ""
        kept(now, {"als": AlsSettings()})
    (record,) = caplog.records
    assert f"skipped as if it were not there: {night.workspace / name}: " in record.getMessage()


@pytest.mark.parametrize("text", ["", "[]", '{"fitted": "", "engine": 3}'])
def test_a_broken_choice_of_an_encoder_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "encoder.json").write_text(text)
    with pytest.raises(ShardCorrupt, match=r"encoder\.json: .*; run the night again with --full"):
        restore(tmp_path)


def earlier_model_of(night: Night) -> str:
    return earlier_models(night)[-1]


def kept(night: Night, models: dict[str, TrainSettings]) -> Kept:
    return kept_settings(night, "evaluate", models, lambda settings: False)


def receipt(shop: Shop, run: str, step: str = "evaluate") -> dict[str, Any]:
    document = read_json(shop.workspace / f"runs/{run}/steps/{step}.json")
    assert document is not None
    return document


def trained(shop: Shop, run: str) -> dict[str, Any]:
    return receipt(shop, run, "train")
