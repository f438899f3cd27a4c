"""The published index as a class: for users and histories, items, and words, pictures and clips, from many threads.

    index = Index.open("workspace")
    index.recommend("4711", k=10)                                   the user's one list
    index.recommend("4711", filter={"price": (None, 20)})           the first stage, within a filter
    index.recommend(history=["15", "22"])                           someone new
    index.similar("15")
    index.search(text="for a winter evening", user="4711")
    index.refresh()                                                 what was published since

Every file is verified by the sha256 of the folder's receipt before anything is read from it, once in a process.
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artefacts.published import Published, published
from pipeline.errors import MedleyError
from pipeline.interactions import Floats, Int64s
from pipeline.serving.answer import Answer, Batch
from pipeline.serving.opened import History, Opened, question
from pipeline.storage import local

if TYPE_CHECKING:
    from pipeline.recommend.sides import Split
    from pipeline.serving.filters import Filter

log = logging.getLogger("medley")
# The queries that a new index is warmed by, the last ones of each kind.
RECORDED, RECORDED_VECTORS = 64, 16


class Index:
    """The index that a workspace has published; `Index.open` makes one.

    Its methods may be called from many threads, also while `refresh` runs. They raise ConfigError, whose sentence
    begins with the name of the argument at fault, where a user, an item or an attribute is not in the index or a number
    is none; and ShardCorrupt, with the name of the file, where one is not what its receipt says. filter: conditions on
    the columns of `items.parquet`, see `pipeline.serving.filters`. Nothing but `search` by words, a picture or a clip
    imports an encoder.
    """

    def __init__(self, workspace: Path, opened: Opened) -> None:
        self._workspace, self._opened = workspace, opened
        self._queries: deque[tuple[str, dict[str, Any]]] = deque(maxlen=RECORDED)
        self._refreshing = Lock()

    @classmethod
    def open(cls, workspace: str | Path, once: bool = False) -> Index:
        """The index that is published now; its vectors are mapped into memory, and read as searches look into them.

        workspace: its folder, or `s3://bucket/prefix` and its like, of which what is read is kept on this machine.
        once: for one question alone: files are verified as it comes to them, tables in blocks, and nothing is prepared
        for others.
        Raises WorkspaceError if nothing is published, ShardCorrupt if a file is not what its receipt says.
        """
        folder = local(workspace)
        return cls(folder, Opened(published(folder, once), once))

    @property
    def digest(self) -> str:
        """The name of the index that answers."""
        return self._opened.digest

    @property
    def published(self) -> Published:
        """Its folder."""
        return self._opened.published

    def refresh(self) -> bool:
        """Goes over to the index that is published now, and says whether that is another one.

        It is opened, verified and warmed by the last queries before; meanwhile the old one answers, and goes on to
        where this raises, as `open` does. A query is answered by one of the two, never by parts of both.
        """
        with self._refreshing:
            newest = published(self._workspace)
            if newest.digest == self._opened.digest:
                return False
            opened = Opened(newest, once=False)
            for name, query in list(self._queries):
                try:
                    getattr(opened, name)(**query)
                except MedleyError as error:
                    log.info("a recorded query has no answer in index %s: %s", opened.digest, error)
            self._opened = opened
            return True

    def pinned(self) -> Index:
        """The index that answers now, whatever `refresh` does to this one; what it is asked warms the next one too."""
        return copy.copy(self)

    def recommend(
        self,
        user: str | None = None,
        history: History | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        filter: Filter | None = None,
    ) -> Answer:
        """The best k items for a user, or for someone who chose the items of a history, oldest first.

        A user is answered from their one list where it is long enough, which the answer's `source` says. Within a
        filter, for more than the list has, for a history, or with `exclude_seen` off, it is the first stage: inner
        products, without the re-ranker. history: item ids, or `Choice`s where weights and ages matter; all that the
        user chose. With both, it is the user whose choices by now are the history: their profile counts, if they have
        one, and what they had at night is left out too. A language model's users are made at night alone.
        """
        return self._asked("recommend", user=user, history=history, k=k, exclude_seen=exclude_seen, filter=filter)

    def similar(self, item: str, k: int = 10, filter: Filter | None = None) -> Answer:
        """The k items whose content is most like an item's, by the cosine of their fused vectors."""
        return self._asked("similar", item=item, k=k, filter=filter)

    def search(
        self,
        text: str | None = None,
        image: str | Path | bytes | None = None,
        audio: str | Path | bytes | None = None,
        item: str | None = None,
        user: str | None = None,
        history: History | None = None,
        weights: Mapping[str, float] | None = None,
        k: int = 10,
        filter: Filter | None = None,
    ) -> Answer:
        """The k items whose content is most like any mix of words, a picture, a clip and an item.

        With a user or a history, the best for the mix, 10 k and 200 at least, are put in order by both: cosine +
        weight · inner product, each in standard deviations among them; what they have is not left out. weights: by
        name (`text`, `image`, `audio`, `item`, `user`), from 0 on; 1 each, and `user` what the night chose. Where one
        of words, picture and clip is weighed, each has a direction of its own; else the fusion makes one of all of
        them. Raises MediaError if a file cannot be read.
        """
        media = {"image": image, "audio": audio}
        files = {name: Path(value) if isinstance(value, str) else value for name, value in media.items()}
        given = question(item=item, text=text, **files)
        return self._asked("search", given=given, person=(user, history), weights=weights, k=k, filter=filter)

    def split(self, item: str, history: History, user: str | None = None) -> tuple[float, list[tuple[str, str]], Split]:
        """An item's first-stage score for a history, the history's items as id and title, and what each of them adds.

        user: whose profile counts, where the model reads profiles. Raises ConfigError as `recommend` does.
        """
        return self._opened.split(item, history, user)

    def contents(self, rows: Int64s) -> Floats:
        """The fused vectors, (n, d) float32 of unit norm, of n rows that have content."""
        return self._opened.contents(rows)

    def users(self, users: Sequence[str]) -> tuple[Floats, list[Int64s]]:
        """The vectors of n users, (n, d) float32, not of unit norm, and the rows of what each has: n of (m,) int64."""
        return self._opened.users(users)

    def rows(self, items: Sequence[str]) -> Int64s:
        """The rows of n items in `items.parquet`: (n,) int64."""
        return np.array([self._opened.row_of(item) for item in items], np.int64)

    def title(self, item: str) -> str:
        """An item's title, empty where it has none."""
        return self._opened.items.named(self.rows([item]))[0][1]

    def nearest(
        self,
        vectors: Floats,
        k: int = 10,
        filter: Filter | None = None,
        exclude: Sequence[Int64s] | None = None,
        content: bool = False,
    ) -> Batch:
        """The best k items of n vectors at once. vectors: (n, d) float32, users', or of content, of unit norm.

        exclude: of each, rows that are no answer, as `users` gives them.
        """
        batch = self._opened.nearest(vectors, k, filter, exclude, content)
        few = None if exclude is None else list(exclude[:RECORDED_VECTORS])
        query = {"vectors": vectors[:RECORDED_VECTORS].copy(), "k": k, "filter": filter, "exclude": few}
        self._queries.append(("nearest", {**query, "content": content}))
        return batch

    def _asked(self, name: str, **query: Any) -> Answer:
        answer: Answer = getattr(self._opened, name)(**query)
        # Of uploads, the last ones would be gigabytes.
        if not any(isinstance(value, bytes) for value in query.get("given", {}).values()):
            self._queries.append((name, query))
        return answer
