"""A saved model tells which past choices a user's vector is the sum of, and the parts give the score again."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ShardCorrupt
from pipeline.fusion.user_attention import HistoryAttention
from pipeline.fusion.user_pooling import Pooling
from pipeline.interactions import Interactions, unit_rows
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content, Recommender
from pipeline.recommend.sides import PastOf, Split
from pipeline.recommend.user_networks import NETWORK, ROWS
from pipeline.recommend.user_sides import export_users, save_model
from tests.conftest import ROOT
from tests.recommend.test_recommenders import ITEMS, SMALL, USERS, World, recommender

SUMS = ("content", "elsa", "svd", "graph", "bpr", "vbpr", "lightgcn", "als")
# So weakly held back that als reads a choice quite otherwise beside others; and networks that read a part of a history.
CHANGED = {
    "als": {"regularization": (0.1,), "alpha": (6,)},
    "two_tower": {"history_items": 6},
    "sequence": {"history_items": 5, "heads": 2},
}
NETWORKS = ("two_tower", "sequence")
MEMBERS = ("graph", "als", "popularity", "content", "elsa")


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def later(world: World) -> Interactions:
    """A longer history than the models learn from, in which weights differ and choices are repeated."""
    log = world.train.concat(world.validation)
    repeated = log.subset(np.arange(len(log)) % 5 == 0)
    both = log.concat(replace(repeated, age_days=repeated.age_days + 3))
    weights = np.random.default_rng(0).uniform(0.5, 3, len(both)).astype(np.float32)
    return replace(both, weight=weights)


@pytest.fixture(scope="module")
def content(world: World) -> Content:
    """The world's, with profiles of every other user."""
    profiles = unit_rows(np.random.default_rng(1).standard_normal((USERS, 24)).astype(np.float32))
    profiles[::2] = 0
    return replace(world.content, pooling=Pooling(5.0, None, profiles, 0.3))


def fitted(name: str, world: World, content: Content, folder: Path, *members: str) -> Recommender:
    parts = [{"model": member, **SMALL.get(member, {}), **CHANGED.get(member, {})} for member in members]
    model = recommender(name, **({"members": parts} if parts else CHANGED.get(name, {})))
    model.fit(content, world.train, epochs=2)
    save_model(model, folder)
    return model


def replace_world(world: World, content: Content, train: Interactions) -> World:
    """The same with another catalogue and log to learn from."""
    other = copy.copy(world)
    other.content, other.train = content, train
    return other


def splits(
    name: str, model: Recommender, content: Content, later: Interactions, folder: Path
) -> list[tuple[float, Split, PastOf]]:
    """The score of a few users and items, how it is told apart, and of which past."""
    side, users, found = kind_of(name).user_side(folder), model.user_vectors(later), []
    assert side is not None
    for user, item in ((0, 5), (1, 5), (7, 119), (12, 2)):
        own = later.subset(later.user == user)
        codes, places = np.unique(own.item, return_inverse=True)
        history = replace(
            own, user=np.zeros_like(own.user), item=places.astype(np.int32), n_users=1, n_items=len(codes)
        )
        profile = content.pooling.profiles[user] if content.pooling and content.pooling.profiles is not None else None
        past = PastOf(history, codes.astype(np.int64), profile if profile is not None and profile.any() else None)
        score = float(users[user].astype(np.float64) @ model.item_vectors[item])
        found.append((score, side.split(users[user], model.item_vectors[item], past), past))
    return found


@pytest.mark.parametrize("name", SUMS)
def test_what_each_choice_adds_makes_the_score_and_the_base_is_the_same_for_everyone(
    name: str, world: World, content: Content, later: Interactions, tmp_path: Path
) -> None:
    model = fitted(name, world, content, tmp_path)
    nobody = model.user_vectors(later.subset(np.zeros(len(later), bool)))[0]
    for (score, split, past), item in zip(splits(name, model, content, later, tmp_path), (5, 5, 119, 2), strict=True):
        assert split.base + split.choices.sum() + sum(split.rest.values()) == pytest.approx(score, abs=1e-9)
        expected = float(nobody @ model.item_vectors[item])
        assert split.base == pytest.approx(expected, abs=1e-5 * max(1, abs(score)))
        assert len(split.choices) == len(past.codes)
        assert bool(split.rest) == (name == "content" and past.profile is not None)
    assert any(split.choices.any() for _, split, _ in splits(name, model, content, later, tmp_path))


@pytest.mark.parametrize("name", ["elsa", "svd", "lightgcn", "bpr"])
def test_without_one_choice_a_user_who_is_a_plain_sum_loses_its_share(
    name: str, world: World, content: Content, later: Interactions, tmp_path: Path
) -> None:
    model = fitted(name, world, content, tmp_path)
    score, split, past = splits(name, model, content, later, tmp_path)[0]
    for place, code in enumerate(past.codes):
        without = model.user_vectors(later.subset((later.user == 0) & (later.item != code)))[0]
        # These two are scaled by a root of how many items were chosen.
        scale = np.sqrt((len(past.codes) - 1) / len(past.codes)) if name in ("lightgcn", "bpr") else 1
        lost = score - split.base - scale * (float(without @ model.item_vectors[5]) - split.base)
        assert split.choices[place] == pytest.approx(lost, abs=1e-5)


def test_a_blend_adds_up_over_its_members_and_those_that_are_no_sums_stay_whole(
    world: World, content: Content, later: Interactions, tmp_path: Path
) -> None:
    model = fitted("blend", world, content, tmp_path, *MEMBERS)
    for score, split, past in splits("blend", model, content, later, tmp_path):
        assert split.base + split.choices.sum() + sum(split.rest.values()) == pytest.approx(score, abs=1e-6)
        assert set(split.rest) == {"popularity"} | ({"profile"} if past.profile is not None else set())
        assert split.choices.any()


@pytest.mark.parametrize("name", ["two_tower", "sequence", "llm", "popularity"])
def test_a_model_that_is_no_sum_does_not_pretend(name: str, world: World, tmp_path: Path) -> None:
    fitted(name, world, world.content, tmp_path)
    assert kind_of(name).user_side(tmp_path) is None


def test_attention_over_a_history_is_no_sum_either(world: World, tmp_path: Path) -> None:
    fitted("content", world, replace(world.content, pooling=Pooling(5.0, HistoryAttention(5.0))), tmp_path)
    assert kind_of("content").user_side(tmp_path) is None


def attention() -> HistoryAttention:
    """Of which every number counts."""
    made = HistoryAttention(5.0)
    with torch.no_grad():
        for number, value in zip(made.parameters(), (0.3, 0.4, 0.7, -0.5), strict=True):
            number.fill_(value)
    return made


POOLED = [(name, "attention") for name in ("content", "two_tower", "blend")]


@pytest.mark.parametrize(
    ("name", "pooled"), [*((name, "mean") for name in (*SUMS, *NETWORKS, "popularity", "blend")), *POOLED]
)
def test_a_history_makes_the_models_own_user_without_the_model(
    name: str, pooled: str, world: World, later: Interactions, tmp_path: Path
) -> None:
    """The items are cut to some rows, as an index has them, and nothing of the fit is there but what was exported."""
    members = (*MEMBERS, *NETWORKS) if name == "blend" else ()
    plain = replace(world.content, pooling=Pooling(5.0, attention() if pooled == "attention" else None))
    (tmp_path / "saved").mkdir()
    model = fitted(name, world, plain, tmp_path / "saved", *members)
    rows = np.arange(2, later.n_items)
    known = later.subset(later.item >= 2)
    assert export_users(name, tmp_path / "saved", rows, tmp_path / "out") == ()
    side, users = kind_of(name).fold_side(tmp_path / "out"), model.user_vectors(known)
    assert side is not None
    for user in range(USERS):
        own = known.subset(known.user == user)
        codes, places = np.unique(own.item, return_inverse=True)
        alone = np.zeros_like(own.user), places.astype(np.int32), own.age_days, own.weight
        past = PastOf(Interactions(*alone, 1, len(codes)), codes.astype(np.int64) - 2)
        assert np.abs(side.fold_in(past) - users[user]).max() <= 1e-4 * max(1, np.abs(users[user]).max())


@pytest.mark.parametrize("pooled", ["mean", "attention"])
@pytest.mark.parametrize("name", ["content", "two_tower", "blend"])
def test_a_profile_counts_as_it_does_at_night(
    name: str, pooled: str, world: World, content: Content, later: Interactions, tmp_path: Path
) -> None:
    if pooled == "attention":
        content = replace(content, pooling=replace(content.pooling, attention=attention()))
    (tmp_path / "saved").mkdir()
    (tmp_path / "profiles.parquet").write_text("copied")
    members = ("svd", "content", "two_tower") if name == "blend" else ()
    model = fitted(name, world, content, tmp_path / "saved", *members)
    rows = np.arange(later.n_items)
    assert export_users(name, tmp_path / "saved", rows, tmp_path / "out", tmp_path / "profiles.parquet") == ()
    assert (tmp_path / "out" / "profiles.parquet").read_text() == "copied"
    if name == "blend":
        export_users("svd", tmp_path / "saved" / "svd", rows, tmp_path / "svd", tmp_path / "profiles.parquet")
        assert not (tmp_path / "svd" / "profiles.parquet").exists()
    side, users = kind_of(name).fold_side(tmp_path / "out"), model.user_vectors(later)
    assert side is not None
    assert content.pooling.profiles is not None
    for user in range(USERS):
        own = later.subset((later.user == user) & (user % 4 < 3))
        profile = content.pooling.profiles[user] if content.pooling.profiles[user].any() else None
        codes, places = np.unique(own.item, return_inverse=True)
        alone = np.zeros_like(own.user), places.astype(np.int32), own.age_days, own.weight
        past = PastOf(Interactions(*alone, 1, len(codes)), codes.astype(np.int64), profile)
        wanted = users[user] if user % 4 < 3 else model.user_vectors(later.subset(later.user != user))[user]
        assert np.abs(side.fold_in(past) - wanted).max() <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_who_has_chosen_nothing_is_who_they_are_at_night(
    name: str, world: World, later: Interactions, tmp_path: Path
) -> None:
    model = fitted(name, world, world.content, tmp_path)
    side, others = kind_of(name).fold_side(tmp_path), later.subset(later.user > 0)
    assert side is not None
    past = PastOf(replace(others.subset(others.user < 0), n_users=1, n_items=0), np.zeros(0, np.int64))
    np.testing.assert_array_equal(side.fold_in(past), model.user_vectors(others)[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_bytes_every_time_and_no_larger_for_more_items(
    name: str, world: World, tmp_path: Path
) -> None:
    files = []
    for place, most in enumerate((ITEMS, ITEMS, 60)):
        (folder := tmp_path / str(place)).mkdir()
        train = world.train.subset(world.train.item < most)
        few = replace(world.content, vectors=world.content.vectors[:most], present=world.content.present[:most])
        fitted(name, replace_world(world, few, replace(train, n_items=most)), few, folder)
        files.append((folder / NETWORK).read_bytes())
    assert files[0] == files[1] != files[2]
    assert abs(len(files[2]) - len(files[0])) < 100
    assert b"/" + __name__.encode() not in files[0]
    assert str(ROOT).encode() not in files[0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("damage", ["cut", "text", "another network", "no rows"])
def test_a_network_that_is_damaged_or_anothers_is_one_sentence(
    name: str, damage: str, world: World, later: Interactions, tmp_path: Path
) -> None:
    fitted(name, world, world.content, tmp_path)
    path = tmp_path / NETWORK
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "text":
        path.write_text("no network")
    elif damage == "another network":
        (other := tmp_path / "other").mkdir()
        wider = recommender(name, width=32)
        wider.fit(world.content, world.train, epochs=1)
        save_model(wider, other)
        shutil.copyfile(other / NETWORK, path)
    else:
        shutil.copyfile(tmp_path / "model.safetensors", tmp_path / ROWS)
    own = later.subset(later.user == 1)
    codes, places = np.unique(own.item, return_inverse=True)
    history = Interactions(own.user * 0, places.astype(np.int32), own.age_days, own.weight, 1, len(codes))
    past = PastOf(history, codes.astype(np.int64))
    with pytest.raises(ShardCorrupt) as caught:
        kind_of(name).fold_side(tmp_path).fold_in(past)  # type: ignore[union-attr]
    assert str(caught.value).startswith(f"{tmp_path / (ROWS if damage == 'no rows' else NETWORK)}: not ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["llm", "blend"])
def test_a_model_that_is_not_exported_is_not_folded_in_and_says_so(name: str, world: World, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    model = fitted(name, world, world.content, tmp_path / "saved", *(("svd", "llm") if name == "blend" else ()))
    rows = np.arange(len(model.item_vectors))
    assert export_users(name, tmp_path / "saved", rows, tmp_path / "out") == ("llm",)
    assert not (tmp_path / "out").exists()
    nobody = PastOf(Interactions(*np.zeros((2, 0), np.int32), *np.zeros((2, 0), np.float32), 1, 0), rows[:0])
    if name == "blend":
        side = kind_of(name).user_side(tmp_path / "saved")
        assert side is not None
        with pytest.raises(ConfigError, match="history: llm makes users at night alone"):
            side.fold_in(nobody)


@pytest.mark.parametrize("name", SUMS)
def test_a_user_of_another_history_is_one_sentence(
    name: str, world: World, content: Content, later: Interactions, tmp_path: Path
) -> None:
    model, side = fitted(name, world, content, tmp_path), kind_of(name).user_side(tmp_path)
    ((_, _, past), *_) = splits(name, model, content, later, tmp_path)
    other = model.user_vectors(later)[6]
    assert side is not None
    with pytest.raises(ShardCorrupt, match="does not follow from log and model"):
        side.split(other, model.item_vectors[5], past)
