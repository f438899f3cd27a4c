"""A snapshot: what is known of users and items once some part of the log has happened, as the re-ranker reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.evaluation.metrics import blocks_of
from pipeline.evaluation.ranking import Best, InnerProduct, Scorer, best_of
from pipeline.indexing.searched import depth_of
from pipeline.interactions import Floats, Int32s, Int64s, Interactions, Mask
from pipeline.training.negatives import Chosen

if TYPE_CHECKING:
    import faiss
    import scipy.sparse as sp
else:
    faiss = Lazy("faiss")

CHUNK_PAIRS = 1024
BLOCK_USERS = 1024
NOTHING = -1
# Items of some users, (b, k) int64, best first, and the first stage's scores of them, (b, k) float32.
Lists = tuple[Int64s, Floats]
# By name, vectors of unit norm, (n_items, d) float32 with zero rows where missing, and (n_items,) bool, who has one.
Modalities = dict[str, tuple[Floats, Mask]]


class Catalogue:
    """The catalogue as the first stage and the re-ranker read it.

    vectors: (n_items, d) float32, the first stage's. modalities: see `Modalities`. served: (n_items,) bool, the items
    in the index.
    """

    def __init__(self, vectors: Floats, modalities: Modalities, served: Mask, index: faiss.Index | None = None) -> None:
        """index: of the served items in order; exact search, if none is given."""
        self.vectors = vectors
        self.modalities = modalities
        self.codes = np.flatnonzero(served)
        self.index = index

    @property
    def scalars(self) -> int:
        """How many numbers `Snapshot.scalars` gives a pair."""
        return 7 + len(self.modalities)


class Snapshot:
    """What is known of users and items once a history has happened.

    users: (n_users, d) float32, the first stage's vectors made of that history. taken: what is not recommended again,
    the history itself if None. counted: where the history is that of some users, the one of all, in which items are
    counted; the history itself if None. scorer: of the vectors' products, where lists by it are made already.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        users: Floats,
        history: Interactions,
        taken: Interactions | None = None,
        counted: Interactions | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.users = users
        self.history = history
        self.log = history if taken is None else taken
        self.taken = Chosen(self.log)
        self.scorer = scorer or InnerProduct(users, catalogue.vectors)
        self._chosen = history.pairs()
        counted = counted or history
        newest = counted.age_days.min(initial=np.inf)
        self._counts = _item_counts(counted, newest), _user_counts(history, newest)

    @cached_property
    def known(self) -> Mask:
        """Which users have both a history and a vector: (n_users,) bool."""
        return np.asarray((np.diff(self._chosen.indptr) > 0) & self.users.any(axis=1))

    def candidates(self, users: Int64s, count: int) -> Lists:
        """The best served items that each user does not have: (b, count) int64, best first, filled with -1.

        And the first stage's scores of them, (b, count) float32, of no meaning where there is no item.
        """
        lists = np.full((len(users), count), NOTHING), np.zeros((len(users), count), np.float32)
        index = self.catalogue.index
        if index is None:
            self._exact(users, lists)
        else:
            for at in range(0, len(users), BLOCK_USERS):
                rows = slice(at, at + BLOCK_USERS)
                self._block(index, users[rows], (lists[0][rows], lists[1][rows]))
        return lists

    @cached_property
    def _owned(self) -> sp.csr_matrix:
        """What is not recommended again."""
        return self._chosen if self.log is self.history else self.log.pairs()

    @cached_property
    def _ranked(self) -> Best:
        return best_of(self.scorer, self.catalogue.codes)

    def _exact(self, users: Int64s, lists: Lists) -> None:
        codes, owned = self.catalogue.codes, self._owned[users]
        row, place = np.repeat(np.arange(len(users)), np.diff(owned.indptr)), np.searchsorted(codes, owned.indices)
        served = codes[np.minimum(place, len(codes) - 1)] == owned.indices if len(codes) else np.zeros(0, bool)
        start, hidden = 0, (row[served], place[served])
        for block, items, scores in blocks_of(self._ranked, users.astype(np.int32), hidden, lists[0].shape[1]):
            own = slice(start, start := start + len(block)), slice(items.shape[1])
            lists[0][own], lists[1][own] = np.where(scores > -np.inf, items, NOTHING), scores

    def _block(self, index: faiss.Index, users: Int64s, lists: Lists) -> None:
        """Users of like history are searched together, to the power of two that holds the list and what they have."""
        depths = depth_of(lists[0].shape[1], self.taken.sizes(users))
        for depth in np.unique(depths):
            self._nearest(index, users, np.flatnonzero(depths == depth), int(depth), lists)
        if cells := getattr(index, "nlist", 0):
            # Those that were looked into may hold little that a user with a long history lacks.
            every = faiss.SearchParametersIVF(nprobe=cells)  # type: ignore[call-arg]
            for row in np.flatnonzero(lists[0][:, -1] == NOTHING):
                self._nearest(index, users, np.array([row]), int(depths[row]), lists, every)
        elif hasattr(index, "hnsw"):
            # A graph may end before it has found as many.
            short = np.flatnonzero(lists[0][:, -1] == NOTHING)
            whole = lists[0][short], lists[1][short]
            self._exact(users[short], whole)
            lists[0][short], lists[1][short] = whole

    def _nearest(
        self,
        index: faiss.Index,
        users: Int64s,
        rows: Int64s,
        depth: int,
        lists: Lists,
        how: faiss.SearchParameters | None = None,
    ) -> None:
        """Fills some rows of the lists, which are those of `users`."""
        vectors = np.ascontiguousarray(self.users[users[rows]])
        products, places = index.search(vectors, min(depth, index.ntotal), params=how)
        items = np.where(places < 0, NOTHING, self.catalogue.codes[places])
        hidden = _gone(self.taken, users[rows], items) | (items == NOTHING)
        if isinstance(index, faiss.IndexIVFScalarQuantizer):
            # Its products are of compressed vectors; a list's scores are to be those that explanations add up to.
            products = np.einsum("bd,bkd->bk", vectors, self.catalogue.vectors[np.maximum(items, 0)])
        order = np.argsort(np.where(hidden, np.inf, -products), axis=1, kind="stable")[:, : lists[0].shape[1]]
        own = rows, slice(order.shape[1])
        lists[0][own] = np.take_along_axis(np.where(hidden, NOTHING, items), order, axis=1)
        lists[1][own] = np.take_along_axis(products, order, axis=1)

    def scalars(self, users: Int64s, user: Int64s, items: Int64s, scores: Floats | None = None) -> Floats:
        """Numbers of n pairs, (n, `Catalogue.scalars`) float32. users: (m,) codes. user: (n,) rows of it. items: (n,).

        scores: the first stage's, (n,), where they are known: most of the time would go into making them again.

        They are the first stage's score; log of the item's popularity over the mean, days since it was first and last
        chosen, whether it never was; log of the user's choices, days since the last; and for each modality the cosine
        of the item's vector with the mean of the user's history, 0 where missing. Days are log(1 + days).
        """
        numbers = np.empty((len(items), self.catalogue.scalars), np.float32)
        modalities = [vectors for vectors, _ in self.catalogue.modalities.values()]
        history, of_items, of_users = self._chosen[users], *self._counts
        # Means of the history, or a user's vector, each beside the items' vectors that it is held against.
        sides = [(7 + place, _mean(history, part), part) for place, part in enumerate(modalities)]
        if scores is None:
            sides.append((0, self.users[users], self.catalogue.vectors))
        else:
            numbers[:, 0] = scores
        for at in range(0, len(items), CHUNK_PAIRS):
            rows = slice(at, at + CHUNK_PAIRS)
            own, code = user[rows], items[rows]
            for place, side, vectors in sides:
                numbers[rows, place] = np.einsum("nd,nd->n", side[own], vectors[code])
            numbers[rows, 1:5], numbers[rows, 5:7] = of_items[code], of_users[users[own]]
        return numbers


@dataclass(frozen=True)
class FirstStage:
    """What candidates come from. user_vectors: those of a history, (n_users, d) float32."""

    catalogue: Catalogue
    user_vectors: Callable[[Interactions], Floats]

    def after(self, history: Interactions, users: Int32s | None = None) -> Snapshot:
        """What it knows once a history has happened: of all users, or of some, by their codes, and of all items."""
        if users is None:
            return Snapshot(self.catalogue, self.user_vectors(history), history)
        known = np.zeros(history.n_users, bool)
        known[users] = True
        own = history.subset(known[history.user])
        return Snapshot(self.catalogue, self.user_vectors(own), own, counted=history)


def _mean(history: sp.csr_matrix, vectors: Floats) -> Floats:
    """The mean of what each user chose, (m, d) float32 of unit norm. history: (m, n_items)."""
    total = history @ vectors
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9), np.float32)


def without(taken: Chosen, users: Int64s, lists: Int64s) -> Int64s:
    """Lists of items, (b, k), less what each user has taken; what is left keeps its order, -1 at the end."""
    gone = _gone(taken, users, lists)
    order = np.argsort(gone, axis=1, kind="stable")
    return np.take_along_axis(np.where(gone, NOTHING, lists), order, axis=1)


def _gone(taken: Chosen, users: Int64s, lists: Int64s) -> Mask:
    owner = np.repeat(users, lists.shape[1]).astype(np.int32)
    return taken(owner, np.maximum(lists, 0).ravel().astype(np.int32)).reshape(lists.shape) | (lists < 0)


def _item_counts(history: Interactions, newest: float) -> Floats:
    """(n_items, 4) float32, see `Snapshot.scalars`. newest: the age that days are counted from."""
    age = history.age_days - newest
    first, last = np.zeros(history.n_items), np.full(history.n_items, np.inf)
    np.maximum.at(first, history.item, age)
    np.minimum.at(last, history.item, age)
    count = history.item_counts()
    last[count == 0] = 0
    popularity = np.log1p(count / max(count[count > 0].mean(), 1) if count.any() else count)
    return np.stack([popularity, np.log1p(first), np.log1p(last), count == 0], axis=1).astype(np.float32)


def _user_counts(history: Interactions, newest: float) -> Floats:
    """(n_users, 2) float32, likewise."""
    last = np.full(history.n_users, np.inf)
    np.minimum.at(last, history.user, history.age_days - newest)
    count = np.bincount(history.user, minlength=history.n_users)
    last[count == 0] = 0
    return np.stack([np.log1p(count), np.log1p(last)], axis=1).astype(np.float32)
