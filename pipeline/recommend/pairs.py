"""Pairs of a user and an item, as they are known at a moment: what a re-ranker reads, and what it learns from.

The log is cut into rounds, by time, and by chance where time does not tell. In each round, users are made of all that
came before it, and what they chose in it are the positives: neither a user's vector nor any count has seen them.
Beside each positive, negatives are drawn, some from the user's candidates and some from all items. A pair x of a user
with t positives is expected to be drawn

    r(x) = t · hard / |candidates| · [x is one]  +  t · even / |other items|

times. Whoever learns that a drawn pair is a positive with the logit f(x) - log r(x) learns f, the logit among all
pairs, drawn or not (the correction of sampled softmax, Bengio and Senécal 2008, for two classes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import faiss
import numpy as np

from pipeline.config.ranker import Ranker as Settings
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.recommend.contract import Rows
from pipeline.recommend.propagation import pairs
from pipeline.recommend.triples import Chosen

CHUNK_PAIRS = 8192
BLOCK_USERS = 1024
REDRAWS = 32
NOTHING = -1
UserVectors = Callable[[Interactions], Floats]


class Items:
    """The catalogue as the first stage and the re-ranker read it.

    vectors: (n_items, d) float32, the first stage's. modalities: of each (n_items, d_m) float32 of unit norm, zero rows
    where missing, and (n_items,) bool, whether an item has it. served: (n_items,) bool, the items in the index.
    """

    def __init__(
        self,
        vectors: Floats,
        modalities: dict[str, tuple[Floats, Mask]],
        served: Mask,
        index: faiss.Index | None = None,
    ) -> None:
        """index: of the served items in order; exact search, if none is given."""
        self.vectors = vectors
        self.modalities = modalities
        self.codes = np.flatnonzero(served)
        if index is None:
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors[served]))
        self.index = index

    @property
    def scalars(self) -> int:
        """How many numbers `Moment.scalars` gives a pair."""
        return 7 + len(self.modalities)


class Moment:
    """What is known of users and items once a history has happened.

    users: (n_users, d) float32, the first stage's vectors made of that history. taken: what is not recommended again,
    the history itself if None.
    """

    def __init__(self, items: Items, users: Floats, history: Interactions, taken: Interactions | None = None) -> None:
        self.items = items
        self.users = users
        self.history = history
        self.log = history if taken is None else taken
        self.taken = Chosen(self.log)
        self._chosen = pairs(history)
        self._counts = _item_counts(history), _user_counts(history)

    def known_users(self) -> Rows:
        """The users that have both a history and a vector."""
        return np.flatnonzero((np.diff(self._chosen.indptr) > 0) & self.users.any(axis=1))

    def candidates(self, users: Rows, count: int) -> Rows:
        """The best items of the index that each user does not have: (b, count) int64, best first, filled with -1."""
        blocks = [self._block(users[at : at + BLOCK_USERS], count) for at in range(0, len(users), BLOCK_USERS)]
        return np.concatenate([np.zeros((0, count), np.int64), *blocks])

    def _block(self, users: Rows, count: int) -> Rows:
        most = max((len(self.taken.of(int(user))) for user in users), default=0)
        depth = min(count + most, self.items.index.ntotal)
        _, rows = self.items.index.search(np.ascontiguousarray(self.users[users]), depth)
        found = np.where(rows < 0, NOTHING, self.items.codes[rows])
        best = without(self.taken, users, found)[:, :count]
        return np.pad(best, ((0, 0), (0, count - best.shape[1])), constant_values=NOTHING)

    def scalars(self, users: Rows, items: Rows) -> Floats:
        """Numbers of n pairs, (n, `Items.scalars`) float32:

        the first stage's score; log of the item's popularity over the mean, days since it was first and last chosen,
        whether it never was; log of the user's choices, days since the last; and for each modality the cosine of the
        item's vector with the mean of the user's history, 0 where missing. Days are log(1 + days).
        """
        chunks = [
            self._chunk(users[at : at + CHUNK_PAIRS], items[at : at + CHUNK_PAIRS])
            for at in range(0, len(users), CHUNK_PAIRS)
        ]
        return np.concatenate([np.zeros((0, self.items.scalars), np.float32), *chunks])

    def _chunk(self, users: Rows, items: Rows) -> Floats:
        score = np.einsum("nd,nd->n", self.users[users], self.items.vectors[items])
        columns = [score[:, None], self._counts[0][items], self._counts[1][users]]
        distinct, place = np.unique(users, return_inverse=True)
        for vectors, _ in self.items.modalities.values():
            mean = self._chosen[distinct] @ vectors
            norm = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
            columns.append(np.einsum("nd,nd->n", (mean / norm)[place], vectors[items])[:, None])
        return np.concatenate(columns, axis=1).astype(np.float32)


def without(taken: Chosen, users: Rows, lists: Rows) -> Rows:
    """Lists of items, (b, k), less what each user has taken; what is left keeps its order, -1 at the end."""
    owner = np.repeat(users, lists.shape[1]).astype(np.int32)
    gone = taken(owner, np.maximum(lists, 0).ravel().astype(np.int32)).reshape(lists.shape) | (lists < 0)
    order = np.argsort(gone, axis=1, kind="stable")
    return np.take_along_axis(np.where(gone, NOTHING, lists), order, axis=1)


@dataclass(frozen=True)
class Pairs:
    """n pairs. users: (m, d) float32 vectors, a row for each user of each round.

    user: (n,) row of `users`. item: (n,) codes. scalars: (n, s) float32. chosen: (n,) bool. log_rate: (n,) float32,
    log r, see above.
    """

    users: Floats
    user: Rows
    item: Rows
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


def learned_from(
    items: Items, user_vectors: UserVectors, log: Interactions, settings: Settings, seed: int
) -> Pairs | None:
    """The pairs of every round; None if nobody chose anything new in any. user_vectors: those of a history."""
    generator = np.random.default_rng([seed, 6])
    known = log.item_counts() > 0
    found = [
        drawn(Moment(items, user_vectors(history), history), targets, known, settings, generator)
        for history, targets in rounds(log, settings, seed)
        if len(history) and len(targets)
    ]
    return _together([one for one in found if len(one)])


def drawn(
    moment: Moment, targets: Interactions, known: Mask, settings: Settings, generator: np.random.Generator
) -> Pairs:
    """Positives and negatives of one moment; see above.

    known: (n_items,) bool, the items that are drawn: that nobody chose a new one yet says nothing of it.
    """
    most = max(1, settings.max_pairs // (settings.rounds * (1 + settings.negatives)))
    user, item = _positives(moment, targets, known)
    kept = np.sort(generator.permutation(len(user))[:most])
    users, place, positives = np.unique(user[kept], return_inverse=True, return_counts=True)
    taken = moment.log.concat(targets)
    draw = _Draw(moment, users, taken, known, settings, generator)
    hard, even = draw.hard(place), draw.even(place)
    places = np.concatenate([place, hard[0], even[0]])
    items = np.concatenate([item[kept], hard[1], even[1]])
    return Pairs(
        moment.users[users],
        places,
        items,
        moment.scalars(users[places], items),
        np.arange(len(items)) < len(kept),
        draw.log_rate(places, items, positives),
    )


class _Draw:
    """Negatives for some users, given by their place, from lists and from all known items that they did not take."""

    def __init__(
        self,
        moment: Moment,
        users: Rows,
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
        lists = moment.candidates(users, settings.candidates)
        self.lists = without(self.taken, users, np.where(known[lists], lists, NOTHING))
        self.sizes = (self.lists >= 0).sum(axis=1)
        self.free = len(self.known) - np.asarray(pairs(taken)[users] @ known.astype(np.float32)).ravel()

    def hard(self, place: Rows) -> tuple[Rows, Rows]:
        """Places and items drawn from the candidates, so many for each place given."""
        places = np.repeat(place, self.hard_draws)
        places = places[self.sizes[places] > 0]
        column = (self.generator.random(len(places)) * self.sizes[places]).astype(np.int64)
        return places, self.lists[places, column]

    def even(self, place: Rows) -> tuple[Rows, Rows]:
        """Places and items drawn from all known items, likewise."""
        places = np.repeat(place, self.even_draws)
        items = np.full(len(places), NOTHING)
        left = np.flatnonzero(self.free[places] > 0)
        for _ in range(REDRAWS):
            items[left] = self.known[self.generator.integers(len(self.known), size=len(left))]
            again = self.taken(self.users[places[left]].astype(np.int32), items[left].astype(np.int32))
            items[left[again]] = NOTHING
            left = left[again]
        return places[items >= 0], items[items >= 0]

    def log_rate(self, places: Rows, items: Rows, positives: Rows) -> Floats:
        """log r of n pairs, (n,) float32. positives: (b,) t of each user."""
        width = int(max(items.max(initial=0), self.lists.max(initial=0))) + 1
        keys = np.arange(len(self.lists))[:, None] * width + self.lists
        listed = np.isin(places * width + items, keys[self.lists >= 0])
        rate = positives[places] * self.even_draws / np.maximum(self.free[places], 1)
        rate = rate + listed * positives[places] * self.hard_draws / np.maximum(self.sizes[places], 1)
        return np.log(np.maximum(rate, 1e-12)).astype(np.float32)


def _positives(moment: Moment, targets: Interactions, known: Mask) -> tuple[Rows, Rows]:
    """Each new choice once, of users of whom something is known."""
    matrix = pairs(targets)
    user, item = np.repeat(np.arange(targets.n_users), np.diff(matrix.indptr)), matrix.indices.astype(np.int64)
    fresh = ~moment.taken(user.astype(np.int32), item.astype(np.int32)) & known[item]
    kept = fresh & np.isin(user, moment.known_users())
    return user[kept], item[kept]


def _together(found: list[Pairs]) -> Pairs | None:
    if not found:
        return None
    starts = np.cumsum([0, *(len(one.users) for one in found)])
    user = np.concatenate([one.user + start for one, start in zip(found, starts, strict=False)])
    rest = (np.concatenate([getattr(one, name) for one in found]) for name in ("item", "scalars", "chosen", "log_rate"))
    return Pairs(np.concatenate([one.users for one in found]), user, *rest)


def _item_counts(history: Interactions) -> Floats:
    """(n_items, 4) float32, see `Moment.scalars`; days before the newest choice of the history."""
    now = history.age_days.min(initial=np.inf)
    age = history.age_days - now
    first, last = np.zeros(history.n_items), np.full(history.n_items, np.inf)
    np.maximum.at(first, history.item, age)
    np.minimum.at(last, history.item, age)
    count = history.item_counts()
    last[count == 0] = 0
    popularity = np.log1p(count / max(count[count > 0].mean(), 1) if count.any() else count)
    return np.stack([popularity, np.log1p(first), np.log1p(last), count == 0], axis=1).astype(np.float32)


def _user_counts(history: Interactions) -> Floats:
    """(n_users, 2) float32, likewise."""
    last = np.full(history.n_users, np.inf)
    np.minimum.at(last, history.user, history.age_days - history.age_days.min(initial=np.inf))
    count = np.bincount(history.user, minlength=history.n_users)
    last[count == 0] = 0
    return np.stack([np.log1p(count), np.log1p(last)], axis=1).astype(np.float32)
