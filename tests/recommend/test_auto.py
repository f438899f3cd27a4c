"""`auto` sends out what validation finds best, by known items and by new ones, in the time that it is given."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artefacts.tries import CHOSEN
from pipeline.errors import StepFailed
from pipeline.evaluation.ranking import InnerProduct
from pipeline.interactions import Floats
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content, Fit, FitInput, Room
from pipeline.recommend.models.als import ALS
from pipeline.recommend.models.auto import FITS, Auto, AutoSettings, estimate
from pipeline.recommend.portfolio import KNOWN, NEW, Judge, Weights, climbed, trial_of
from pipeline.training.context import Scratch
from tests.recommend.test_recommenders import ITEMS, SMALL, USERS, World, recommender


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def auto(*models: str, **changes: Any) -> Auto:
    model = recommender("auto", members=[{"model": name, **SMALL.get(name, {})} for name in models], **changes)
    assert isinstance(model, Auto)
    return model


@pytest.fixture(scope="module")
def fitted(world: World) -> tuple[Auto, Fit]:
    model = auto("popularity", "als", "content", new_item_share=0.25)
    return model, model.fit(world.content, world.train, world.validation)


def test_what_is_chosen_is_no_worse_on_validation_than_any_of_those_tried(fitted: tuple[Auto, Fit]) -> None:
    _, fit = fitted
    objective = {name: 0.75 * (tried.known or 0) + 0.25 * (tried.new or 0) for name, tried in fit.tries.items()}
    blend = objective.pop(CHOSEN)
    assert set(objective) == {"popularity", "als", "content"}
    assert blend >= max(objective.values()) - 1e-9
    assert sum(fit.settings.values()) == pytest.approx(1)
    assert fit.settings == {name: tried.weight for name, tried in fit.tries.items() if name != CHOSEN}


def test_what_is_published_has_learned_from_the_items_that_were_hidden(world: World, fitted: tuple[Auto, Fit]) -> None:
    model, fit = fitted
    trial = trial_of(world.content, world.train, world.validation, 0.25, 0)
    assert len(np.setdiff1d(world.train.item, trial.train.item))
    again = auto("popularity", "als", "content", new_item_share=0.25)
    again.refit(world.content, world.train, Fit(settings=fit.settings, members=fit.members))
    np.testing.assert_array_equal(again.item_vectors, model.item_vectors)
    np.testing.assert_array_equal(again.user_vectors(world.train), model.user_vectors(world.train))


def test_a_trial_hides_items_from_training_and_validation_and_asks_for_them(world: World) -> None:
    trial = trial_of(world.content, world.train, world.validation, 0.25, 0)
    hidden = np.setdiff1d(world.train.item, trial.train.item)
    assert len(hidden) == int(0.25 * (world.content.present & (world.train.item_counts() > 0)).sum())
    assert not np.isin(trial.validation.item, hidden).any()
    assert not np.isin(trial.tasks[KNOWN].targets.item, hidden).any()
    assert np.isin(trial.tasks[NEW].targets.item, hidden).all()
    # What a user has already chosen is in no list of known items, though the fit has not seen it.
    assert np.isin(trial.tasks[KNOWN].history.item, hidden).any()
    assert not np.isin(trial.tasks[NEW].history.item, hidden).any()
    other = trial_of(world.content, world.train, world.validation, 0.25, 1)
    assert set(np.setdiff1d(world.train.item, other.train.item)) != set(hidden)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_where_few_items_or_none_have_content_none_is_hidden(world: World, share: float) -> None:
    none = Content(np.zeros_like(world.content.vectors), np.zeros(ITEMS, bool))
    for content in (none, world.content):
        trial = trial_of(content, world.train, world.validation, share, 0)
        assert trial.train is world.train
        assert not trial.hides
        assert trial.shares == {KNOWN: 1.0}


def planned(room: Room, **settings: Any) -> list[str]:
    given = AutoSettings(members=[{"model": name} for name in ("sequence", "als", "svd")], **settings)  # type: ignore[arg-type]
    made = Auto.planned(given, room, {})
    assert isinstance(made, AutoSettings)
    return [member.model for member in made.members]


def test_members_are_tried_from_cheap_to_dear_while_their_estimates_fit() -> None:
    room = Room(1_000_000, 10_000)
    seconds = {name: estimate(name, room) for name in ("svd", "als", "sequence")}
    assert seconds["svd"] < seconds["als"] < seconds["sequence"]
    both = FITS * (seconds["svd"] + seconds["als"]) / 60
    assert planned(room, budget_minutes=both + 1e-6) == ["svd", "als"]
    assert planned(room, budget_minutes=both * 0.99) == ["svd"]
    assert planned(room, budget_minutes=1e-9) == ["svd"]
    assert planned(room, budget_minutes=FITS * sum(seconds.values()) / 60 + 1e-6) == ["svd", "als", "sequence"]


def test_seconds_of_an_earlier_night_go_before_the_guess() -> None:
    room = Room(1_000_000, 10_000, {"sequence": 1.0, "svd": np.inf})
    assert planned(room, budget_minutes=1e6) == ["als", "sequence"]
    assert planned(room, budget_minutes=FITS * 1.0 / 60 + 1e-6) == ["sequence"]


def test_the_same_models_are_the_same_night_whatever_a_clock_said() -> None:
    first = planned(Room(1_000_000, 10_000), budget_minutes=1e6)
    for seconds in permutations((0.0, 0.7, 8.0)):
        room = Room(1_000_000, 10_000, dict(zip(("sequence", "als", "svd"), seconds, strict=True)))
        assert planned(room, budget_minutes=1e6) == first == ["svd", "als", "sequence"]


def test_what_an_earlier_night_chose_is_all_that_is_fitted(world: World) -> None:
    settings = AutoSettings(members=[{"model": name} for name in ("als", "svd", "content")])  # type: ignore[arg-type]
    chosen = Auto.planned(settings, Room(1, 1), {"content": 0.25, "als": 0.75, "svd": 0.0})
    assert isinstance(chosen, AutoSettings)
    assert [member.model for member in chosen.members] == ["content", "als"]
    model = auto("content", "als")
    model.settled = {"content": 0.25, "als": 0.75}
    fit = model.fit(world.content, world.train, world.validation)
    assert fit.settings == {"content": 0.25, "als": 0.75}
    assert fit.tries == {}


def test_a_model_that_cannot_be_fitted_is_left_out_with_its_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: ALS, data: FitInput) -> Fit:
        raise StepFailed("no room")

    monkeypatch.setattr(ALS, "learn", fails)
    fit = auto("als", "content").fit(world.content, world.train, world.validation)
    assert fit.tries["als"].note == "no room"
    assert fit.settings == {"content": 1.0}
    with pytest.raises(StepFailed, match="none of its models can be fitted; the first: no room"):
        auto("als").fit(world.content, world.train, world.validation)


def test_without_a_validation_part_the_first_is_taken(world: World) -> None:
    fit = auto("content", "als").fit(world.content, world.train)
    assert fit.settings == {"content": 1.0}


def test_its_users_are_explained_as_those_of_the_blend_that_it_is(
    fitted: tuple[Auto, Fit], world: World, tmp_path: Path
) -> None:
    fitted[0].save(tmp_path)
    assert kind_of("auto").user_side(tmp_path) is not None


def toys(world: World, *noise: float) -> list[InnerProduct]:
    """Models that know what validation holds, each under noise of its own."""
    generator = np.random.default_rng(1)
    wanted = np.zeros((USERS, ITEMS), np.float32)
    wanted[world.validation.user, world.validation.item] = 1

    def noisy(level: float) -> Floats:
        return (wanted + level * generator.standard_normal(wanted.shape)).astype(np.float32)

    return [InnerProduct(noisy(level) / np.float32(1 + level), np.eye(ITEMS, dtype=np.float32)) for level in noise]


def judge(world: World, members: list[InnerProduct]) -> Judge:
    return Judge(trial_of(world.content, world.train, world.validation, 0.0, 0), members, "ndcg@10")


def test_members_of_errors_of_their_own_are_blended_and_noise_is_left_out(world: World) -> None:
    weights = judge(world, toys(world, 0.5, 0.5, 50.0)).best()
    assert min(weights[:2]) > 0.2
    assert weights[2] == 0


def test_a_gain_within_chance_adds_no_member(world: World) -> None:
    (toy,) = toys(world, 0.5)
    twin = replace(toy, users=toy.users + np.float32(1e-3))
    assert sorted(judge(world, [toy, twin]).best()) == [0.0, 1.0]


def test_a_difference_is_sure_only_beyond_its_standard_error(world: World) -> None:
    three = judge(world, toys(world, 0.3, 0.31, 3.0))
    assert three.sure((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    assert not three.sure((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    # Either gains a little over the other.
    assert not three.sure((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    assert not three.sure((0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    assert three.objective((1.0, 0.0, 0.0)) != three.objective((0.0, 1.0, 0.0))
    assert not three.sure((1.0, 0.0, 0.0), (1.0, 0.0, 0.0))


def test_a_search_climbs_to_the_top_of_a_hill_on_the_simplex() -> None:
    top = np.array([0.5, 0.125, 0.375])

    def height(weights: Weights) -> float:
        return -float(np.square(np.array(weights) - top).sum())

    np.testing.assert_allclose(climbed(height, (1.0, 0.0, 0.0), range(3), (1 / 4, 1 / 8, 1 / 16)), top, atol=1 / 16)
    assert climbed(height, (1.0, 0.0, 0.0), (0, 1), (1 / 8,))[2] == 0
    assert climbed(lambda weights: 0.0, (1.0, 0.0), range(2), (1 / 4,)) == (1.0, 0.0)


def test_a_trial_and_what_is_fitted_again_have_checkpoints_of_their_own(world: World, tmp_path: Path) -> None:
    model = auto("graph", new_item_share=0.25)
    model.members["graph"].scratch = Scratch(tmp_path / "graph.safetensors", 0)
    model.fit(world.content, world.train, world.validation)
    assert {path.name for path in tmp_path.iterdir()} == {"graph.safetensors", "trial-graph.safetensors"}
    # A night that was killed in the second fit goes on from both, and ends at the same vectors.
    again = auto("graph", new_item_share=0.25)
    again.members["graph"].scratch = Scratch(tmp_path / "graph.safetensors", 1e9)
    again.fit(world.content, world.train, world.validation)
    np.testing.assert_array_equal(again.item_vectors, model.item_vectors)
