"""By group: how much each group of the re-ranker's inputs adds to the score of a list, by exact Shapley values.

The game is played on the logit of a score, log(p / (1 - p)) of the probability p that is published: v(S) is what the
re-ranker's would be if it saw the groups in S alone, see `Ranker.score_groups`, and v(all) the published one. So base
and values add up to the logit, and the sigmoid of the sum is the score.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from pipeline.artefacts.vectors import read_vectors
from pipeline.explain.base import Game, published_game
from pipeline.explain.by_modality import ModalityGames
from pipeline.explain.load import Sources
from pipeline.fusion.projected import Mask
from pipeline.fusion.shapley import Values, subsets
from pipeline.interactions import Int64s
from pipeline.rerank.snapshot import Catalogue, Snapshot

if TYPE_CHECKING:
    from pipeline.rerank.network import Ranker

# Published probabilities are float32.
TOLERANCE = 1e-3
NEAR_ONE = 1 - 1e-4


class GroupGames:
    """The games of one night's re-ranked scores."""

    def __init__(self, ranker: Ranker, snapshot: Snapshot, users: list[str]) -> None:
        """snapshot: all that the published fits have seen. users: the snapshot's, in order."""
        self.players = list(ranker.groups)
        self._ranker, self._snapshot = ranker, snapshot
        self._codes = {user: code for code, user in enumerate(users)}

    def scores(self, users: Sequence[str], items: Int64s) -> Values:
        """The probabilities that the re-ranker gives n pairs, in a list or not: (n,) float64. items: codes."""
        return np.asarray(expit(self._logits(users, items, self.players)))

    def of_pairs(self, users: Sequence[str], items: Int64s, scores: Values) -> Game:
        """One game for each user and item. items: (n,) codes. scores: (n,) published probabilities.

        Raises ShardCorrupt if the scores do not follow from the re-ranker.
        """
        values = {chosen: self._logits(users, items, chosen) for chosen in subsets(self.players)}
        whole = values[frozenset(self.players)]
        # Near 1 a probability of 32 bits says less than the logit that it was made of.
        published = np.where(scores < NEAR_ONE, logit(np.minimum(scores, NEAR_ONE)), whole)
        return published_game(self.players, values, self._held(items), published, TOLERANCE)

    def _logits(self, users: Sequence[str], items: Int64s, present: Collection[str]) -> Values:
        codes = np.array([self._codes[user] for user in users], np.int64)
        return self._ranker.score_groups(self._snapshot, codes, items, present).astype(np.float64)

    def _held(self, items: Int64s) -> Mask:
        """(n, groups) bool: every item has all groups but the modalities that it lacks."""
        modalities = self._snapshot.catalogue.modalities
        return np.stack(
            [modalities[name][1][items] if name in modalities else np.ones(len(items), bool) for name in self.players],
            axis=1,
        )


def group_games(sources: Sources, games: ModalityGames) -> GroupGames | None:
    """The games of re-ranked scores; None where lists have the first stage's order.

    Memory: every item's vectors of every modality, and the log.
    """
    if not sources.reranked.used:
        return None
    # Its network is torch's, which most that is explained does without.
    from pipeline.rerank.network import load_ranker

    published = sources.trained / "published"
    _, items = read_vectors(published / "item_vectors.parquet", "item_id")
    users, vectors = read_vectors(published / "user_vectors.parquet", "user_id")
    # No candidates are searched for.
    catalogue = Catalogue(items, games.prepared(), np.zeros(len(items), bool))
    snapshot = Snapshot(catalogue, vectors, sources.staged.read_everything())
    return GroupGames(load_ranker(sources.reranked.published, catalogue, threads=1), snapshot, users)
