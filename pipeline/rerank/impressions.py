"""Pairs of a user and an item that the user was shown, and then chose or not, for a re-ranker to learn from.

Each showing is one pair. It is a positive if the user chose the item, for the first time, at its moment or within
`rerank.chosen_within_days` after it. Left out are showings of what the user had chosen before, as that is not
recommended again, and those whose days are not over by the end of the log at hand, as nobody can know of them yet.

The pair's numbers come from the last of the snapshots of `pairs.rounds` whose history is older than the showing:
neither a user's vector nor any count has seen it, or what came after it.

Pairs are learned as they are, so that f is the logit of choosing what one is shown: nothing was drawn that had to be
corrected for. What was shown was not drawn at random either, but by whoever showed it, and at the top of a page things
are chosen for being there; neither the place on a page nor the rest of it is known here.
"""

from __future__ import annotations

import numpy as np

from pipeline.config.rerank import Rerank as Settings
from pipeline.interactions import Interactions, Mask
from pipeline.rerank.pairs import Pairs, rounds, sampled, together
from pipeline.rerank.snapshot import FirstStage, Snapshot


def learned_from_shown(
    first: FirstStage, log: Interactions, shown: Interactions, settings: Settings, seed: int
) -> Pairs | None:
    """The pairs of every round, at most `rerank.max_pairs`; None unless there are both positives and negatives."""
    generator = np.random.default_rng([seed, 9])
    pages, chosen = labelled(shown, log, settings.chosen_within_days)
    histories = [history for history, _ in rounds(log, settings, seed) if len(history)]
    newest = [history.age_days.min() for history in histories]
    rounds_of_pairs = []
    for history, begin, end in zip(histories, newest, [*newest[1:], -np.inf], strict=True):
        own = (pages.age_days < begin) & (pages.age_days >= end)
        users = sampled(pages.subset(own), history, seed).user
        if len(users):
            own &= np.isin(pages.user, users)
            snapshot = first.after(history, users)
            rounds_of_pairs.append(pairs_of(snapshot, pages.subset(own), chosen[own], settings, generator))
    learnt = together([some for some in rounds_of_pairs if len(some)])
    return learnt if learnt is not None and 0 < learnt.chosen.sum() < len(learnt) else None


def labelled(shown: Interactions, choices: Interactions, days: float) -> tuple[Interactions, Mask]:
    """The showings that say something, and whether their items were chosen, (n,) bool; see above.

    shown: in the order of users. choices: all until the end of what may be known.
    """
    if not len(shown):
        return shown, np.zeros(0, bool)
    keys = choices.user.astype(np.int64) * choices.n_items + choices.item
    pairs, row = np.unique(keys, return_inverse=True)
    first = np.full(len(pairs) + 1, -np.inf)
    np.maximum.at(first, row, choices.age_days)
    queries = shown.user.astype(np.int64) * shown.n_items + shown.item
    place = np.searchsorted(pairs, queries)
    place[~np.isin(queries, pairs)] = len(pairs)
    until_chosen = shown.age_days - first[place]
    over = shown.age_days - days >= choices.age_days.min(initial=np.inf)
    telling = (until_chosen >= 0) & over
    return shown.subset(telling), (until_chosen <= days)[telling]


def pairs_of(
    snapshot: Snapshot, shown: Interactions, chosen: Mask, settings: Settings, generator: np.random.Generator
) -> Pairs:
    """The pairs of a snapshot that its history is known for, drawn evenly where they are too many.

    shown: later than the history. chosen: (n,) bool, see `labelled`.
    """
    known = np.flatnonzero(snapshot.known[shown.user])
    learnt = np.sort(generator.permutation(known)[: max(1, settings.max_pairs // settings.rounds)])
    users, place = np.unique(shown.user[learnt].astype(np.int64), return_inverse=True)
    item = shown.item[learnt].astype(np.int64)
    scalars = snapshot.scalars(users, place, item)
    return Pairs(snapshot.users[users], place, item, scalars, chosen[learnt], np.zeros(len(learnt), np.float32))
