"""How good a re-ranker's order and its probabilities are on pairs of a part of the log that it has not seen.

| pairs | which |
|---|---|
| candidates | each user's candidates: what the list is ordered by |
| shown | what users were shown, chosen or not: what a ranker that learned from such pairs is calibrated on |
| drawn | pairs drawn as those it learned from, with the logit that training had, f - log r; else left out |
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.rerank import Rerank as Settings
from pipeline.evaluation.calibration import quality
from pipeline.evaluation.hits import Values
from pipeline.evaluation.metrics import cutoff_of, of_lists
from pipeline.interactions import Floats, Int64s, Interactions, Mask
from pipeline.rerank.impressions import pairs_of
from pipeline.rerank.pairs import Pairs, drawn, new_pairs
from pipeline.rerank.snapshot import NOTHING, Snapshot
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    from pipeline.rerank.network import Ranker

# Of more users than these a seeded sample is asked: their mean is known well enough.
MAX_USERS = 5_000


@dataclass(frozen=True)
class Candidates:
    """Candidates of b users of a held-out part, (b, k) in the first stage's order, and which of them were chosen.

    vectors: (b, d) float32, the users'. wanted: (b,) int64, how much each chose. lists: (b, k) int64, -1 where there is
    none. chosen: (b, k) bool. scalars: (b, k, s) float32, see `Snapshot.scalars`.
    """

    vectors: Floats
    wanted: Int64s
    lists: Int64s
    chosen: Mask
    scalars: Floats

    @staticmethod
    def of(snapshot: Snapshot, targets: Interactions, count: int) -> Candidates:
        """So many candidates of the users that the snapshot knows. targets: what users went on to choose."""
        user, item = new_pairs(snapshot, targets)
        users, wanted = np.unique(user, return_counts=True)
        lists, scores = snapshot.candidates(users, count)
        keys, width = user * targets.n_items + item, targets.n_items
        chosen = np.isin(users[:, None] * width + lists, keys) & (lists != NOTHING)
        scalars = np.zeros((*lists.shape, snapshot.catalogue.scalars), np.float32)
        row, column = np.nonzero(lists != NOTHING)
        scalars[row, column] = snapshot.scalars(users, row, lists[row, column], scores[row, column])
        return Candidates(snapshot.users[users], wanted, lists, chosen, scalars)

    def half(self, which: int) -> Candidates:
        """The users at even places, or with 1 those at odd ones."""
        rows = slice(which, None, 2)
        return Candidates(*(getattr(self, field.name)[rows] for field in fields(self)))

    def logits(self, ranker: Ranker) -> Floats:
        """What a ranker says of the candidates, (b, k) float32, -inf where there is none."""
        logits = np.full(self.lists.shape, -np.inf, np.float32)
        there = np.nonzero(self.lists != NOTHING)
        logits[there] = ranker.logits(self.vectors, there[0], self.lists[there], self.scalars[there])
        return logits

    def values(self, metric: str, scores: Floats | None = None) -> Values:
        """Each user's metric of the candidates by scores, (b, k), or as the first stage has them: (b,) float64.

        metric: one of `evaluation.metrics.of_lists`.
        """
        hits = self.chosen
        if scores is not None:
            hits = np.take_along_axis(hits, np.argsort(-scores, axis=1, kind="stable"), axis=1)
        return of_lists(hits, self.wanted, (cutoff_of(metric),))[metric]


def of_candidates(ranker: Ranker, snapshot: Snapshot, targets: Interactions, count: int, seed: int) -> Json:
    """See above. targets: what users went on to choose. count: of candidates. seed: of the sample of many users."""
    candidates = Candidates.of(snapshot, targets.sample_users(MAX_USERS, seed), count)
    there = candidates.lists != NOTHING
    return _quality(candidates.logits(ranker)[there], candidates.chosen[there])


def of_shown(
    ranker: Ranker, snapshot: Snapshot, shown: tuple[Interactions, Mask], settings: Settings, seed: int
) -> Json:
    """See above. shown: the pages and which of them were chosen, see `impressions.labelled`."""
    pairs = pairs_of(snapshot, *shown, settings, np.random.default_rng([seed, 11]))
    return _quality(_logits(ranker, pairs), pairs.chosen)


def of_drawn(ranker: Ranker, snapshot: Snapshot, targets: Interactions, settings: Settings, seed: int) -> Json:
    """See above."""
    pairs = drawn(snapshot, targets, snapshot.history.item_counts() > 0, settings, np.random.default_rng([seed, 8]))
    return _quality(_logits(ranker, pairs) - pairs.log_rate, pairs.chosen)


def _logits(ranker: Ranker, pairs: Pairs) -> Floats:
    return ranker.logits(pairs.users, pairs.user, pairs.item, pairs.scalars)


def _quality(logits: Floats, chosen: Mask) -> Json:
    from scipy.special import expit

    return quality(expit(logits.astype(np.float64)), chosen)
