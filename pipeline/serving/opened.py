"""One published index, opened: what it reads once, and what it answers. It never changes, and threads share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artefacts.published import CONTENT, ITEMS, LISTS, RECOMMEND, USERS, WITHOUT_LIST, Published
from pipeline.artefacts.vectors import matrix
from pipeline.errors import ConfigError, NotPublished
from pipeline.interactions import Floats, Int64s
from pipeline.serving.answer import CONTENT as OF_CONTENT
from pipeline.serving.answer import FIRST_STAGE, LIST, PERSONAL, Answer, Batch, Choice, Hit
from pipeline.serving.item_rows import ItemRows
from pipeline.serving.personal import USER_WEIGHT, candidates, mixed
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    from pipeline.indexing.searched import Passing, Searched
    from pipeline.recommend.sides import Split
    from pipeline.serving.encoded_query import QueryEncoders, Raw
    from pipeline.serving.filters import Filter, Filters
    from pipeline.serving.folded import FoldIn

History = Sequence[str | Choice]


class Opened:
    """See above; the methods that answer are described in `pipeline.serving.index`."""

    def __init__(self, published: Published, once: bool) -> None:
        """once: for one question, which reads and verifies no more than it takes; else all is verified now."""
        self.published, self._once = published, once
        self.digest = published.digest
        if not once:
            published.verify()
            # What is open stays readable where a sweep removes the folder.
            for name in (ITEMS, USERS, LISTS, WITHOUT_LIST):
                published.table(name)
            for part in ("items", "_card", "_recommended", "_content"):
                getattr(self, part)
            self._fold_in.prepare()

    def recommend(
        self, user: str | None, history: History | None, k: int, exclude_seen: bool, filter: Filter | None
    ) -> Answer:
        """See Index."""
        if user is None and history is None:
            raise ConfigError("user: ask for a user, or for a history, or for a user by a history")
        _check(k)
        query, note = _person(user, history), ""
        if user is not None and history is None and exclude_seen and not filter:
            hits = self.list_of(user)
            every = len(hits) < int(self._card.get("recommended", {}).get("k", 0))
            if k <= len(hits) or every:
                note = f"the list of {user} has {len(hits)} items, all that they do not have" if k > len(hits) else ""
                return Answer(self.digest, query, hits[:k], note, LIST)
            note = f"the list of {user} has {len(hits)} items; these are the first stage's, and not in the list's order"
        vector, seen = self.user_of(user, history)
        found = self._recommended.nearest(vector[None], k, self._passing(filter), [seen] if exclude_seen else None)
        return self._answer(query, FIRST_STAGE, k, (found[0][0], found[1][0]), note)

    def nearest(
        self, vectors: Floats, k: int, filter: Filter | None, exclude: Sequence[Int64s] | None, content: bool
    ) -> Batch:
        """See Index."""
        _check(k)
        index = self._content if content else self._recommended
        if vectors.ndim != 2 or vectors.shape[1] != index.width:
            raise ConfigError(f"vectors: of shape {vectors.shape}; give (n, {index.width})")
        if exclude is not None and len(exclude) != len(vectors):
            raise ConfigError(f"exclude: of {len(exclude)} vectors; give rows of each of {len(vectors)}")
        scores, rows = index.nearest(vectors, k, self._passing(filter), exclude)
        return Batch(self.digest, scores, rows, self.items.ids)

    def users(self, users: Sequence[str]) -> tuple[Floats, list[Int64s]]:
        """See Index."""
        table = self.published.table(USERS).of("user_id", users, ["user_id", "vector", "seen"])
        place = {user: row for row, user in enumerate(table["user_id"].to_pylist())}
        if missing := [user for user in users if user not in place]:
            raise self._unknown(missing[0])
        order = [place[user] for user in users]
        lists = table["seen"].combine_chunks()
        seen = np.split(self.items.rows(lists.flatten()), np.cumsum(lists.value_lengths().to_numpy())[:-1])
        return matrix(table["vector"])[np.array(order, np.int64)], [seen[row][seen[row] >= 0] for row in order]

    def similar(self, item: str, k: int, filter: Filter | None) -> Answer:
        """See Index."""
        _check(k)
        return self._by_content({"item": item}, self.content_of(item), k, self._passing(filter), self.row_of(item))

    def search(
        self,
        given: Mapping[str, Raw],
        person: tuple[str | None, History | None],
        weights: Mapping[str, float] | None,
        k: int,
        filter: Filter | None,
    ) -> Answer:
        """See Index. given: what is asked for, by name. person: a user, or a history, or neither."""
        _check(k)
        user, history = person
        raw = {name: value for name, value in given.items() if name != "item"}
        if not given:
            raise ConfigError("text: ask for any of an item, a text, an image and an audio")
        personal = user is not None or history is not None
        mix = _weights(weights, [*given, *(["user"] if personal else [])])
        query = {name: str(value) if not isinstance(value, bytes) else "bytes" for name, value in given.items()}
        vector = self._direction(given.get("item"), raw, mix)
        own = self.row_of(str(given["item"])) if "item" in given else None
        if not personal:
            return self._by_content(query, vector, k, self._passing(filter), own)
        query |= _person(user, history)
        taste, _ = self.user_of(user, history)
        taken = None if own is None else [np.array([own])]
        scores, rows = self._content.nearest(vector[None], candidates(k), self._passing(filter), taken)
        held = rows[0] >= 0
        cosines, codes = scores[0][held], rows[0][held]
        weight = mix.get("user", self._user_weight)
        both = mixed(cosines, self._recommended.products(taste, codes), weight)
        order = np.argsort(-both, kind="stable")[:k]
        return self._answer(query, PERSONAL, k, (both[order], codes[order]))

    def list_of(self, user: str) -> list[Hit]:
        """The user's one list. Raises ConfigError if they have none."""
        rows = self.published.lists([user])
        if not rows.num_rows:
            raise self._unknown(user)
        ids, scores = rows["item_id"].to_pylist(), rows["score"].to_pylist()
        named = self.items.named(self.items.rows(ids))
        return [Hit(item, score, title) for (item, title), score in zip(named, scores, strict=True)]

    def user_of(self, user: str | None, history: History | None) -> tuple[Floats, Int64s]:
        """The vector, (d,) float32, of a user or of a history, and the rows of what they have; see Index.recommend."""
        if history is None:
            vectors, seen = self.users([str(user)])
            return vectors[0], seen[0]
        vector, rows = self._fold_in.user(history, user)
        owned = self.published.users(["seen"], [] if user is None else [user])["seen"].combine_chunks().flatten()
        known = self.items.rows(owned)
        return vector, np.union1d(rows, known[known >= 0])

    def split(self, item: str, history: History, user: str | None) -> tuple[float, list[tuple[str, str]], Split]:
        """See Index."""
        vector = self._recommended.vector(self.row_of(item))
        score, rows, split = self._fold_in.split(vector, history, user)
        return score, self.items.named(rows), split

    def contents(self, rows: Int64s) -> Floats:
        """See Index."""
        return self._content.vectors(rows)

    def row_of(self, item: str) -> int:
        """Raises ConfigError if there is no such item."""
        row = int(self.items.rows([item])[0])
        if row < 0:
            raise NotPublished(f"item {item}: not in the published index")
        return row

    def content_of(self, item: str) -> Floats:
        """An item's fused vector, (d,) float32 of unit norm. Raises ConfigError if it has none."""
        row = self.row_of(item)
        if not self.published.table(ITEMS).at([row], ["has_content"])["has_content"][0].as_py():
            raise ConfigError(f"item {item}: it has no content to be compared by")
        return self._content.vector(row)

    def _direction(self, item: object, raw: Mapping[str, Raw], mix: Mapping[str, float]) -> Floats:
        """The query's place in the fused space: all that is given together, or each by its weight."""
        sides = [] if item is None else [mix.get("item", 1) * self.content_of(str(item))]
        if raw and not set(raw) & set(mix):
            sides.append(self._encoders.fused(raw))
        else:
            sides += [mix.get(name, 1) * self._encoders.fused({name: value}) for name, value in raw.items()]
        vector = np.sum(sides, axis=0)
        norm = float(np.linalg.norm(vector))
        return np.asarray(vector / norm if norm else vector, np.float32)

    def _by_content(
        self, query: dict[str, str], vector: Floats, k: int, passing: Passing | None, own: int | None
    ) -> Answer:
        taken = None if own is None else [np.array([own])]
        scores, rows = self._content.nearest(vector[None], k, passing, taken)
        return self._answer(query, OF_CONTENT, k, (scores[0], rows[0]))

    def _answer(
        self, query: dict[str, str], source: str, k: int, found: tuple[Floats, Int64s], note: str = ""
    ) -> Answer:
        held = found[1] >= 0
        scores, rows = found[0][held], found[1][held]
        named = self.items.named(rows)
        hits = [Hit(item, score, title) for (item, title), score in zip(named, scores.tolist(), strict=True)]
        if len(hits) < k and source == FIRST_STAGE:
            note = f"no more than {len(hits)} items can be answers"
        return Answer(self.digest, query, hits, note, source)

    def _passing(self, filter: Filter | None) -> Passing | None:
        return self._filters.passing(filter) if filter else None

    def _unknown(self, user: str) -> NotPublished:
        reason = self.published.without_list(user)
        why = "not in the published index" if reason is None else f"no recommendations, because of this user: {reason}"
        return NotPublished(f"user {user}: {why}")

    @cached_property
    def items(self) -> ItemRows:
        """All items' ids and titles."""
        return ItemRows(self.published.table(ITEMS), self._once)

    @cached_property
    def _card(self) -> Json:
        return self.published.card

    @property
    def _user_weight(self) -> float:
        """In a personal search, beside the query's 1; an index of an earlier version does not say."""
        return float(self._card.get("personal", {}).get("user", USER_WEIGHT))

    @cached_property
    def _recommended(self) -> Searched:
        return self._searched(RECOMMEND)

    @cached_property
    def _content(self) -> Searched:
        return self._searched(CONTENT)

    def _searched(self, name: str) -> Searched:
        from pipeline.indexing.searched import Searched

        return Searched(lambda: self.published.faiss(name))

    @cached_property
    def _filters(self) -> Filters:
        from pipeline.serving.filters import Filters

        return Filters(self.published.table(ITEMS))

    @cached_property
    def _encoders(self) -> QueryEncoders:
        from pipeline.serving.encoded_query import QueryEncoders

        return QueryEncoders(self.published)

    @cached_property
    def _fold_in(self) -> FoldIn:
        from pipeline.serving.folded import FoldIn

        return FoldIn(self.published, self._card, self.items)


def _check(k: int) -> None:
    if k < 1:
        raise ConfigError(f"k: {k} is no number of answers; give 1 or more")


def _person(user: str | None, history: History | None) -> dict[str, str]:
    """Who is asked for, as an answer's query names them."""
    named = {} if user is None else {"user": user}
    if history is not None:
        named["history"] = " ".join(choice if isinstance(choice, str) else choice.item_id for choice in history)
    return named


def _weights(weights: Mapping[str, float] | None, given: Sequence[str]) -> dict[str, float]:
    """Raises ConfigError if one is of something that is not asked for, or is no weight, or none of the query's is."""
    mix = dict(weights or {})
    if strange := sorted(set(mix) - set(given)):
        raise ConfigError(f"weights: {', '.join(strange)} is not asked for; what is, is {', '.join(given)}")
    if wrong := [name for name, weight in mix.items() if not 0 <= weight < np.inf]:
        raise ConfigError(f"weights: {wrong[0]} must be a number from 0 on")
    if not any(mix.get(name, 1) for name in given if name != "user"):
        raise ConfigError("weights: of item, text, image and audio, give one that is asked for a weight above 0")
    return mix


def question(**given: Any) -> dict[str, Any]:
    """Those arguments that are given."""
    return {name: value for name, value in given.items() if value is not None}
