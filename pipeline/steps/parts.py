"""Parts of a step, which machines may share: each is an artefact, and whoever needs one that is missing makes it.

A scheduler asks what there is to do (`--prepare`), maps a task over each group of parts, and then runs the step, which
takes what they left. One machine that only runs the step leaves the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from pipeline.storage.documents import Json

Of = TypeVar("Of", bound=str)
# Of a step's tasks together, and the share of the usual length that makes a task worth the start of a process.
TASKS, SHORTEST = (8, 200), 1 / 6


class Group(NamedTuple):
    """What one task makes. of: a modality, or an index. parts: some of its parts, by number."""

    of: str
    parts: list[int]


def grouped(seconds: Mapping[Of, Mapping[int, float]], task_seconds: float) -> list[Group]:
    """Groups of parts that take about `task_seconds` each.

    Less, but no less than SHORTEST of that, where these would be fewer than TASKS[0]; more where more than TASKS[1].
    seconds: what each missing part would take, by what it is of.
    """
    total = sum(sum(parts.values()) for parts in seconds.values())
    length = max(min(task_seconds, total / TASKS[0]), SHORTEST * task_seconds, total / (TASKS[1] - len(seconds)))
    groups: list[Group] = []
    for of, parts in seconds.items():
        numbers, each = np.array(list(parts)), np.array(list(parts.values()))
        count = int(np.ceil(each.sum() / length))
        middle = (np.cumsum(each) - each / 2) / each.sum() if len(each) else each
        place = np.minimum(middle * count, count - 1).astype(int)
        groups += [Group(of, numbers[place == one].tolist()) for one in np.unique(place)]
    return groups


def as_task(group: Group, of_option: str, part_option: str) -> Json:
    """A group for a scheduler: the options of the step's verb that make it, and a name to be read."""
    options = [of_option, group.of, *(word for part in group.parts for word in (part_option, str(part)))]
    return {"name": f"{group.of} {group.parts[0]}-{group.parts[-1]}", "options": options}


def unknown(parts: Sequence[int], count: int) -> list[int]:
    """Those of some numbers that are no part of so many."""
    return [part for part in parts if not 0 <= part < count]
