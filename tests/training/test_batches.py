"""Padded batches, and what two_tower learns from: a log in blocks, mixed and hard negatives, and balanced items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artefacts.log import MICROSECONDS_PER_DAY, RowsWriter, map_rows
from pipeline.config.training import Imbalance
from pipeline.evaluation.metrics import Task, rank
from pipeline.interactions import Interactions
from pipeline.recommend.models.two_tower import TwoTower, TwoTowerSettings
from pipeline.recommend.sequence_batches import Pieces
from pipeline.recommend.two_tower_batches import BLOCK_ROWS, Batch, Batches, sampled_softmax
from pipeline.recommend.warm_start import Before
from pipeline.training.batches import padded_batches, padded_runs
from pipeline.training.negatives import Balance, Sampler, Triples
from tests.recommend.test_recommenders import ITEMS, USERS, World, small

SMALL = small("two_tower")
assert isinstance(SMALL, TwoTowerSettings)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_padded_batches_hold_like_lengths_and_fill_no_more_than_their_places() -> None:
    sizes = np.array([2, 0, 9, 1, 2, 3, 0, 2])
    batches = [batch.tolist() for batch in padded_batches(sizes, 6)]
    assert batches == [[3, 0, 4], [7, 5], [2]]  # in their order where as long; what is longer than a batch is alone
    assert [batch.tolist() for batch in padded_batches(sizes, 9)] == [[3, 0, 4, 7], [5], [2]]
    assert not list(padded_batches(np.zeros(3, np.int64), 6))


@given(st.lists(st.integers(1, 300)), st.integers(300, 5000))
def test_padded_runs_keep_within_their_places_and_have_every_row(sizes: list[int], places: int) -> None:
    sizes.sort()
    runs = list(padded_runs(sizes, places))
    assert [row for run in runs for row in run] == list(range(len(sizes)))
    assert all(len(run) * sizes[run[-1]] <= places for run in runs)


def mapped(log: Interactions, folder: Path) -> Interactions:
    """The log, written and mapped as a night's is. Its ages are whole days."""
    day = int(MICROSECONDS_PER_DAY)
    columns = [log.user, log.item, (-log.age_days * day).astype(np.int64), log.weight, np.zeros(len(log), np.int8)]
    writer = RowsWriter(folder, {"train": len(log)}, (0, 0))
    for batch in pa.table(columns, names=["user", "item", "ts", "weight", "part"]).to_batches(100):
        writer.append(batch)
    return map_rows(folder / "train", log.n_users, log.n_items)


def fitted(world: World, log: Interactions, block_rows: int = BLOCK_ROWS, **settings: object) -> TwoTower:
    model = TwoTower(SMALL.model_copy(update=settings), 0, 1)
    model.block_rows = block_rows
    model.fit(world.content, log, epochs=6)
    return model


def test_a_log_that_is_mapped_gives_the_same_vectors_as_one_in_memory(world: World, tmp_path: Path) -> None:
    log = mapped(world.train, tmp_path)
    np.testing.assert_array_equal(log.item, world.train.item)
    np.testing.assert_array_equal(log.age_days, world.train.age_days)
    both = [fitted(world, one, block_rows=150).item_vectors for one in (world.train, log)]
    np.testing.assert_array_equal(*both)


def test_training_in_blocks_learns_as_well_and_passes_every_user(world: World) -> None:
    task, found = Task(world.train, world.validation), []
    for rows in (10_000, 100):
        model = fitted(world, world.train, block_rows=rows)
        values = rank(model.scorer(world.train), task, (10,)).values
        found.append(values["ndcg@10"].mean())
    assert found[1] > 0.85 * found[0]
    batches = Batches(world.train, SMALL, 0, block_rows=100)
    assert len(batches.blocks) > 4
    assert [user for block in batches.blocks for user in block] == list(range(USERS))
    blocks = [batches.read(place) for place in range(len(batches.blocks))]
    assert sum(len(block) for block in blocks) == len(world.train)
    assert all(block.user.min() == 0 and block.user.max() < block.n_users for block in blocks if len(block))
    moments = sum(len(batch.target) for batch in batches.epoch())
    assert moments == (np.diff(world.train.offsets())[:-1] - 1).clip(0, SMALL.moments_per_user).sum()


def test_targets_of_a_batch_among_the_negatives_keep_the_softmax_sum_right_on_average() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 30, 60)
    sampler, own = Sampler(counts, generator), 16
    drawn = np.zeros(60)
    for _ in range(6000):
        targets = generator.choice(60, own, p=counts / counts.sum())
        codes, log_expected = sampler.draw(20, targets)
        assert codes[-own:].tolist() == targets.tolist()
        np.add.at(drawn, codes, np.exp(-log_expected))
    np.testing.assert_allclose(drawn[counts > 0] / 6000, 1, atol=0.12)


def test_mixed_negatives_learn_as_well(world: World) -> None:
    task, found = Task(world.train, world.validation), []
    for settings in ({"negatives": 40}, {"negatives": 24, "in_batch_negatives": True}):
        model = fitted(world, world.train, **settings)
        values = rank(model.scorer(world.train), task, (10,)).values
        found.append(values["ndcg@10"].mean())
    assert found[1] > 0.85 * found[0]


def before(world: World) -> Before:
    """An earlier fit that did not have the first item and the first user."""
    generator = np.random.default_rng(1)
    items, users = generator.standard_normal((ITEMS - 1, 5)), generator.standard_normal((USERS - 1, 5))
    rows = {"items": np.arange(ITEMS) - 1, "users": np.arange(USERS) - 1}
    vectors, counts = (items.astype(np.float32), users.astype(np.float32)), {"items": ITEMS - 1, "users": USERS - 1}
    return Before({}, lambda: vectors, rows, counts, False)


def test_hard_negatives_are_the_best_known_items_that_the_user_has_not_chosen(world: World) -> None:
    earlier = before(world)
    items, users = earlier.vectors()
    pool = earlier.hard(world.train, 7)
    assert (pool[0] == -1).all()
    chosen = world.train.matrix().toarray() > 0
    for user in range(1, USERS):
        scores = users[user - 1] @ items.T
        allowed = ~chosen[user, 1:] & chosen[:, 1:].any(axis=0)
        best = np.flatnonzero(allowed)[np.argsort(-scores[allowed])[:7]] + 1
        assert pool[user].tolist() == best.tolist()


def test_each_moment_meets_its_own_users_hard_negatives_and_they_lower_what_they_hold(world: World) -> None:
    pool = before(world).hard(world.train, 7)
    batches = Batches(world.train, SMALL.model_copy(update={"hard_negatives": 3}), 0, pool, block_rows=100)
    drawn = np.concatenate([batch.codes[batch.hard][~batch.not_hard].numpy() for batch in batches.epoch()])
    assert set(drawn) <= set(pool.ravel())
    found = []
    for count in (0, 3):
        model = TwoTower(SMALL.model_copy(update={"hard_negatives": count}), 0, 1)
        model.before = before(world)
        model.fit(world.content, world.train, epochs=6)
        scores = model.user_vectors(world.train) @ model.item_vectors.T
        found.append(np.mean([scores[user, pool[user]].mean() - scores[user].mean() for user in range(1, USERS - 1)]))
    assert found[1] < found[0]


def test_a_hard_negative_adds_its_own_term_to_the_softmax() -> None:
    users = torch.tensor([[1.0, 2.0]])
    items = torch.tensor([[0.5, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    empty = torch.zeros(1, 0, dtype=torch.int64)
    batch = Batch(
        user=torch.tensor([0]),
        codes=torch.arange(3),
        window=None,  # type: ignore[arg-type]
        target=torch.tensor([[0]]),
        share=torch.ones(1, 1),
        negative=torch.tensor([1]),
        log_expected=torch.tensor([0.5]),
        chosen=torch.zeros(2, 0, dtype=torch.int64),
        hard=torch.tensor([[2, 1]]),
        not_hard=torch.tensor([[False, True]]),
    )
    scores = torch.tensor([0.5, 2.0 - 0.5, 3.0])
    torch.testing.assert_close(sampled_softmax(users, items, batch), torch.logsumexp(scores, 0) - 0.5)
    without = Batch(**{**vars(batch), "hard": empty, "not_hard": empty.bool()})
    torch.testing.assert_close(sampled_softmax(users, items, without), torch.logsumexp(scores[:2], 0) - 0.5)


@pytest.mark.parametrize("by", ["loss", "sampling"])
def test_balanced_interactions_count_by_their_items_rarity_and_one_on_average(by: str) -> None:
    counts = np.array([1, 4, 16, 0])
    items = np.repeat(np.arange(4), counts).astype(np.int32)
    settings = Imbalance(popularity_power=0.5, by=by)  # type: ignore[arg-type]
    balance = Balance(settings, counts, np.random.default_rng(0))
    found = np.mean([balance.of(items) for _ in range(4000)], axis=0)
    assert found.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(found[0] / found[[1, 5]], [2, 4], rtol=0.05)
    assert np.array_equal(Balance(Imbalance(), counts, np.random.default_rng(0)).of(items), np.ones(21, np.float32))


def weighted(world: World) -> Interactions:
    weight = np.where(world.train.item % 2, 3.0, 1.0).astype(np.float32)
    log = world.train
    return Interactions(log.user, log.item, log.age_days, weight, log.n_users, log.n_items)


def test_triples_weigh_the_loss_or_repeat_what_is_rare(world: World) -> None:
    log, counts = weighted(world), world.train.item_counts()
    plain, ignored, loss, sampling = (
        next(Triples(log, 10_000, 0.0, 0, imbalance=Imbalance(**settings)).epoch())  # type: ignore[arg-type]
        for settings in (
            {},
            {"log_weight": False},
            {"log_weight": False, "popularity_power": 1},
            {"log_weight": False, "popularity_power": 1, "by": "sampling"},
        )
    )
    assert plain.weight.mean() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(plain.weight * log.weight.mean(), np.where(plain.positive % 2, 3, 1), rtol=1e-5)
    assert (ignored.weight == 1).all()
    np.testing.assert_allclose(loss.weight * counts[loss.positive], (loss.weight * counts[loss.positive])[0], rtol=1e-5)
    assert (sampling.weight == 1).all()
    passed = np.bincount(sampling.positive, minlength=ITEMS)[counts > 0]
    # Of every item about as many, whether it was chosen once or often.
    assert abs(np.corrcoef(passed, counts[counts > 0])[0, 1]) < 0.4
    assert np.corrcoef(np.bincount(plain.positive, minlength=ITEMS)[counts > 0], counts[counts > 0])[0, 1] > 0.99


def test_targets_of_two_tower_and_of_sequence_are_balanced_alike(world: World) -> None:
    counts = world.train.item_counts()
    rare = Imbalance(popularity_power=1)
    towers = Batches(world.train, SMALL.model_copy(update={"imbalance": rare, "targets": 1}), 0)
    for batch in towers.epoch():
        items = batch.codes[batch.target[:, 0]].numpy()
        product = batch.share[:, 0].numpy() * counts[items]
        np.testing.assert_allclose(product, product[0], rtol=1e-5)
    pieces = Pieces(world.train, small("sequence").model_copy(update={"imbalance": rare}), 0)
    for piece in pieces.epoch():
        items = piece.codes[piece.aims.target].numpy()
        product = piece.aims.weight.numpy() * counts[items]
        np.testing.assert_allclose(product, product[0], rtol=1e-4)
        assert float(piece.aims.weight.sum()) == pytest.approx(1, abs=1e-5)
