"""A blend is one model: its score is the weighted sum of its members', and validation alone chose the weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.evaluation.metrics import Task, rank
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content, Fit
from pipeline.recommend.content_features import neighbours_of
from pipeline.recommend.models.blend import NEIGHBOURS, BlendModel, BlendSettings, side_of
from tests.logs import of_rows
from tests.recommend.test_recommenders import ITEMS, NEW, SMALL, World, made, recommender


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def blend(*models: str) -> BlendModel:
    model = recommender("blend", members=[{"model": name, **SMALL.get(name, {})} for name in models])
    assert isinstance(model, BlendModel)
    return model


@pytest.fixture(scope="module")
def fitted(world: World) -> tuple[BlendModel, Fit]:
    model = blend("content", "als", "popularity")
    return model, model.fit(world.content, world.train, world.validation)


def test_the_score_is_the_weighted_sum_of_what_the_members_say_alone(
    world: World, fitted: tuple[BlendModel, Fit]
) -> None:
    model, fit = fitted
    known = np.unique(world.train.item)
    described = known[world.content.present[known]]
    expected = np.zeros((world.train.n_users, len(described)))
    for name, weight in fit.settings.items():
        alone = made(name)
        alone.fit(world.content, world.train, world.validation)
        scores = alone.scorer(world.train)(np.arange(world.train.n_users, dtype=np.int32))
        able = known if name != "content" else described
        deviation = scores[np.unique(world.train.user)][:, able].astype(np.float64).std(axis=1, ddof=1).mean()
        expected += weight / deviation * scores[:, described]
    found = model.user_vectors(world.train) @ model.item_vectors[described].T
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-3)
    assert sum(fit.settings.values()) == pytest.approx(1)


def test_no_member_alone_and_no_equal_mix_is_better_on_validation(world: World, fitted: tuple[BlendModel, Fit]) -> None:
    task = Task(world.train, world.validation)

    def ndcg(model: BlendModel, weights: dict[str, float]) -> float:
        before, model.weights = model.weights, weights
        values = rank(model.scorer(world.train), task, (10,)).values["ndcg@10"]
        model.weights = before
        return float(values.mean())

    model, fit = fitted
    names = list(fit.settings)
    best = ndcg(model, dict(fit.settings))
    for name in names:
        assert best >= ndcg(model, {other: float(other == name) for other in names})
    assert best >= ndcg(model, dict.fromkeys(names, 1 / 3))


def test_an_item_that_a_member_cannot_score_follows_its_neighbours_as_far_as_others_follow_theirs(world: World) -> None:
    model = blend("als")
    model.fit(world.content, world.train, world.validation)
    vectors, known = model.item_vectors, np.zeros(ITEMS, bool)
    known[world.train.item] = True
    neutral = vectors[known].mean(axis=0)
    ((near, cosines, _),) = neighbours_of(world.content, NEIGHBOURS).values()
    means = {}
    for item in np.flatnonzero(world.content.present):
        place = slice(near.indptr[item], near.indptr[item + 1])
        others, weights = near.indices[place], np.maximum(cosines[place], 0) * known[near.indices[place]]
        if weights.sum() > 0:
            means[item] = weights @ vectors[others] / weights.sum() - neutral
    own = [item for item in means if known[item]]
    slope = sum(means[item] @ (vectors[item] - neutral) for item in own) / sum(
        means[item] @ means[item] for item in own
    )
    assert 0.1 < slope < 1
    new = [item for item in means if not known[item]]
    assert len(new) >= NEW / 2
    for item in new:
        np.testing.assert_allclose(vectors[item], neutral + slope * means[item], rtol=1e-3, atol=1e-5)


def test_a_new_item_goes_no_further_than_its_neighbours_mean() -> None:
    """Of two sides, each has six items that are near each other, one of long vector beside them, and a new one."""
    generator = np.random.default_rng(0)
    side = np.repeat([1, -1], 8)
    content = np.stack([side, *generator.standard_normal((3, 16)) * 0.01], axis=1).astype(np.float32)
    content[[6, 7, 14, 15], 1] += 0.3
    lengths = np.tile([1, 1, 1, 1, 1, 1, 10, 0], 2)
    model = SimpleNamespace(
        item_vectors=(side * lengths)[:, None].astype(np.float32),
        user_vectors=lambda history: np.ones((history.n_users, 1), np.float32),
        inductive=False,
    )
    train = of_rows([(0, item, 0.0) for item in range(16) if lengths[item]], 1, 16)
    items = side_of(model, Content(content, np.ones(16, bool)), train).items  # type: ignore[arg-type]
    assert 0 < items[7, 0] < 5
    assert -5 < items[15, 0] < 0
    others = np.abs(items[[7, 15], 0])
    near = neighbours_of(Content(content, np.ones(16, bool)), NEIGHBOURS)["fused"][0]
    for item, other in zip((7, 15), others, strict=True):
        known = [lengths[at] for at in near.indices[near.indptr[item] : near.indptr[item + 1]] if lengths[at]]
        assert min(known) <= other <= max(known)


def test_an_item_without_such_neighbours_gets_the_members_mean(world: World) -> None:
    model = blend("als")
    nothing = Content(np.zeros_like(world.content.vectors), np.zeros(ITEMS, bool))
    model.fit(nothing, world.train, world.validation)
    scores = model.user_vectors(world.train) @ model.item_vectors.T
    known = np.unique(world.train.item)
    new = np.setdiff1d(np.arange(ITEMS), known)
    assert len(new) >= NEW
    mean = scores[:, known].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(scores[:, new], np.broadcast_to(mean, (len(mean), len(new))), atol=1e-4)
    assert not model.inductive
    assert blend("als", "content").inductive


def test_what_is_saved_is_taken_up_as_it_was(world: World, tmp_path: Path) -> None:
    model = blend("two_tower", "als")
    chosen = model.fit(world.content, world.train, world.validation)
    model.save(tmp_path)
    again = blend("two_tower", "als")
    again.restore(world.content, world.train, chosen, tmp_path)
    np.testing.assert_allclose(again.item_vectors, model.item_vectors, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.user_vectors(world.train), model.user_vectors(world.train), rtol=1e-5, atol=1e-6)


def test_what_is_published_keeps_epochs_settings_and_weights(world: World) -> None:
    model = blend("two_tower", "als")
    chosen = model.fit(world.content, world.train, world.validation)
    again = blend("two_tower", "als")
    final = again.refit(world.content, world.train, chosen)
    assert {name: weight for name, weight in chosen.settings.items() if weight} == final.settings
    for name, fit in final.members.items():
        assert fit.chosen_epochs == chosen.members[name].chosen_epochs
        assert fit.settings == chosen.members[name].settings
    # The same log: the same bytes.
    assert model.item_vectors.tobytes() == again.item_vectors.tobytes()
    assert model.user_vectors(world.train).tobytes() == again.user_vectors(world.train).tobytes()


def test_the_item_side_gives_the_published_vectors_again(world: World, tmp_path: Path) -> None:
    model = blend("two_tower", "content", "als")
    model.fit(world.content, world.train)
    model.save(tmp_path)
    codes = np.random.default_rng(0).permutation(ITEMS)
    content = Content(world.content.vectors[codes], world.content.present[codes])
    found = kind_of("blend").item_side(tmp_path).vectors(content, codes, ())
    np.testing.assert_allclose(found, model.item_vectors[codes], atol=1e-5)


def test_a_member_that_cannot_make_its_items_again_keeps_them_whatever_the_content(
    world: World, tmp_path: Path
) -> None:
    model = blend("elsa", "graph", "als")
    model.fit(world.content, world.train, epochs=1)
    model.save(tmp_path)
    side, codes = kind_of("blend").item_side(tmp_path), np.arange(ITEMS)
    assert side is not None
    assert side.fixed == ("elsa", "als")
    whole, nothing = (side.vectors(world.content, codes, kept) for kept in (("fused",), ()))
    np.testing.assert_allclose(whole, model.item_vectors, atol=1e-5)
    start = SMALL["elsa"]["width"]
    stop = start + SMALL["graph"]["width"]
    np.testing.assert_array_equal(np.delete(whole, np.s_[start:stop], 1), np.delete(nothing, np.s_[start:stop], 1))
    assert not np.allclose(whole, nothing)


def test_a_blend_of_such_members_alone_has_no_item_side(world: World, tmp_path: Path) -> None:
    model = blend("elsa", "als")
    model.fit(world.content, world.train, epochs=1)
    model.save(tmp_path)
    assert kind_of("blend").item_side(tmp_path) is None


def test_a_model_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="must name each model once"):
        BlendSettings.model_validate({"members": [{"model": "als"}, {"model": "als"}]})
