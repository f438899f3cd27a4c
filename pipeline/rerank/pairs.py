"""Pairs of a user and an item, chosen or not, that a re-ranker learns from.

The log is cut into rounds, by time, and by chance where time does not tell. In each round, users are made of all that
came before it, and what they chose in it are the positives: neither a user's vector nor any count has seen them. The
items' vectors have, since the first stage was fitted on the whole log, so that its score looks surer than it will be
later: what is learned leans towards the order that there is already, and validation decides whether to use it.

Beside each positive, negatives are drawn, some from the user's candidates and some from all items. A pair x of a user
with t positives is expected to be drawn

    r(x) = t · hard / |candidates| · [x is one]  +  t · even / |other items|

times. Whoever learns that a drawn pair is a positive with the logit f(x) - log r(x) learns f, the logit among all
pairs, drawn or not (the correction of sampled softmax, Bengio and Senécal 2008, for two classes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.config.rerank import Rerank as Settings
from pipeline.interactions import Floats, Int64s, Interactions, Mask
from pipeline.rerank.snapshot import NOTHING, FirstStage, Snapshot, without
from pipeline.training.negatives import Chosen

REDRAWS = 32
# Of each round, so many users are searched for candidates and learned from at most: fewer where all of them times all
# items are more products than these, which is from 5·10⁵ items on, but never fewer than the fewest.
MAX_USERS, FEWEST_USERS, PRODUCTS = 4096, 1024, 1 << 31


@dataclass(frozen=True)
class Pairs:
    """n pairs. users: (m, d) float32 vectors, a row for each user of each round.

    user: (n,) row of `users`. item: (n,) codes. scalars: (n, s) float32. chosen: (n,) bool. log_rate: (n,) float32,
    log r, see above.
    """

    users: Floats
    user: Int64s
    item: Int64s
    scalars: Floats
    chosen: Mask
    log_rate: Floats

    def __len__(self) -> int:
        return len(self.user)


def rounds(log: Interactions, settings: Settings, seed: int) -> Iterator[tuple[Interactions, Interactions]]:
    """Histories and what was chosen next, round after round."""
    shuffled = np.random.default_rng([seed, 5]).random(len(log))
    place = np.empty(len(log), np.int64)
    place[np.lexsort((shuffled, -log.age_days))] = np.arange(len(log))
    ends = np.linspace(settings.history_share, 1, settings.rounds + 1) * len(log)
    for start, stop in pairwise(ends):
        yield log.subset(place < start), log.subset((place >= start) & (place < stop))


def learned_from(first: FirstStage, log: Interactions, settings: Settings, seed: int) -> Pairs | None:
    """The pairs of every round; None if nobody chose anything new in any."""
    generator = np.random.default_rng([seed, 6])
    known = log.item_counts() > 0
    of_rounds = []
    for history, targets in rounds(log, settings, seed):
        targets = sampled(targets, history, seed)
        if len(targets):
            of_rounds.append(drawn(first.after(history, targets.user), targets, known, settings, generator))
    return together([pairs for pairs in of_rounds if len(pairs)])


def sampled(later: Interactions, history: Interactions, seed: int) -> Interactions:
    """What a seeded sample of the users who are in the history did later."""
    most = max(FEWEST_USERS, min(MAX_USERS, PRODUCTS // max(later.n_items, 1)))
    return of_known(later, history).sample_users(most, seed)


def of_known(later: Interactions, history: Interactions) -> Interactions:
    """What users who are in the history did later."""
    return later.subset(np.diff(history.offsets())[later.user] > 0)


def drawn(
    snapshot: Snapshot, targets: Interactions, known: Mask, settings: Settings, generator: np.random.Generator
) -> Pairs:
    """Positives and negatives of one snapshot; see above.

    known: (n_items,) bool, the items that are drawn: that nobody chose a new one yet says nothing of it.
    """
    most = max(1, settings.max_pairs // (settings.rounds * (1 + settings.negatives)))
    user, item = new_pairs(snapshot, targets)
    user, item = user[known[item]], item[known[item]]
    learnt = np.sort(generator.permutation(len(user))[:most])
    users, place, positives = np.unique(user[learnt], return_inverse=True, return_counts=True)
    taken = snapshot.log.concat(targets)
    draw = _Draw(snapshot, users, taken, known, settings, generator)
    hard, even = draw.hard(place), draw.even(place)
    places = np.concatenate([place, hard[0], even[0]])
    items = np.concatenate([item[learnt], hard[1], even[1]])
    return Pairs(
        snapshot.users[users],
        places,
        items,
        snapshot.scalars(users, places, items),
        np.arange(len(items)) < len(learnt),
        draw.log_rate(places, items, positives),
    )


class _Draw:
    """Negatives for some users, given by their place, from lists and from all known items that they did not take."""

    def __init__(
        self,
        snapshot: Snapshot,
        users: Int64s,
        taken: Interactions,
        known: Mask,
        settings: Settings,
        generator: np.random.Generator,
    ) -> None:
        self.users = users
        self.known = np.flatnonzero(known)
        self.taken = Chosen(taken)
        self.hard_draws = round(settings.negatives * settings.hard_share)
        self.even_draws = settings.negatives - self.hard_draws
        self.generator = generator
        lists, _ = snapshot.candidates(users, settings.candidates)
        self.lists = without(self.taken, users, np.where(known[lists], lists, NOTHING))
        self.sizes = (self.lists >= 0).sum(axis=1)
        self.free = len(self.known) - np.asarray(taken.pairs()[users] @ known.astype(np.float32)).ravel()

    def hard(self, place: Int64s) -> tuple[Int64s, Int64s]:
        """Places and items drawn from the candidates, so many for each place given."""
        places = np.repeat(place, self.hard_draws)
        places = places[self.sizes[places] > 0]
        column = (self.generator.random(len(places)) * self.sizes[places]).astype(np.int64)
        return places, self.lists[places, column]

    def even(self, place: Int64s) -> tuple[Int64s, Int64s]:
        """Places and items drawn from all known items, likewise."""
        places = np.repeat(place, self.even_draws)
        items = np.full(len(places), NOTHING)
        missing = np.flatnonzero(self.free[places] > 0)
        for _ in range(REDRAWS):
            items[missing] = self.known[self.generator.integers(len(self.known), size=len(missing))]
            again = self.taken(self.users[places[missing]].astype(np.int32), items[missing].astype(np.int32))
            items[missing[again]] = NOTHING
            missing = missing[again]
        return places[items >= 0], items[items >= 0]

    def log_rate(self, places: Int64s, items: Int64s, positives: Int64s) -> Floats:
        """log r of n pairs, (n,) float32. positives: (b,) t of each user."""
        width = int(max(items.max(initial=0), self.lists.max(initial=0))) + 1
        keys = np.arange(len(self.lists))[:, None] * width + self.lists
        listed = np.isin(places * width + items, keys[self.lists >= 0])
        rate = positives[places] * self.even_draws / np.maximum(self.free[places], 1)
        rate = rate + listed * positives[places] * self.hard_draws / np.maximum(self.sizes[places], 1)
        return np.log(np.maximum(rate, 1e-12)).astype(np.float32)


def new_pairs(snapshot: Snapshot, targets: Interactions) -> tuple[Int64s, Int64s]:
    """Users and items of each new choice once, of users of whom something is known, in their order."""
    pairs = Chosen(targets)
    user, item = pairs.users(), pairs.items()
    new = ~snapshot.taken(user, item) & snapshot.known[user]
    return user[new].astype(np.int64), item[new].astype(np.int64)


def together(parts: list[Pairs]) -> Pairs | None:
    """The pairs of several snapshots; None if there are none."""
    if not parts:
        return None
    starts = np.cumsum([0, *(len(part.users) for part in parts)])
    user = np.concatenate([part.user + start for part, start in zip(parts, starts, strict=False)])
    rest = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("item", "scalars", "chosen", "log_rate")
    )
    return Pairs(np.concatenate([part.users for part in parts]), user, *rest)
