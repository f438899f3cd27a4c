"""Candidates: the first stage's best items of the users of a held-out part, and which of them were chosen."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.hits import Values
from pipeline.evaluation.metrics import cutoff_of, of_lists
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.recommend.propagation import pairs
from pipeline.rerank.network import Ranker
from pipeline.rerank.snapshot import NOTHING, Snapshot

# More users than these are thinned out evenly: their mean is known well enough.
MAX_USERS = 10_000


class Candidates:
    """Candidates of the users of a held-out part, (b, k) in the first stage's order, and which of them were chosen."""

    def __init__(self, snapshot: Snapshot, targets: Interactions, count: int) -> None:
        self.snapshot = snapshot
        wanted = pairs(targets)
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
