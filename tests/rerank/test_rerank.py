"""The re-ranker learns from pairs whose draw is known, never looks ahead, and is used only where it helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.rerank import Rerank as Settings
from pipeline.errors import ShardCorrupt
from pipeline.evaluation.calibration import quality
from pipeline.interactions import Floats, Interactions, unit_rows
from pipeline.recommend import content_features
from pipeline.rerank import fit as fit_of_ranker
from pipeline.rerank import pairs as pairs_of_rounds
from pipeline.rerank.fit import Part, RankerFit, fit_ranker, refit_ranker
from pipeline.rerank.network import Dropout, Ranker, load_ranker
from pipeline.rerank.pairs import drawn, learned_from, rounds, sampled
from pipeline.rerank.quality import Candidates
from pipeline.rerank.snapshot import NOTHING, Catalogue, FirstStage, Snapshot
from pipeline.training.context import Context
from tests.logs import of_rows

USERS, ITEMS, GROUPS, LENGTH = 80, 60, 4, 10
SETTINGS = Settings(candidates=30, rounds=2, max_epochs=8, width=8, hidden=16, batch_pairs=128)


bare = Part.without_shown


class World:
    """Users like one group of items, which a picture shows and the first stage's vectors do not.

    Some items lack the picture, and one has no modality at all. The last user has no history.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        group = np.arange(ITEMS) % GROUPS
        picture = unit_rows(np.eye(GROUPS, 6, dtype=np.float32)[group] + 0.1)
        text = unit_rows(generator.standard_normal((ITEMS, 5)).astype(np.float32))
        held = np.arange(ITEMS) % 10 > 0
        picture[~held] = 0
        text[0] = 0
        self.vectors = unit_rows(generator.standard_normal((ITEMS, 8)).astype(np.float32))
        self.by_user = unit_rows(generator.standard_normal((USERS, 8)).astype(np.float32))
        self.items = Catalogue(
            self.vectors,
            {"image": (picture, held), "text": (text, np.arange(ITEMS) > 0)},
            np.ones(ITEMS, bool),
        )
        rows = []
        for user in range(USERS - 1):
            liked = generator.permutation(np.flatnonzero(group == user % GROUPS))[:LENGTH]
            rows += [(user, int(item), float(LENGTH - place)) for place, item in enumerate(liked)]
        log = of_rows(rows, USERS, ITEMS)
        self.validation, self.train = log.subset(log.age_days <= 2), log.subset(log.age_days > 2)

    @property
    def first(self) -> FirstStage:
        return FirstStage(self.items, self.users)

    def users(self, history: Interactions) -> Floats:
        """Vectors that know nothing of tastes; a zero row without a history."""
        return self.by_user * (np.bincount(history.user, minlength=USERS) > 0)[:, None]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def fitted(world: World) -> tuple[Ranker, RankerFit]:
    found = fit_ranker(world.first, bare(world.train), SETTINGS, Context(), bare(world.validation))
    assert found is not None
    return found


def test_it_reads_what_the_first_stage_does_not_and_is_used(world: World, fitted: tuple[Ranker, RankerFit]) -> None:
    ranker, fit = fitted
    assert fit.used
    assert fit.after > 2 * fit.before
    judged = Candidates.of(world.first.after(world.train), world.validation, 30)
    logits = judged.logits(ranker)
    there = judged.lists != NOTHING
    found = quality(1 / (1 + np.exp(-logits[there].astype(np.float64))), judged.chosen[there])
    assert found["auc"] > 0.8
    assert found["log_loss"] < found["constant_log_loss"]
    assert found["ece"] < 0.05
    # Calibrated on these very candidates: the mean chance is the share chosen.
    mean = sum(row["mean_chance"] * row["pairs"] for row in found["reliability"]) / found["pairs"]
    assert mean == pytest.approx(found["share_chosen"], rel=0.02)


def test_where_it_does_not_help_the_first_stages_order_is_kept(world: World) -> None:
    def tastes(history: Interactions) -> Floats:
        return np.eye(GROUPS, dtype=np.float32)[np.arange(USERS) % GROUPS]

    perfect = Catalogue(np.eye(GROUPS, dtype=np.float32)[np.arange(ITEMS) % GROUPS], {}, np.ones(ITEMS, bool))
    settings = SETTINGS.model_copy(update={"candidates": 5})
    found = fit_ranker(FirstStage(perfect, tastes), bare(world.train), settings, Context(), bare(world.validation))
    assert found is not None
    assert not found[1].used


def test_without_a_validation_part_it_is_not_used(world: World) -> None:
    found = fit_ranker(world.first, bare(world.train), SETTINGS, Context())
    assert found is not None
    assert not found[1].used


def test_the_same_seed_gives_the_same_bytes_and_what_is_saved_is_loaded(
    world: World, fitted: tuple[Ranker, RankerFit], tmp_path: Path
) -> None:
    ranker, fit = fitted
    again = fit_ranker(world.first, bare(world.train), SETTINGS, Context(), bare(world.validation))
    assert again is not None
    assert again[1] == fit
    (tmp_path / "again").mkdir()
    ranker.save(tmp_path)
    again[0].save(tmp_path / "again")
    file = "ranker.safetensors"
    assert (tmp_path / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    snapshot = world.first.after(world.train)
    users = np.flatnonzero(snapshot.known)
    lists, _ = snapshot.candidates(users, 10)
    loaded = load_ranker(tmp_path, world.items, 1)
    for one, other in zip(
        ranker.reordered(snapshot, users, lists), loaded.reordered(snapshot, users, lists), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    (tmp_path / file).write_bytes(b"\x00" * 40)
    with pytest.raises(ShardCorrupt, match="not the weights of this night's ranker"):
        load_ranker(tmp_path, world.items, 1)


def test_a_score_is_told_by_groups_of_inputs_and_all_of_them_are_the_score(
    world: World, fitted: tuple[Ranker, RankerFit]
) -> None:
    ranker, _ = fitted
    snapshot = world.first.after(world.train)
    users = np.flatnonzero(snapshot.known)[:12]
    lists, products = snapshot.candidates(users, 5)
    user, item = np.repeat(users, 5), lists.ravel()
    whole = ranker.score_groups(snapshot, user, item, ranker.groups)
    for known in (None, products):
        np.testing.assert_allclose(whole, ranker.of_lists(snapshot, users, lists, known).ravel(), atol=1e-5)
    assert ranker.groups == ("first_stage", "popularity_and_age", "activity", "image", "text")
    # Nothing known: the same of every pair, whoever and whatever it is.
    np.testing.assert_allclose(base := ranker.score_groups(snapshot, user, item, ()), base[0], atol=1e-5)
    lacks = np.arange(0, ITEMS, 10)
    pairs = np.full(len(lacks), users[0]), lacks
    without = [name for name in ranker.groups if name != "image"]
    np.testing.assert_allclose(
        ranker.score_groups(snapshot, *pairs, without), ranker.score_groups(snapshot, *pairs, ranker.groups), atol=1e-5
    )
    moved = [
        np.abs(whole - ranker.score_groups(snapshot, user, item, set(ranker.groups) - {name})).max()
        for name in ranker.groups
    ]
    assert np.argmax(moved) == ranker.groups.index("image"), "what they like is in the picture alone"
    assert min(moved) > 0


def test_the_published_fit_keeps_epochs_and_calibration(world: World, fitted: tuple[Ranker, RankerFit]) -> None:
    ranker, fit = fitted
    found = refit_ranker(world.first, bare(world.train), SETTINGS, Context(), fit.epochs, ranker.network)
    assert found is not None
    # The same log, seed and epochs: the same network.
    for name, value in found[0].network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), ranker.network.state_dict()[name].numpy(), err_msg=name)


def test_validation_moves_nothing_but_the_epoch_and_two_numbers(world: World) -> None:
    other = world.validation.subset(np.arange(len(world.validation)) % 3 > 0)
    one_epoch = SETTINGS.model_copy(update={"max_epochs": 1})
    train = bare(world.train)
    found = [fit_ranker(world.first, train, one_epoch, Context(), bare(part)) for part in (world.validation, other)]
    first, second = (one[0].network.state_dict() for one in found if one)
    for name in first:
        if name not in ("slope", "shift"):
            np.testing.assert_array_equal(first[name].numpy(), second[name].numpy(), err_msg=name)


def test_rounds_go_forward_in_time_and_every_later_choice_is_a_target_once(world: World) -> None:
    seen = 0
    for history, targets in rounds(world.train, SETTINGS, 0):
        assert history.age_days.min() >= targets.age_days.max()
        assert len(history) >= seen
        seen = len(history) + len(targets)
    assert seen == len(world.train)


def test_candidates_are_the_best_of_the_index_that_a_user_does_not_have(world: World) -> None:
    served = np.arange(ITEMS) % 7 > 0
    snapshot = Snapshot(Catalogue(world.vectors, {}, served), world.users(world.train), world.train)
    users = np.flatnonzero(snapshot.known)
    assert USERS - 1 not in users
    lists, products = snapshot.candidates(users, ITEMS)
    scores = world.by_user @ world.vectors.T
    row, column = np.nonzero(lists != NOTHING)
    np.testing.assert_allclose(products[row, column], scores[users[row], lists[row, column]], atol=1e-5)
    for user, found in zip(users, lists, strict=True):
        free = np.setdiff1d(np.flatnonzero(served), world.train.item[world.train.user == user])
        expected = free[np.argsort(-scores[user][free], kind="stable")]
        assert found[found != NOTHING].tolist() == expected.tolist()
        assert (found[len(expected) :] == NOTHING).all()


def test_negatives_were_never_chosen_and_are_drawn_as_often_as_said(world: World) -> None:
    history, targets = next(iter(rounds(world.train, SETTINGS, 0)))
    known = np.bincount(world.train.item, minlength=ITEMS) > 0
    snapshot = Snapshot(world.items, world.users(history), history)
    counts, rates = np.zeros((USERS, ITEMS)), np.zeros((USERS, ITEMS))
    repeats = 100
    generator = np.random.default_rng(0)
    for _ in range(repeats):
        pairs = drawn(snapshot, targets, known, SETTINGS, generator)
        rows = np.flatnonzero(snapshot.known)
        user = np.array([rows[(world.by_user[rows] == pairs.users[u]).all(axis=1)][0] for u in range(len(pairs.users))])
        negative = ~pairs.chosen
        np.add.at(counts, (user[pairs.user[negative]], pairs.item[negative]), 1 / repeats)
        rates[user[pairs.user], pairs.item] = np.exp(pairs.log_rate)
    later = world.train.user * ITEMS + world.train.item
    before = np.isin(later, history.user * ITEMS + history.item)
    in_round = np.isin(later, targets.user * ITEMS + targets.item)
    assert not counts[world.train.user[before | in_round], world.train.item[before | in_round]].any()
    drawn_at_all = counts > 0
    np.testing.assert_allclose(counts[drawn_at_all].sum(), rates[drawn_at_all].sum(), rtol=0.02)
    assert np.corrcoef(counts[drawn_at_all], rates[drawn_at_all])[0, 1] > 0.7


def test_a_pairs_numbers_know_nothing_of_what_comes_later(world: World) -> None:
    (history, _), *_, (late, _) = rounds(world.train, SETTINGS, 0)
    users, items = np.repeat(np.arange(20), ITEMS), np.tile(np.arange(ITEMS), 20)
    early = Snapshot(world.items, world.by_user, history).scalars(users, np.arange(len(users)), items)
    again = Snapshot(world.items, world.by_user, history, taken=world.train).scalars(
        users, np.arange(len(users)), items
    )
    np.testing.assert_array_equal(early, again)
    assert not np.array_equal(
        early, Snapshot(world.items, world.by_user, late).scalars(users, np.arange(len(users)), items)
    )
    np.testing.assert_allclose(
        early[:, 0], np.einsum("nd,nd->n", world.by_user[users], world.vectors[items]), atol=1e-6
    )
    blank = items % 10 == 0
    assert not early[blank, 7].any()


def test_probabilities_are_measured_by_hand() -> None:
    chances = np.array([0.1, 0.1, 0.9, 0.6])
    chosen = np.array([False, False, True, False])
    found = quality(chances, chosen)
    assert found["accuracy"] == 0.75
    assert found["auc"] == 1.0
    assert found["log_loss"] == pytest.approx(-(2 * np.log(0.9) + np.log(0.9) + np.log(0.4)) / 4)
    assert found["ece"] == pytest.approx((0.1 + 0.1 + 0.1 + 0.6) / 4)
    assert quality(chances, np.zeros(4, bool)) == {}


def test_of_many_users_a_seeded_sample_is_searched_and_learned_from(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def users(history: Interactions) -> Floats:
        asked.append(len(np.unique(history.user)))
        return world.users(history)

    first = FirstStage(world.items, users)
    monkeypatch.setattr(pairs_of_rounds, "FEWEST_USERS", 1)
    monkeypatch.setattr(pairs_of_rounds, "MAX_USERS", 20)
    learnt = [learned_from(first, world.train, SETTINGS, seed) for seed in (0, 0, 1)]
    assert asked == [20] * 6, "users are made of the sample's histories alone"
    samples = [set(map(bytes, pairs.users)) for pairs in learnt if pairs is not None]
    assert samples[0] == samples[1] != samples[2]
    monkeypatch.setattr(fit_of_ranker, "MAX_USERS", 30)
    asked.clear()
    fit_ranker(first, bare(world.train), SETTINGS, Context(), bare(world.validation))
    assert asked == [20, 20, 30]


def test_the_more_items_there_are_to_search_the_fewer_users_are_sampled() -> None:
    user = np.arange(6000, dtype=np.int32)
    sizes = {}
    for items in (10**4, 10**6, 10**8):
        log = Interactions(user, user % 100, np.zeros(6000), np.ones(6000, np.float32), 6000, items)
        sizes[items] = len(sampled(log, log.subset(user < 5000), 0))
    assert sizes == {10**4: 4096, 10**6: 2147, 10**8: 1024}


def test_a_samples_numbers_are_those_of_all_users(world: World) -> None:
    """An item is counted in the whole history, and days are counted from its end."""
    users = np.arange(20, 40, dtype=np.int32)
    whole, sample = world.first.after(world.train), world.first.after(world.train, users)
    row, items = np.repeat(np.arange(20), ITEMS), np.tile(np.arange(ITEMS), 20)
    np.testing.assert_array_equal(sample.scalars(users, row, items), whole.scalars(users, row, items))
    assert np.flatnonzero(sample.known).tolist() == users.tolist()


def test_an_epoch_of_many_pairs_is_a_part_of_them_drawn_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = learned_from(world.first, world.train, SETTINGS, 0)
    assert pairs is not None
    learner = fit_of_ranker._Learner(world.items, pairs, SETTINGS, Context())
    assert sum(map(len, learner._batches())) == len(pairs)
    monkeypatch.setattr(fit_of_ranker, "EPOCH_PAIRS", 300)
    epochs = [np.concatenate(list(learner._batches())) for _ in range(2)]
    assert [len(np.unique(rows)) for rows in epochs] == [300, 300]
    assert set(epochs[0]) != set(epochs[1])


def test_dropout_keeps_the_mean_and_leaves_out_its_share_by_draws_that_differ() -> None:
    dropout = Dropout(0.25).train()
    values = torch.ones(100, 50)
    assert torch.equal(dropout(values), values), "before it is given a generator"
    dropout.begin(np.random.default_rng(0), values.numel())
    first, second = dropout(values), dropout(values)
    assert not torch.equal(first, second)
    assert sorted(set(first.ravel().tolist())) == pytest.approx([0, 4 / 3])
    assert float(first.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(dropout.eval()(values), values)


def test_the_users_who_choose_the_epoch_are_not_those_who_decide(world: World) -> None:
    candidates = Candidates.of(world.first.after(world.train), world.validation, 30)
    halves = candidates.half(0), candidates.half(1)
    rows = {place: {bytes(row) for row in half.vectors} for place, half in enumerate(halves)}
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == len(candidates.vectors)


def test_vectors_are_prepared_some_at_a_time_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    vectors, present = generator.standard_normal((50, 4)).astype(np.float32), generator.random(50) < 0.8
    whole = content_features.prepared(vectors, present)
    monkeypatch.setattr(content_features, "ROWS", 7)
    np.testing.assert_array_equal(content_features.prepared(vectors, present), whole)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), present, atol=1e-6)
