"""How good a re-ranker's probabilities are on pairs of a part of the log that it has not seen.

| pairs | which |
|---|---|
| candidates | each user's candidates: what the list is ordered by |
| shown | what users were shown, chosen or not: what a ranker that learned from such pairs is calibrated on |
| drawn | pairs drawn as those it learned from, with the logit that training had, f - log r; else left out |
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from pipeline.config.rerank import Rerank as Settings
from pipeline.evaluation.calibration import quality
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.recommend.content_features import known
from pipeline.rerank.candidates import Candidates
from pipeline.rerank.impressions import pairs_of
from pipeline.rerank.network import Ranker
from pipeline.rerank.pairs import Pairs, drawn
from pipeline.rerank.snapshot import NOTHING, Snapshot
from pipeline.workspace import Json


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
    chosen_before = known(snapshot.history.item, targets.n_items)
    pairs = drawn(snapshot, targets, chosen_before, settings, np.random.default_rng([seed, 8]))
    return _quality(_logits(ranker, pairs) - pairs.log_rate, pairs.chosen)


def _logits(ranker: Ranker, pairs: Pairs) -> Floats:
    return ranker.logits(pairs.users, pairs.user, pairs.item, pairs.scalars)


def _quality(logits: Floats, chosen: Mask) -> Json:
    return quality(expit(logits.astype(np.float64)), chosen)
