"""How good a re-ranker's order and its probabilities are on pairs of a part of the log that it has not seen.

| pairs | which |
|---|---|
| candidates | each user's candidates: what the list is ordered by |
| shown | what users were shown, chosen or not: what a ranker that learned from such pairs is calibrated on |
| drawn | pairs drawn as those it learned from, with the logit that training had, f - log r; else left out |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.rerank import Rerank as Settings
from pipeline.evaluation.calibration import quality
from pipeline.evaluation.hits import Values
from pipeline.evaluation.metrics import cutoff_of, of_lists
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.rerank.impressions import pairs_of
from pipeline.rerank.pairs import Pairs, drawn
from pipeline.rerank.snapshot import NOTHING, Snapshot
from pipeline.workspace import Json

if TYPE_CHECKING:
    from pipeline.rerank.network import Ranker

# More users than these are thinned out evenly: their mean is known well enough.
MAX_USERS = 10_000


class Candidates:
    """Candidates of the users of a held-out part, (b, k) in the first stage's order, and which of them were chosen."""

    def __init__(self, snapshot: Snapshot, targets: Interactions, count: int) -> None:
        self.snapshot = snapshot
        wanted = targets.pairs()
        users = np.intersect1d(np.flatnonzero(np.diff(wanted.indptr)), snapshot.known_users())
        users = users[:: max(1, -(-len(users) // MAX_USERS))]
        owner = np.repeat(users, np.diff(wanted.indptr)[users])
        item = wanted[users].indices
        new = ~snapshot.taken(owner.astype(np.int32), item)
        self.users, self.wanted = np.unique(owner[new], return_counts=True)
        self.lists = snapshot.candidates(self.users, count)
        keys, width = owner[new] * targets.n_items + item[new], targets.n_items
        self.chosen: Mask = np.isin(self.users[:, None] * width + self.lists, keys) & (self.lists != NOTHING)
        row, column = np.nonzero(self.lists != NOTHING)
        self._scalars = snapshot.scalars(self.users[row], self.lists[row, column])

    def logits(self, ranker: Ranker) -> Floats:
        """What a ranker says of the candidates, (b, k) float32, -inf where there is none."""
        return ranker.of_lists(self.snapshot, self.users, self.lists, self._scalars)

    def values(self, metric: str, scores: Floats | None = None) -> Values:
        """Each user's metric of the candidates by scores, (b, k), or as the first stage has them: (b,) float64.

        metric: one of `evaluation.metrics.of_lists`.
        """
        hits = self.chosen
        if scores is not None:
            hits = np.take_along_axis(hits, np.argsort(-scores, axis=1, kind="stable"), axis=1)
        return of_lists(hits, self.wanted, (cutoff_of(metric),))[metric]


def of_candidates(ranker: Ranker, snapshot: Snapshot, targets: Interactions, count: int) -> Json:
    """See above. targets: what users went on to choose. count: of candidates."""
    candidates = Candidates(snapshot, targets, count)
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
