"""What every recommender promises: shapes, determinism, honest baselines, and a two-tower model that learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pipeline.config.train import RECOMMENDERS, TrainSettings
from pipeline.errors import StepFailed
from pipeline.evaluation.metrics import Task, rank
from pipeline.interactions import Interactions, unit_rows
from pipeline.recommend import build, kind_of
from pipeline.recommend.base import Content, Model, Recommender
from pipeline.recommend.models.als import ALS, AlsSettings
from pipeline.training.negatives import Sampler
from pipeline.training.windows import windows
from tests.logs import of_rows

SMALL: dict[str, dict[str, Any]] = {
    "two_tower": {
        "width": 16,
        "max_epochs": 12,
        "patience_epochs": 12,
        "batch_rows": 32,
        "negatives": 64,
        "history_items": 10,
    },
    "bpr": {"width": 16, "max_epochs": 40, "batch_rows": 128},
    "vbpr": {"width": 16, "content_width": 16, "max_epochs": 40, "batch_rows": 128},
    "lightgcn": {"width": 16, "max_epochs": 40, "batch_rows": 128},
    "graph": {"width": 16, "max_epochs": 30, "batch_users": 32},
    "elsa": {"width": 16, "batch_rows": 32},
    "sequence": {"width": 16, "max_epochs": 12},
    "llm": {
        "weights": "",
        "tuning": "full",
        "scratch": {"layers": 1, "width": 16, "heads": 2},
        "width": 16,
        "max_epochs": 3,
    },
    "als": {"factors": 8, "iterations": 5},
}
SMALL["blend"] = {"members": [{"model": name, **SMALL[name]} for name in ("two_tower", "als")]}
SMALL["auto"] = {"members": [{"model": name, **SMALL.get(name, {})} for name in ("svd", "als", "graph")]}
GROUPS, ITEMS, USERS, LENGTH = 4, 120, 90, 8
NEW = 20


class World:
    """Users who like one group of items each; an item's fused vector is its group's direction and much noise.

    The last NEW items are chosen in the test part only, and the last user has no history.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.group = np.arange(ITEMS) % GROUPS
        noise = generator.standard_normal((ITEMS, 24)).astype(np.float32)
        vectors = unit_rows(2.5 * np.eye(GROUPS, 24, dtype=np.float32)[self.group] + 0.4 * noise)
        present = np.ones(ITEMS, bool)
        present[:3] = False
        vectors[:3] = 0
        self.content = Content(vectors, present)
        rows: list[tuple[int, int, float]] = []
        late: list[tuple[int, int, float]] = []
        for user in range(USERS - 1):
            liked = np.flatnonzero(self.group == user % GROUPS)
            old, new = liked[liked < ITEMS - NEW], liked[liked >= ITEMS - NEW]
            picked = generator.choice(old, LENGTH, replace=False)
            rows += [(user, int(item), float(LENGTH - i)) for i, item in enumerate(picked)]
            late += [(user, int(item), 0.0) for item in generator.choice(new, 2, replace=False)]
        log = of_rows(rows, USERS, ITEMS)
        self.validation = log.subset(log.age_days == 1)
        self.train = log.subset(log.age_days > 1)
        self.new = of_rows(late, USERS, ITEMS)
        self.is_new = np.arange(ITEMS) >= ITEMS - NEW


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def small(name: str, **changes: Any) -> TrainSettings:
    """The settings of a model that fits in no time."""
    settings: TrainSettings = RECOMMENDERS.read({"model": name, **SMALL.get(name, {}), **changes})  # type: ignore[assignment]
    return settings


def made(name: str, seed: int = 0, **changes: Any) -> Model:
    return build(small(name, **changes), seed)


def recommender(name: str, **changes: Any) -> Recommender:
    model = made(name, **changes)
    assert isinstance(model, Recommender)
    return model


def ndcg(model_name: str, world: World, cold: bool = False) -> float:
    model = made(model_name)
    model.fit(world.content, world.train, world.validation)
    task = Task(world.train, world.new, world.is_new) if cold else Task(world.train, world.validation)
    found = rank(model.scorer(world.train), task, (10,))
    return float(found.values["ndcg@10"].mean())


WITH_VECTORS = [name for name in RECOMMENDERS.names() if kind_of(name).vectors]


@pytest.mark.parametrize("name", WITH_VECTORS)
def test_vectors_are_float32_finite_of_one_width_and_the_same_every_time(name: str, world: World) -> None:
    pairs = []
    for _ in range(2):
        model = made(name)
        fit = model.fit(world.content, world.train, world.validation)
        assert isinstance(model, Recommender)
        pairs.append((model.user_vectors(world.train), model.item_vectors))
        # What else ran in the process must not matter.
        torch.rand(3)
        np.random.default_rng().random()
    users, items = pairs[0]
    assert users.dtype == items.dtype == np.float32
    assert users.shape == (USERS, items.shape[1])
    assert len(items) == ITEMS
    assert np.isfinite(users).all()
    assert np.isfinite(items).all()
    assert fit.seconds >= 0
    for first, second in zip(*pairs, strict=True):
        assert first.tobytes() == second.tobytes()


def test_the_seed_matters_where_something_is_drawn(world: World) -> None:
    for name in ("random", "als", "two_tower", "bpr", "vbpr", "lightgcn", "graph", "elsa"):
        vectors = []
        for seed in (0, 1):
            model = made(name, seed)
            model.fit(world.content, world.train, epochs=1)
            vectors.append(model.item_vectors)
        assert not np.array_equal(*vectors), name


def test_two_tower_learns_taste_and_stops_at_its_best_epoch(world: World) -> None:
    model = recommender("two_tower")
    told: list[float] = []
    fit = model.fit(world.content, world.train, world.validation, on_epoch=lambda epoch: told.append(epoch["epoch"]))
    assert told == [epoch["epoch"] for epoch in fit.curve]
    best = max(fit.curve, key=lambda epoch: epoch["ndcg@10"])
    assert fit.chosen_epochs == best["epoch"]
    assert fit.curve[-1]["loss"] < fit.curve[0]["loss"]
    task = Task(world.train, world.validation)
    restored = rank(model.scorer(world.train), task, (10,)).values["ndcg@10"].mean()
    assert restored == pytest.approx(best["ndcg@10"], abs=1e-12)
    assert restored > 2 * ndcg("popularity", world)


def test_exactly_the_given_epochs_make_the_published_fit(world: World) -> None:
    chosen = recommender("two_tower")
    epochs = chosen.fit(world.content, world.train, world.validation).chosen_epochs
    again = recommender("two_tower")
    fit = again.fit(world.content, world.train, epochs=epochs)
    assert (fit.chosen_epochs, len(fit.curve)) == (epochs, epochs)
    assert "ndcg@10" not in fit.curve[0]
    # Same settings, same log, same number of epochs: the same model, to the byte.
    np.testing.assert_array_equal(chosen.item_vectors, again.item_vectors)


@pytest.mark.parametrize("name", ["content", "two_tower", "vbpr", "graph", "elsa", "svd"])
def test_inductive_models_rank_items_nobody_has_chosen_yet(name: str, world: World) -> None:
    assert recommender(name).inductive
    assert ndcg(name, world, cold=True) > 1.5 * ndcg("random", world, cold=True)


@pytest.mark.parametrize("name", ["popularity", "item_knn", "rp3beta", "ease", "als", "bpr", "lightgcn"])
def test_models_of_ids_alone_rank_new_items_no_better_than_chance(name: str, world: World) -> None:
    assert not made(name).inductive
    assert ndcg(name, world, cold=True) == pytest.approx(ndcg("random", world, cold=True), abs=0.12)


def test_a_longer_history_moves_a_user_without_another_fit(world: World) -> None:
    for name in ("content", "als", "two_tower", "bpr", "vbpr", "lightgcn", "graph", "elsa"):
        model = made(name)
        model.fit(world.content, world.train, epochs=1)
        longer = model.user_vectors(world.train.concat(world.validation))
        assert np.abs(longer - model.user_vectors(world.train))[:-1].max(axis=1).all(), name


def test_a_user_without_history_gets_what_suits_everyone_or_nothing(world: World) -> None:
    for name in ("content", "als", "lightgcn", "elsa"):
        model = made(name)
        model.fit(world.content, world.train)
        assert not model.user_vectors(world.train)[-1].any(), name
    for name, place in {"two_tower": 16, "bpr": 16, "vbpr": 32, "graph": 16}.items():
        model = recommender(name)
        model.fit(world.content, world.train, epochs=1)
        assert np.flatnonzero(model.user_vectors(world.train)[-1]).tolist() == [place], name


def test_als_keeps_the_setting_that_is_best_on_validation(world: World) -> None:
    task = Task(world.train, world.validation)
    settings = AlsSettings(factors=8, iterations=5, regularization=(500, 1), alpha=(1, 20))
    found = {}
    for regularization in settings.regularization:
        for alpha in settings.alpha:
            one = settings.model_copy(update={"regularization": (regularization,), "alpha": (alpha,)})
            model = ALS(one, 0, 1)
            model.fit(world.content, world.train, world.validation)
            scores = rank(model.scorer(world.train), task, (10,))
            found[(regularization, alpha)] = (scores.values["ndcg@10"].mean(), model.item_vectors)
    chosen = ALS(settings, 0, 1)
    chosen.fit(world.content, world.train, world.validation)
    best = max(found.values(), key=lambda pair: pair[0])
    np.testing.assert_array_equal(chosen.item_vectors, best[1])


def test_saved_weights_are_safetensors_and_complete(world: World, tmp_path: Path) -> None:
    model = recommender("two_tower")
    model.fit(world.content, world.train, epochs=1)
    model.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["item.ids"].shape == (ITEMS, 16)
    assert tensors["known"].sum() == len(np.unique(world.train.item))


def test_a_log_with_nothing_to_predict_is_refused_in_one_sentence(world: World) -> None:
    single = world.validation
    with pytest.raises(StepFailed, match=r"set train\.model to content"):
        recommender("two_tower").fit(world.content, single)


def test_negatives_are_known_items_and_expected_as_often_as_said(world: World) -> None:
    sampler = Sampler(world.train.item_counts(), np.random.default_rng(0))
    count = 50
    drawn = np.zeros(ITEMS)
    for _ in range(4000):
        codes, log_expected = sampler.draw(count)
        np.add.at(drawn, codes, np.exp(-log_expected))
    known = np.flatnonzero(sampler.known)
    assert not drawn[~sampler.known].any()
    # Weighted by 1 / expected, every item counts one a draw: the estimate of the softmax's sum is unbiased.
    np.testing.assert_allclose(drawn[known] / 4000, 1, atol=0.15)
    codes, log_expected = sampler.draw(len(known))
    assert codes.tolist() == known.tolist()
    assert not log_expected.any()


def test_a_window_holds_only_the_users_own_past_and_ties_share_a_place() -> None:
    ages = np.array([9.0, 5.0, 5.0, 2.0, 7.0, 1.0])
    log = Interactions(
        np.array([0, 0, 0, 0, 1, 1], np.int32), np.arange(6, dtype=np.int32), ages, np.ones(6, np.float32), 2, 6
    )
    window = windows(log, np.array([0, 1]), np.array([4, 5]), 5)
    assert window.item[0][window.present[0]].tolist() == [3, 2, 1, 0]
    assert window.newer[0][:4].tolist() == [0, 1, 1, 3]
    assert window.gap_days[0][:4].tolist() == [0, 3, 3, 7]
    assert window.item[1][window.present[1]].tolist() == [4]


def test_the_order_of_what_shares_a_moment_is_not_read(world: World) -> None:
    model = recommender("two_tower")
    model.fit(world.content, world.train, epochs=2)
    tied = replace(world.train, age_days=np.zeros(len(world.train)))
    generator = np.random.default_rng(0)
    order = np.lexsort((generator.random(len(tied)), tied.user))
    shuffled = tied.subset(order)  # type: ignore[arg-type]
    np.testing.assert_allclose(model.user_vectors(tied), model.user_vectors(shuffled), atol=1e-5)
