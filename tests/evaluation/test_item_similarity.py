from __future__ import annotations

import numpy as np
import pytest

from pipeline.artefacts.log import PARTS, OpenedLog
from pipeline.evaluation import item_similarity
from pipeline.evaluation.item_similarity import questions, recall
from pipeline.interactions import Interactions
from tests.logs import parted


def log_of(histories: list[list[tuple[int, str]]], items: int, cold: set[int] = frozenset()) -> OpenedLog:  # type: ignore[assignment]
    rows = [(user, item, part) for user, history in enumerate(histories) for item, part in history]
    user, item = (np.array([row[at] for row in rows], np.int32) for at in (0, 1))
    part = np.array([PARTS.index(row[2]) for row in rows], np.int8)
    log = Interactions(user, item, np.arange(len(rows), 0, -1.0), np.ones(len(rows), np.float32), len(histories), items)
    return OpenedLog([str(u) for u in range(len(histories))], [str(i) for i in range(items)],
               np.isin(np.arange(items), list(cold)), parted(log, part))  # fmt: skip


def test_what_is_asked_for_lies_in_the_test_part_and_within_the_window() -> None:
    others = [(item, "train") for item in (3, 2)]
    log = log_of([[(0, "train"), (1, "train"), (2, "test"), (3, "test"), (4, "test"), (0, "test")], others], 5)
    found = questions(log, "co_choice", 2, 0)
    assert set(zip(found.item.tolist(), found.answer.tolist(), strict=True)) == {(0, 2), (1, 2), (1, 3), (2, 3)}, (
        "what nobody chose in training, or the user chose before, is not asked for"
    )


def test_cold_questions_ask_by_the_item_that_training_saw_for_the_one_that_it_did_not() -> None:
    log = log_of([[(0, "train"), (4, "held_out"), (1, "test")], [(1, "train")]], 5, cold={4})
    found = questions(log, "co_choice_cold", 10, 0)
    assert set(zip(found.item.tolist(), found.answer.tolist(), strict=True)) == {(0, 4), (1, 4)}
    warm = questions(log, "co_choice", 10, 0)
    assert set(zip(warm.item.tolist(), warm.answer.tolist(), strict=True)) == {(0, 1)}


def test_recall_agrees_with_a_plain_loop_missing_vectors_and_ties_included(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(-2, 3, (40, 3)).astype(np.float32)
    vectors[rng.random(40) < 0.2] = np.nan
    histories = [[(int(i), "test") for i in rng.permutation(40)[:6]] for _ in range(12)]
    histories.append([(i, "train") for i in range(40)])
    found = questions(log_of(histories, 40), "co_choice", 3, 0)
    expected: dict[int, list[float]] = {}
    for user, asked, answer in zip(found.user, found.item, found.answer, strict=True):
        hit = 0.0
        if not np.isnan(vectors[[asked, answer]]).any():
            others = [i for i in range(40) if i != asked and not np.isnan(vectors[i, 0])]
            scores = {i: float(vectors[asked] @ vectors[i]) for i in others}
            nearer = sum(s > scores[answer] for s in scores.values())
            level = sum(s == scores[answer] for s in scores.values()) - 1
            hit = float(nearer + level / 2 < 5)
        expected.setdefault(int(user), []).append(hit)
    for rows, width in ((1024, 8192), (2, 3)):
        monkeypatch.setattr(item_similarity, "ROWS", rows)
        monkeypatch.setattr(item_similarity, "WIDTH", width)
        scores = recall(vectors, found, 5)
        np.testing.assert_allclose(scores.values["recall@5"], [np.mean(expected[u]) for u in sorted(expected)])


def test_no_question_no_score() -> None:
    log = log_of([[(0, "train")]], 3)
    assert len(recall(np.ones((3, 2), np.float32), questions(log, "co_choice", 5, 0), 5).users) == 0


def test_of_many_questions_a_limit_is_drawn_by_the_seed() -> None:
    histories = [[(item, "test") for item in range(6)] for _ in range(4)] + [[(item, "train") for item in range(6)]]
    log = log_of(histories, 6)
    whole = questions(log, "co_choice", 6, 0)
    assert len(whole) == len(questions(log, "co_choice", 6, 0, limit=len(whole))) == 4 * 15
    rows = np.sort(np.random.default_rng(3).permutation(60)[:20])
    drawn = questions(log, "co_choice", 6, 3, limit=20)
    for name in ("user", "item", "answer"):
        assert getattr(drawn, name).tolist() == getattr(whole, name)[rows].tolist()


@pytest.mark.parametrize(("most_scores", "drawn"), [(359, 59), (360, 60), (1000, 60)])
def test_of_many_items_fewer_questions_are_drawn(most_scores: int, drawn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question is scored against all six items."""
    monkeypatch.setattr(item_similarity, "MOST_SCORES", most_scores)
    histories = [[(item, "test") for item in range(6)] for _ in range(4)] + [[(item, "train") for item in range(6)]]
    assert len(questions(log_of(histories, 6), "co_choice", 6, 0)) == drawn


def test_what_is_asked_with_may_be_another_space_than_what_is_ranked() -> None:
    log = log_of([[(0, "test"), (1, "test")], [(2, "test"), (3, "test")], [(item, "train") for item in range(5)]], 5)
    asked = questions(log, "co_choice", 1, 0)
    texts, pictures = np.eye(5, dtype=np.float32), np.roll(np.eye(5, dtype=np.float32), 1, axis=0)
    # The picture of item i + 1 is what the text of item i says.
    assert recall(texts, asked, 1, among=pictures).values["recall@1"].tolist() == [1, 1]
    assert recall(texts, asked, 1).values["recall@1"].tolist() == [0, 0]
    pictures[1] = np.nan
    assert recall(texts, asked, 1, among=pictures).values["recall@1"].tolist() == [0, 1]
    texts[2] = np.nan
    assert recall(texts, asked, 1, among=pictures).values["recall@1"].tolist() == [0, 0]
