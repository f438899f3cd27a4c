"""What the sequential recommender promises: it reads order, never the future, and new items by their content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pipeline.errors import ShardCorrupt, StepFailed
from pipeline.evaluation.metrics import Task, rank
from pipeline.interactions import Floats, Interactions, unit_rows
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content
from pipeline.recommend.models.sequence import SequenceModel, SequenceSettings
from pipeline.recommend.sequence_batches import Pieces, _pieces
from pipeline.recommend.sequence_network import Aims, SoftmaxLoss, Transformer

ITEMS, USERS, LENGTH = 60, 150, 9
SMALL = SequenceSettings(
    width=16,
    heads=2,
    history_items=8,
    dropout=0.1,
    batch_positions=128,
    learning_rate=5e-3,
    max_epochs=12,
    averaging=0.9,
)
NOTHING = Content(np.zeros((ITEMS, 4), np.float32), np.zeros(ITEMS, bool))


def log_of(histories: list[list[int]], items: int = ITEMS) -> Interactions:
    """Histories, oldest choice first; the last one of each is of age 0."""
    user = np.concatenate([np.full(len(one), at) for at, one in enumerate(histories)]).astype(np.int32)
    item = np.concatenate([np.asarray(one, np.int32) for one in histories])
    age = np.concatenate([np.arange(len(one))[::-1] for one in histories]).astype(np.float64)
    return Interactions(user, item, age, np.ones(len(user), np.float32), len(histories), items)


def walks(seed: int = 0) -> list[list[int]]:
    """Users who step through a fixed secret circle of all items, each from a start of their own; all are as popular."""
    generator = np.random.default_rng(seed)
    circle = generator.permutation(ITEMS)
    return [[int(circle[(start + step) % ITEMS]) for step in range(LENGTH)] for start in np.arange(USERS) % ITEMS]


@pytest.fixture(scope="module")
def walked() -> tuple[SequenceModel, Interactions, Interactions]:
    log = log_of(walks())
    train, validation = log.subset(log.age_days > 0), log.subset(log.age_days == 0)
    model = SequenceModel(SMALL, 0, 1)
    model.fit(NOTHING, train, validation)
    return model, train, validation


def test_the_next_item_of_a_planted_order_is_found(walked: tuple[SequenceModel, Interactions, Interactions]) -> None:
    model, train, validation = walked
    found = rank(model.scorer(train), Task(train, validation), (1,)).values["recall@1"]
    # What precedes by few steps on either side is as often chosen together: only the order tells them apart.
    assert found.mean() > 0.9


def test_the_order_of_a_history_matters(walked: tuple[SequenceModel, Interactions, Interactions]) -> None:
    model, train, _ = walked
    reversed_items = np.concatenate([np.asarray(one[:-1][::-1], np.int32) for one in walks()])
    turned = model.user_vectors(replace(train, item=reversed_items))
    assert np.abs(turned - model.user_vectors(train)).max(axis=1).min() > 0.1


def test_a_later_item_changes_no_earlier_state() -> None:
    generator = torch.Generator().manual_seed(0)
    model = Transformer((ITEMS, 4), SMALL, generator).eval()
    for weight in model.parameters():
        weight.data.normal_(0, 0.5, generator=generator)
    history = torch.randn(3, 8, SMALL.width, generator=generator)
    other = history.clone()
    other[:, 5:] = torch.randn(3, 3, SMALL.width, generator=generator)
    with torch.no_grad():
        first, second, short = model(history), model(other), model(history[:, :5])
    torch.testing.assert_close(first[:, :5], second[:, :5])
    torch.testing.assert_close(first[:, :5], short)
    assert (first[:, 5:] - second[:, 5:]).abs().amax(dim=(0, 2)).min() > 1e-3


def test_padding_and_the_company_of_a_block_change_no_user(
    walked: tuple[SequenceModel, Interactions, Interactions],
) -> None:
    model, _, _ = walked
    histories = [one[: 1 + at % 7] for at, one in enumerate(walks())]
    together = model.user_vectors(log_of(histories))
    for at in (0, 3, 5):
        alone = model.user_vectors(log_of([histories[at]]))
        np.testing.assert_allclose(alone[0], together[at], atol=1e-4)


def test_only_the_latest_items_are_read_and_no_history_is_a_zero_row(
    walked: tuple[SequenceModel, Interactions, Interactions],
) -> None:
    model, _, _ = walked
    one = walks()[0]
    users = model.user_vectors(log_of([[5, 6, *one[:8]], one[:8], []]))
    np.testing.assert_allclose(users[0], users[1], atol=1e-4)
    assert not users[2].any()


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    log = log_of(walks())
    made = []
    for seed in (0, 0, 1):
        model = SequenceModel(SMALL, seed, 1)
        fit = model.fit(NOTHING, log, epochs=2)
        model.save(tmp_path)
        made.append((model.user_vectors(log).tobytes(), (tmp_path / "model.safetensors").read_bytes()))
        torch.rand(3)
    assert (fit.chosen_epochs, len(fit.curve)) == (2, 2)
    assert made[0] == made[1]
    assert made[0][0] != made[2][0]
    assert load_file(tmp_path / "model.safetensors")["items.ids"].shape == (ITEMS, SMALL.width)


def test_the_best_epoch_is_kept(walked: tuple[SequenceModel, Interactions, Interactions]) -> None:
    _, train, validation = walked
    told: list[float] = []
    model = SequenceModel(SMALL.model_copy(update={"patience_epochs": 1}), 0, 1)
    fit = model.fit(NOTHING, train, validation, on_epoch=lambda epoch: told.append(epoch["ndcg@10"]))
    assert fit.curve[fit.chosen_epochs - 1]["ndcg@10"] == max(told)
    kept = rank(model.scorer(train), Task(train, validation), (10,)).values["ndcg@10"]
    assert kept.mean() == pytest.approx(max(told), abs=1e-12)


def test_a_new_item_scores_by_its_content_and_an_unknown_one_below_all() -> None:
    generator = np.random.default_rng(0)
    group = np.arange(ITEMS) % 3
    vectors = unit_rows(np.eye(3, 8, dtype=np.float32)[group] + 0.2 * generator.standard_normal((ITEMS, 8)))
    content = Content(vectors.astype(np.float32), np.arange(ITEMS) != ITEMS - 1)
    new = np.arange(ITEMS) >= ITEMS - 13
    histories = [generator.choice(np.flatnonzero((group == at % 3) & ~new), 6).tolist() for at in range(USERS)]
    log = log_of(histories)
    model = SequenceModel(SMALL.model_copy(update={"id_dropout": 0.3}), 0, 1)
    model.fit(content, log, epochs=8)
    scores = model.user_vectors(log) @ model.item_vectors.T
    described = np.flatnonzero(new)[:-1]
    best = group[described[scores[:, described].argmax(axis=1)]]
    assert (best == np.arange(USERS) % 3).mean() > 0.9
    # New items of the user's own kind stand among the known ones, neither first nor last.
    own = np.array([scores[at, described[group[described] == at % 3]].mean() for at in range(USERS)])
    others = np.array([scores[at, (group != at % 3) & ~new].mean() for at in range(USERS)])
    assert (own > others).mean() > 0.9
    assert (scores[:, -1] < scores[:, :-1].min(axis=1)).all()


def test_ids_are_hidden_in_training_only_where_there_is_content() -> None:
    log = log_of(walks())
    vectors = unit_rows(np.random.default_rng(0).standard_normal((ITEMS, 4)).astype(np.float32))
    for content, same in ((NOTHING, True), (Content(vectors, np.ones(ITEMS, bool)), False)):
        made = []
        for share in (0.0, 0.5):
            model = SequenceModel(SMALL.model_copy(update={"id_dropout": share}), 0, 1)
            model.fit(content, log, epochs=1)
            made.append(model.item_vectors)
        assert np.array_equal(*made) == same


def test_a_saved_model_gives_its_items_again_and_with_other_content(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    present = np.arange(ITEMS) % 4 > 0
    vectors = unit_rows(generator.standard_normal((ITEMS, 8)).astype(np.float32)) * present[:, None]
    content = Content(vectors, present)
    log = log_of([[item for item in one if item < ITEMS - 8] for one in walks()])
    model = SequenceModel(SMALL, 0, 1)
    model.fit(content, log, epochs=1)
    model.save(tmp_path)
    side = kind_of("sequence").item_side(tmp_path)
    codes = generator.permutation(ITEMS)
    again = side.vectors(Content(vectors[codes], present[codes]), codes, ())
    np.testing.assert_allclose(again, model.item_vectors[codes], atol=1e-5)
    other = side.vectors(Content(vectors[:ITEMS][::-1], present[::-1]), np.arange(ITEMS), ())
    assert np.abs(other - model.item_vectors)[present & present[::-1], :-1].max(axis=1).min() > 1e-4
    np.testing.assert_array_equal(other[:, -1], model.item_vectors[:, -1])
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(ShardCorrupt, match="sequence model"):
        kind_of("sequence").item_side(tmp_path)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="must divide width, which is 10"):
        SequenceSettings(width=10, heads=4)


def test_a_softmax_over_all_that_can_be_drawn_is_the_full_one() -> None:
    log = log_of(walks())
    full = SequenceModel(SMALL, 0, 1)
    drawn = SequenceModel(SMALL.model_copy(update={"full_softmax_items": 0, "negatives": 10 * ITEMS}), 0, 1)
    for model in (full, drawn):
        model.fit(NOTHING, log, epochs=1)
    np.testing.assert_array_equal(full.item_vectors, drawn.item_vectors)


def test_a_sampled_softmax_is_right_on_average() -> None:
    log = log_of(walks())
    counted = np.zeros(ITEMS)
    draws = 800
    settings = SMALL.model_copy(update={"full_softmax_items": 0, "negatives": 20})
    pieces = Pieces(log, settings, 0)
    for _ in range(draws):
        codes, offset = pieces._scored(log.item[:3])
        counted[codes] += np.exp(offset)
    np.testing.assert_allclose(counted / draws, 1, atol=0.2)


def test_the_loss_and_its_gradient_are_those_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.recommend.sequence_network.CHUNK_SCORES", 3 * 11)
    generator = torch.Generator().manual_seed(0)
    states, items = (
        torch.nn.functional.normalize(torch.randn(n, 5, generator=generator, dtype=torch.float64), dim=1)
        for n in (8, 11)
    )
    chosen = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 6]])
    row = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    target = torch.tensor([1, 2, 3, 0, 5, 6, 6, 4])
    weight = torch.softmax(torch.randn(8, generator=generator, dtype=torch.float64), dim=0)
    offset = torch.randn(11, generator=generator, dtype=torch.float64)
    aims = Aims(target, weight, chosen, row, offset)
    grads = []
    for loss_of in (lambda s, v: SoftmaxLoss.apply(s, v, aims, 4.0, 0.1), lambda s, v: plain(s, v, aims, 4.0, 0.1)):
        s, v = states.clone().requires_grad_(), items.clone().requires_grad_()
        loss = loss_of(s, v)
        loss.backward()
        grads.append((loss.detach(), s.grad, v.grad))
    for first, second in zip(*grads, strict=True):
        torch.testing.assert_close(first, second)


def plain(states: torch.Tensor, items: torch.Tensor, aims: Aims, scale: float, ease: float) -> torch.Tensor:
    raw = states @ items.T * scale
    moved = (raw + aims.offset).scatter(1, aims.chosen[aims.row], float("-inf"))
    hit = raw.gather(1, aims.target[:, None])
    total = torch.logsumexp(moved.scatter(1, aims.target[:, None], hit), dim=1)
    return (aims.weight * (total - (1 - ease) * hit[:, 0] - ease * raw @ torch.softmax(aims.offset, 0))).sum()


def test_every_interaction_but_a_users_first_is_a_target_once() -> None:
    offsets = np.array([0, 1, 1, 4, 14])
    start, size = _pieces(offsets, 4)
    inputs = [np.arange(a, a + n) for a, n in zip(start, size, strict=True)]
    assert sorted(np.concatenate(inputs) + 1) == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert size.max() <= 4
    log = log_of(walks())
    targets = [batch.codes[batch.aims.target] for batch in Pieces(log, SMALL, 0).epoch()]
    wanted = np.concatenate([one[1:] for one in walks()])
    assert sorted(torch.cat(targets).tolist()) == sorted(wanted.tolist())


def test_a_log_with_nothing_to_predict_is_refused_in_one_sentence() -> None:
    with pytest.raises(StepFailed, match=r"set train\.model to content"):
        SequenceModel(SMALL, 0, 1).fit(NOTHING, log_of([[1], [2], [3]]))


def test_the_same_vectors_for_items_wherever_they_are_asked_for(
    walked: tuple[SequenceModel, Interactions, Interactions],
) -> None:
    model, train, _ = walked
    items: Floats = model.item_vectors
    assert items.dtype == np.float32
    assert items.shape == (ITEMS, SMALL.width + 1)
    np.testing.assert_allclose(np.linalg.norm(items[:, :-1], axis=1), 1, atol=1e-5)
    norms = np.linalg.norm(model.user_vectors(train)[:, :-1], axis=1)
    np.testing.assert_allclose(norms, 1 / SMALL.temperature, rtol=1e-4)
