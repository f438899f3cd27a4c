"""Every segment asks for what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artefacts.log import PARTS, OpenedLog
from pipeline.config.sections import Evaluate
from pipeline.evaluation.segments import _head, tasks_of
from pipeline.interactions import Interactions
from tests.logs import parted

ITEMS = 8
HISTORIES = [
    [(0, "train"), (1, "train"), (0, "train"), (2, "validation"), (3, "test"), (7, "test")],
    [(0, "train"), (4, "test"), (1, "test")],
    [(7, "held_out"), (0, "test")],
    [(1, "train"), (0, "train"), (7, "held_out"), (7, "test"), (5, "test")],
]


def log_of(cold: tuple[int, ...] = (7,)) -> OpenedLog:
    rows = [(user, item, part) for user, history in enumerate(HISTORIES) for item, part in history]
    user, item = (np.array([row[at] for row in rows], np.int32) for at in (0, 1))
    part = np.array([PARTS.index(row[2]) for row in rows], np.int8)
    n = len(rows)
    entries = Interactions(user, item, np.arange(n, 0, -1.0), np.ones(n, np.float32), len(HISTORIES), ITEMS)
    return OpenedLog(list("abcd"), list("01234567"), np.isin(np.arange(ITEMS), cold), parted(entries, part))


def pairs(log: Interactions) -> set[tuple[int, int]]:
    return set(zip(log.user.tolist(), log.item.tolist(), strict=True))


def test_every_segment_has_its_own_targets() -> None:
    has = {"text": np.ones(ITEMS, bool), "image": np.arange(ITEMS) != 4}
    tasks = tasks_of(log_of(), Evaluate(cold_user_choices=1, head_choice_share=0.6), has)
    found = {name: pairs(task.targets) for name, task in tasks.items()}
    # The third user has no history: what they chose is asked of nobody.
    everything = {(0, 3), (0, 7), (1, 4), (1, 1), (3, 7), (3, 5)}
    assert found["all"] == everything
    assert found["warm"] == {pair for pair in everything if pair[1] != 7}
    assert found["cold_users"] == {(1, 4), (1, 1)}
    # Item 0 has four of six choices, more than the share.
    assert "head" not in found
    assert found["tail"] == found["warm"]
    assert found["no_image"] == {(1, 4)}
    assert "no_text" not in found
    assert found["all_modalities"] == everything - {(1, 4)}
    assert found["cold"] == found["cold_among_all"] == {(0, 7), (3, 7)}
    assert tasks["cold"].candidates is not None
    assert np.flatnonzero(tasks["cold"].candidates).tolist() == [7]
    assert (3, 7) in pairs(tasks["all"].history)
    assert (3, 7) not in pairs(tasks["cold"].history)


@pytest.mark.parametrize(("share", "head"), [(0, set()), (0.7, {(1, 1)}), (1, {(1, 1)})])
def test_the_head_is_the_fewest_items_with_the_share(share: float, head: set[tuple[int, int]]) -> None:
    tasks = tasks_of(log_of(), Evaluate(head_choice_share=share), {})
    found = pairs(tasks["head"].targets) if "head" in tasks else set()
    assert found == head
    assert found | pairs(tasks["tail"].targets) == pairs(tasks["warm"].targets)


@pytest.mark.parametrize("has", [{}, {"text": np.ones(ITEMS, bool)}, {"text": np.zeros(ITEMS, bool)}])
def test_where_no_item_lacks_anything_or_all_do_there_is_nothing_to_tell(has: dict[str, np.ndarray]) -> None:
    assert not {"no_text", "all_modalities"} & set(tasks_of(log_of(), Evaluate(), has))


def test_all_segments_but_cold_share_two_rankings() -> None:
    tasks = tasks_of(log_of(), Evaluate(), {"image": np.arange(ITEMS) != 4})
    assert len({(id(task.history), id(task.candidates)) for task in tasks.values()}) == 3
    assert tasks_of(log_of(cold=()), Evaluate(), {})["cold"].targets.n_items == ITEMS


def log_with(histories: list[list[tuple[int, str]]], cold: tuple[int, ...]) -> OpenedLog:
    rows = [(user, item, part) for user, history in enumerate(histories) for item, part in history]
    user, item = (np.array([row[at] for row in rows], np.int32) for at in (0, 1))
    part, n = np.array([PARTS.index(row[2]) for row in rows], np.int8), len(rows)
    entries = Interactions(user, item, np.arange(n, 0, -1.0), np.ones(n, np.float32), len(histories), ITEMS)
    names = [f"u{user}" for user in range(len(histories))]
    return OpenedLog(names, list("01234567"), np.isin(np.arange(ITEMS), cold), parted(entries, part))


def test_histories_are_all_parts_before_the_test_and_what_was_held_out_is_a_target_of_cold_alone() -> None:
    first = [(0, "train"), (1, "validation"), (2, "test")]
    log = log_with([first, [(0, "train"), (7, "held_out"), (3, "test")], [(1, "validation"), (4, "test")]], (7,))
    tasks = tasks_of(log, Evaluate(), {})
    # The last user has only a validation part, which is a history too.
    assert pairs(tasks["all"].targets) == {(0, 2), (1, 3), (2, 4)}
    assert pairs(tasks["cold_users"].targets) == {(0, 2), (1, 3), (2, 4)}
    learnt = {(0, 0), (0, 1), (1, 0), (2, 1)}
    assert pairs(tasks["all"].history) == learnt | {(1, 7)}
    for name in ("cold", "cold_among_all"):
        assert pairs(tasks[name].history) == learnt
        assert pairs(tasks[name].targets) == {(1, 7)}
    assert tasks["all"].candidates is tasks["cold_among_all"].candidates is None


def test_all_and_warm_are_there_without_a_target_too() -> None:
    tasks = tasks_of(log_with([[(0, "train"), (1, "train")]], ()), Evaluate(), {})
    assert list(tasks) == ["all", "warm", "cold", "cold_among_all"]
    assert not any(len(task.targets) for task in tasks.values())
    # Without a cold item everything is a candidate: an empty ranking would divide by nothing.
    candidates = tasks["cold"].candidates
    assert candidates is not None
    assert candidates.tolist() == [True] * ITEMS


@pytest.mark.parametrize(
    ("choices", "share", "head"),
    [
        ([3, 3, 2, 1, 0], 1 / 3, [0]),
        ([3, 3, 2, 1, 0], 0.5, [0, 1]),
        ([3, 3, 2, 1, 0], 1, [0, 1, 2, 3]),
        ([0, 1, 5, 1], 0.9, [1, 2, 3]),
        ([0, 0], 1, []),
        ([2] * 40, 0.5, list(range(20))),
        ([1, 3] * 20, 0.75, list(range(1, 40, 2))),
    ],
)
def test_the_head_takes_equals_in_the_catalogues_order_and_nothing_unchosen(
    choices: list[int], share: float, head: list[int]
) -> None:
    assert np.flatnonzero(_head(np.array(choices), share)).tolist() == head


def test_a_sample_of_users_is_asked_everywhere_the_same_and_of_those_alone_who_can_be_asked() -> None:
    """The third user has no history, the fourth has a profile too, which counts for nothing beside one."""
    for seed in range(8):
        tasks = tasks_of(log_of(), Evaluate(users=2), {}, np.array([False, False, True, True]), seed)
        asked = {user for task in tasks.values() for user, _ in pairs(task.targets)}
        assert len(asked) == 2
        for task in tasks.values():
            whole = tasks_of(log_of(), Evaluate(users=4), {}, np.array([False, False, True, True]), seed)
            names = [name for name, other in tasks.items() if other is task]
            assert pairs(task.targets) == {pair for pair in pairs(whole[names[0]].targets) if pair[0] in asked}
    samples = {
        frozenset(pairs(tasks_of(log_of(), Evaluate(users=1), {}, seed=seed)["all"].targets)) for seed in range(8)
    }
    assert len(samples) > 1
    assert all({user for user, _ in sample} < {0, 1, 3} for sample in samples)
