"""Likeness: do items that one user chose lie near each other?

A question is a user, an item they chose, and another they chose within a window of choices; an answer is right where
the second is among the k items nearest to the first. For one user,

    recall@k = mean over their questions of [the other item is among the k nearest]

Every item that has a vector is ranked, but the one of the question; of equal scores half count as nearer. An item
without a vector finds nothing and is not found.

| segment | the other item |
|---|---|
| co_choice | first chosen by the user in the test part, both items chosen by somebody in the training part |
| co_choice_cold | one of the two was held out of training |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.artefacts.log import PARTS, OpenedLog
from pipeline.evaluation.metrics import Scores
from pipeline.interactions import Floats, Int32s, Int64s, Mask

# Questions, and scores of items that they may take: where items are many, fewer are asked.
LIMIT, MOST_SCORES = 60_000, 2_000_000_000
MOST_PAIRS = 5_000_000
# Questions and items that are ranked at a time, and the difference up to which cosines, which are rounded, are equal.
ROWS, WIDTH, EQUAL = 1024, 8192, np.float32(1e-6)
SEGMENTS = ("co_choice", "co_choice_cold")


@dataclass(frozen=True)
class Questions:
    """user, item, answer: (q,) int32 codes; item and answer are different items of one user."""

    user: Int32s
    item: Int32s
    answer: Int32s

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Questions:
        """A subset."""
        return Questions(self.user[rows], self.item[rows], self.answer[rows])


def questions(log: OpenedLog, segment: str, window: int, seed: int, limit: int | None = None) -> Questions:
    """The questions of a segment, at most `limit` of them, drawn by the seed.

    window: choices of one user that count as together are at most so many apart. limit: by default LIMIT, or as many
    as MOST_SCORES allows in a catalogue of more than some 33,000 items.
    """
    limit = limit or min(LIMIT, MOST_SCORES // max(len(log.items), 1))
    left, right = _places(log, window)
    user, item = log.entries.user[left], log.entries.item
    pairs = Questions(user, item[left], item[right])
    cold_item, cold_answer = log.cold[pairs.item], log.cold[pairs.answer]
    if segment == "co_choice":
        seen = np.zeros(len(log.items), bool)
        seen[log.of("train").item] = True
        tested = (log.part[right] == PARTS.index("test")) & _new(log)[right]
        pairs = pairs.take(np.flatnonzero(tested & seen[pairs.item] & seen[pairs.answer]))
    else:
        mixed = np.flatnonzero(cold_item != cold_answer)
        turn = cold_item[mixed]
        earlier, later = pairs.item[mixed], pairs.answer[mixed]
        pairs = Questions(pairs.user[mixed], np.where(turn, later, earlier), np.where(turn, earlier, later))
    if len(pairs) > limit:
        pairs = pairs.take(np.sort(np.random.default_rng(seed).permutation(len(pairs))[:limit]))
    return pairs


def recall(vectors: Floats, queries: Questions, k: int, among: Floats | None = None) -> Scores:
    """recall@k of every user with a question.

    vectors: (n_items, d) float32, NaN rows where missing, of the questions' items. among: the same, of those ranked; by
    default `vectors`.
    """
    among = vectors if among is None else among
    has, there = ~np.isnan(vectors[:, 0]), np.flatnonzero(~np.isnan(among[:, 0]))
    can = np.flatnonzero(has[queries.item] & ~np.isnan(among[queries.answer, 0]))
    hits = np.zeros(len(queries), bool)
    for rows in np.split(can, range(ROWS, len(can), ROWS)):
        own = queries.take(rows)
        hits[rows] = _near(vectors[own.item], among, there, own, k)
    users, of = np.unique(queries.user, return_inverse=True)
    values = np.bincount(of, hits, minlength=len(users)) / np.maximum(np.bincount(of, minlength=len(users)), 1)
    return Scores(users.astype(np.int32), {f"recall@{k}": values}, {})


def _near(asked: Floats, among: Floats, there: Int64s, queries: Questions, k: int) -> Mask:
    """Whether the answers are near: (q,) bool. asked: (q, d), the items' vectors. there: the items to be ranked.

    Some items at a time: most answers are far, and after a few of those enough others are nearer.
    """
    right = np.einsum("nd,nd->n", asked, among[queries.answer])
    nearer, undecided = np.zeros(len(right)), np.arange(len(right))
    for start in range(0, len(there), WIDTH):
        codes = there[start : start + WIDTH]
        scores = asked[undecided] @ among[codes].T
        for own in (queries.item[undecided], queries.answer[undecided]):
            place = np.minimum(np.searchsorted(codes, own), len(codes) - 1)
            row = np.flatnonzero(codes[place] == own)
            scores[row, place[row]] = -np.inf
        of_answer = right[undecided, None]
        nearer[undecided] += (scores > of_answer + EQUAL).sum(axis=1)
        nearer[undecided] += (np.abs(scores - of_answer) <= EQUAL).sum(axis=1) / 2
        undecided = undecided[nearer[undecided] < k]
    near: Mask = nearer < k
    return near


def _new(log: OpenedLog) -> Mask:
    """Which interactions are a user's first with an item."""
    keys = log.entries.user.astype(np.int64) * len(log.items) + log.entries.item
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def _places(log: OpenedLog, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of every pair of different items at most `window` choices of a user apart, the earlier one first.

    Of a log with more than MOST_PAIRS pairs, every k-th user is asked.
    """
    counted = np.flatnonzero(log.entries.some_users(MOST_PAIRS // window))
    user, item = log.entries.user[counted], log.entries.item[counted]
    lefts, rights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for apart in range(1, min(window, max(len(user) - 1, 0)) + 1):
        left = np.flatnonzero((user[apart:] == user[:-apart]) & (item[apart:] != item[:-apart]))
        lefts.append(counted[left])
        rights.append(counted[left + apart])
    return np.concatenate(lefts), np.concatenate(rights)
