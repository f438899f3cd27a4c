"""Logs as tests write them down: rows, a table of who chose what; and a log in parts."""

from __future__ import annotations

import numpy as np

from pipeline.artefacts.log import PARTS
from pipeline.interactions import Interactions


def parted(entries: Interactions, part: np.ndarray) -> dict[str, Interactions]:
    """The rows of each part. part: (n,) int8, position in PARTS."""
    return {name: entries.subset(part == code) for code, name in enumerate(PARTS)}


def log_of(*histories: list[int], items: int = 30) -> Interactions:
    """A log of one history a user, each choice of weight 1 and age 0."""
    user = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    item = np.concatenate(histories).astype(np.int32)
    return Interactions(user, item, np.zeros(len(item)), np.ones(len(item), np.float32), len(histories), items)


def of_rows(rows: list[tuple[int, int, float]], users: int, items: int, weight: float = 1) -> Interactions:
    """rows: user, item and age in days."""
    user, item, age = (np.array(column) for column in zip(*rows, strict=True))
    order = np.lexsort((item, -age, user))
    codes = user[order].astype(np.int32), item[order].astype(np.int32)
    return Interactions(*codes, age[order], np.full(len(rows), weight, np.float32), users, items)


def of_table(chosen: np.ndarray, age_days: np.ndarray | None = None) -> Interactions:
    """chosen: (users, items), not 0 where a user chose an item. age_days: of each choice, 0 by default."""
    user, item = (codes.astype(np.int32) for codes in np.nonzero(chosen))
    ages = np.zeros(len(user)) if age_days is None else age_days
    return Interactions(user, item, ages, np.ones(len(user), np.float32), *chosen.shape)
