"""Recommenders of pairs and graphs: they learn taste, fold histories in, and honour what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file

from pipeline.errors import StepFailed
from pipeline.evaluation.metrics import Task, inner_product, mean_of
from pipeline.interactions import Interactions, unit_rows
from pipeline.recommend import kind_of, recommender
from pipeline.recommend.base import Content, Recommender
from pipeline.recommend.content_features import neighbours, symmetric
from pipeline.recommend.models.popularity import Popularity, PopularitySettings
from pipeline.recommend.propagation import Graph
from pipeline.training.softmax import log_sum_exp

GROUPS, ITEMS, USERS, LENGTH = 4, 80, 120, 7
PAIRS = {"width": 16, "max_epochs": 40, "patience_epochs": 40, "batch_rows": 256}
ALIKE = {"popularity_power": 0.0, "learning_rate": 1e-2, "l2": 3e-2}
SMALL: dict[str, dict[str, Any]] = {
    "bpr": {**PAIRS, **ALIKE},
    "vbpr": {**PAIRS, "content_width": 8},
    "lightgcn": PAIRS,
    "graph": {"width": 16, "neighbours": 5, "max_epochs": 20, "patience_epochs": 20, "batch_users": 64},
}
NAMES = tuple(SMALL)


def make(name: str, seed: int = 0, **settings: float) -> Recommender:
    return recommender(kind_of(name).Settings(**SMALL[name] | settings), seed)


class World:
    """Users who like one group of items each; each of two modalities tells groups apart, and some items lack one."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.group = np.arange(ITEMS) % GROUPS
        self.modalities = {}
        for name, width in (("image", 12), ("audio", 9)):
            centre = 2 * np.eye(GROUPS, width, dtype=np.float32)[self.group]
            noise = 0.3 * generator.standard_normal((ITEMS, width)).astype(np.float32)
            self.modalities[name] = (centre + noise + 5, generator.random(ITEMS) < 0.8)
        fused = unit_rows(np.concatenate([vectors for vectors, _ in self.modalities.values()], axis=1))
        self.content = Content(fused, np.ones(ITEMS, bool), modalities=self.modalities)
        chosen = np.zeros((USERS, ITEMS), bool)
        for user in range(USERS - 1):
            liked = np.flatnonzero(self.group == user % GROUPS)
            chosen[user, generator.choice(liked[:-2], LENGTH, replace=False)] = True
        user, item = (codes.astype(np.int32) for codes in np.nonzero(chosen))
        last = np.r_[user[1:] != user[:-1], True]
        log = Interactions(user, item, np.where(last, 0.0, 1.0), np.ones(len(user), np.float32), USERS, ITEMS)
        self.train, self.validation = log.subset(~last), log.subset(last)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def ndcg(users: np.ndarray, items: np.ndarray, world: World) -> float:
    return mean_of(inner_product(users, items), Task(world.train, world.validation), "ndcg@10")


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_taste_stops_at_its_best_and_gives_the_same_bytes_again(name: str, world: World) -> None:
    popular = Popularity(PopularitySettings())
    popular.fit(world.content, world.train)
    floor = ndcg(popular.user_vectors(world.train), popular.item_vectors, world)
    told: list[float] = []
    model = make(name, evaluate_every=4)
    fit = model.fit(world.content, world.train, world.validation, on_epoch=lambda epoch: told.append(epoch["epoch"]))
    assert told == [epoch["epoch"] for epoch in fit.curve]
    best = max(fit.curve, key=lambda epoch: epoch.get("ndcg@10", -1))
    assert (fit.chosen_epochs, fit.chosen_epochs % 4) == (best["epoch"], 0)
    served = ndcg(model.user_vectors(world.train), model.item_vectors, world)
    assert served == pytest.approx(best["ndcg@10"], abs=1e-12)
    assert served > 2 * floor
    again = make(name, evaluate_every=4)
    assert "ndcg@10" not in again.fit(world.content, world.train, epochs=fit.chosen_epochs).curve[-1]
    assert again.item_vectors.tobytes() == model.item_vectors.tobytes()
    assert again.user_vectors(world.train).tobytes() == model.user_vectors(world.train).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_history_alone_makes_the_user(name: str, world: World) -> None:
    """User 0 gets user 1's history: no trace of user 0 is left, whatever was learned of that user."""
    model = make(name)
    model.fit(world.content, world.train, epochs=5)
    other = world.train.subset(world.train.user == 1)
    moved = replace(other, user=np.zeros_like(other.user))
    np.testing.assert_allclose(model.user_vectors(moved)[0], model.user_vectors(world.train)[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bpr", "vbpr", "lightgcn"])
def test_folding_the_training_history_in_ranks_about_as_the_learned_users_do(name: str, world: World) -> None:
    model = make(name)
    model.fit(world.content, world.train, epochs=30)
    folded = ndcg(model.user_vectors(world.train), model.item_vectors, world)
    assert folded > 0.9 * ndcg(model.learned_users(), model.item_vectors, world)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["vbpr", "graph"])
def test_what_an_absent_modality_holds_changes_nothing(name: str, world: World) -> None:
    vectors, present = world.modalities["audio"]
    garbage = np.where(present[:, None], vectors, np.float32(1e3))
    other = replace(world.content, modalities={**world.modalities, "audio": (garbage, present)})
    made = []
    for content in (world.content, other):
        model = make(name)
        model.fit(content, world.train, epochs=2)
        made.append(model.item_vectors)
    assert np.isfinite(made[0]).all()
    np.testing.assert_array_equal(*made)


def test_an_item_has_no_edges_in_a_modality_it_lacks_and_keeps_those_of_others(world: World) -> None:
    vectors, present = world.modalities["image"]
    graph = neighbours(vectors, present, 5).toarray()
    assert not graph[~present].any()
    assert not graph[:, ~present].any()
    assert ((graph[present] > 0).sum(axis=1) == 5).all()
    assert not np.diag(graph).any()
    rows, columns = np.nonzero(graph)
    assert (world.group[rows] == world.group[columns]).mean() > 0.9
    fewer = present.copy()
    fewer[np.flatnonzero(present)[0]] = False
    kept = neighbours(vectors, fewer, 5).toarray()
    assert not kept[~fewer].any()


@pytest.mark.parametrize("name", ["vbpr", "graph"])
def test_without_modalities_the_fused_vectors_are_the_only_one(name: str, world: World) -> None:
    fused = Content(world.content.vectors, world.content.present)
    told = replace(fused, modalities={"any": (fused.vectors, fused.present)})
    made = []
    for content in (fused, told):
        model = make(name)
        model.fit(content, world.train, epochs=2)
        made.append(model.item_vectors)
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("name", ["vbpr", "graph"])
def test_items_that_nobody_chose_are_ranked_by_their_content(name: str, world: World) -> None:
    assert make(name).inductive
    model = make(name)
    model.fit(world.content, world.train, epochs=20)
    new = np.flatnonzero(np.bincount(world.train.item, minlength=ITEMS) == 0)
    assert len(new) >= 2 * GROUPS
    scores = model.user_vectors(world.train)[: USERS - 1] @ model.item_vectors[new].T
    liked = world.group[new] == (np.arange(USERS - 1) % GROUPS)[:, None]
    assert scores[liked].mean() > scores[~liked].mean() + scores.std() / 2


def test_a_history_of_new_items_alone_tells_the_graph_something(world: World) -> None:
    model = make("graph")
    model.fit(world.content, world.train, epochs=20)
    new = np.flatnonzero(np.bincount(world.train.item, minlength=ITEMS) == 0).astype(np.int32)
    one = np.ones(len(new), np.float32)
    history = Interactions(np.arange(len(new), dtype=np.int32), new, one.astype(np.float64), one, USERS, ITEMS)
    scores = model.user_vectors(history)[: len(new)] @ model.item_vectors.T
    alike = world.group[new][:, None] == world.group
    assert scores[alike].mean() > scores[~alike].mean() + scores.std() / 2


def test_a_sampled_softmax_learns_as_well_as_the_full_one(world: World) -> None:
    found = []
    for candidates in (ITEMS, 20):
        model = make("graph", max_candidates=candidates)
        model.fit(world.content, world.train, epochs=15)
        found.append(ndcg(model.user_vectors(world.train), model.item_vectors, world))
    assert found[1] > 0.85 * found[0]


def test_the_gradient_of_propagation_is_autograds_own_on_a_dense_copy() -> None:
    generator = np.random.default_rng(0)
    matrix = sp.random(7, 5, 0.5, "csr", dtype=np.float32, random_state=generator)
    dense = torch.from_numpy(matrix.toarray())
    start = torch.from_numpy(generator.standard_normal((5, 3)).astype(np.float32))
    gradients = []
    for factor in (Graph(matrix), dense):
        weight = start.clone().requires_grad_()
        ((factor @ weight.sin()) ** 2).sum().backward()
        gradients.append(weight.grad)
    torch.testing.assert_close(*gradients)


def test_the_softmax_sum_and_its_gradient_are_those_written_plainly() -> None:
    generator = torch.Generator().manual_seed(0)
    ends = [torch.randn(rows, 5, generator=generator) for rows in (4, 9)]
    rows, columns = torch.tensor([0, 0, 3]), torch.tensor([2, 8, 1])
    hidden = torch.zeros(4, 9, dtype=torch.bool)
    hidden[rows, columns] = True
    found = []
    for plain in (False, True):
        left, right = (end.clone().requires_grad_() for end in ends)
        table = (left @ right.T).masked_fill(hidden, -torch.inf)
        sums = table.logsumexp(dim=1) if plain else log_sum_exp(left, right, rows, columns)
        (sums * torch.arange(4)).sum().backward()
        found.append([sums.detach(), left.grad, right.grad])
    torch.testing.assert_close(*found)


def test_normalisation_is_the_symmetric_one() -> None:
    matrix = sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32))
    expected = [[1 / np.sqrt(2), 1 / 2, 0], [0, 1 / np.sqrt(2), 0], [0, 0, 0]]
    np.testing.assert_allclose(symmetric(matrix).toarray(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_saved_weights_are_safetensors(name: str, world: World, tmp_path: Path) -> None:
    model = make(name)
    model.fit(world.content, world.train, epochs=1)
    model.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    rows = {
        "bpr": ("items", ITEMS),
        "vbpr": ("items", ITEMS),
        "lightgcn": ("ids", USERS + ITEMS),
        "graph": ("ids", ITEMS),
    }
    weight, count = rows[name]
    assert tensors[weight].shape == (count, 16)


def test_a_log_of_single_choices_is_refused_in_one_sentence(world: World) -> None:
    with pytest.raises(StepFailed, match=r"set train\.model to content"):
        make("graph").fit(world.content, world.validation)
