"""Lists of blends made of the members' own lists are those of the blended scores, as far as these go."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.blended import BlendedLists
from pipeline.evaluation.metrics import Task, rank
from pipeline.evaluation.ranking import InnerProduct
from tests.logs import of_rows

USERS, ITEMS, WIDTH = 40, 300, 8


@pytest.fixture(scope="module")
def task() -> Task:
    generator = np.random.default_rng(0)

    def rows(each: int) -> list[tuple[int, int, float]]:
        return [(user, int(item), 0.0) for user in range(USERS) for item in generator.choice(ITEMS, each, False)]

    # The last user has no target, and some targets are in the history.
    targets = [row for row in rows(5) if row[0] < USERS - 1]
    return Task(of_rows(rows(20), USERS, ITEMS), of_rows(targets, USERS, ITEMS))


@pytest.fixture(scope="module")
def members() -> list[InnerProduct]:
    generator = np.random.default_rng(1)
    return [
        InnerProduct(*(generator.standard_normal((count, WIDTH)).astype(np.float32) for count in (USERS, ITEMS)))
        for _ in range(3)
    ]


def blended(members: list[InnerProduct], weights: tuple[float, ...]) -> InnerProduct:
    users = np.concatenate([m.users * np.float32(w) for m, w in zip(members, weights, strict=True)], axis=1)
    return InnerProduct(users, np.concatenate([m.items for m in members], axis=1))


@pytest.mark.parametrize("weights", [(0.2, 0.5, 0.3), (0.0, 1.0, 0.0), (0.5, 0.5, 0.0)])
def test_of_lists_as_deep_as_the_catalogue_the_metric_is_that_of_the_blended_scores(
    task: Task, members: list[InnerProduct], weights: tuple[float, ...]
) -> None:
    lists = BlendedLists(task, members, depth=ITEMS)
    scores = rank(blended(members, weights), task, (10,))
    np.testing.assert_array_equal(lists.users, scores.users)
    for metric in ("ndcg@10", "recall@10"):
        np.testing.assert_allclose(lists.values(weights, metric), scores.values[metric])


def test_of_shallow_lists_a_single_members_metric_is_exact(task: Task, members: list[InnerProduct]) -> None:
    lists = BlendedLists(task, members, depth=10)
    scores = rank(members[1], task, (10,))
    # Others' items are scored too, but none of them can stand among a member's ten best.
    np.testing.assert_allclose(lists.values((0, 1, 0), "ndcg@10"), scores.values["ndcg@10"])


def test_without_a_target_there_are_no_values(task: Task, members: list[InnerProduct]) -> None:
    nothing = task.targets.subset(np.zeros(len(task.targets), bool))
    assert len(BlendedLists(Task(task.history, nothing), members).values((1, 0, 0), "ndcg@10")) == 0
