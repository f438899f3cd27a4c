"""What the published index is asked with, and what it answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.interactions import Floats, Int64s
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    import pyarrow as pa

# Where an answer's scores are from.
LIST, FIRST_STAGE, CONTENT, PERSONAL = "list", "first stage", "content", "content and first stage"


class Choice(NamedTuple):
    """An item of a history. weight: as in the log, above 0. age_days: before the newest choice of the history.

    Choices of one age were made at one moment, in no order.
    """

    item_id: str
    weight: float = 1.0
    age_days: float = 0.0


@dataclass(frozen=True)
class Hit:
    """One item of an answer; what its score is, the answer's `source` says."""

    item_id: str
    score: float
    title: str


@dataclass(frozen=True)
class Answer:
    """The hits, best first, and the digest of the index that gave them.

    note: why they are fewer than asked for, or not those of the user's list. source: what the scores are of:

    - `list`: the user's one list, whose card says of what;
    - `first stage`: inner products of the user's vector and the items', which the list is made from;
    - `content`: cosines of what was asked for and the items' content;
    - `content and first stage`: sums of the two, each in standard deviations among the candidates, weighed.
    """

    index: str
    query: dict[str, str]
    hits: list[Hit] = field(default_factory=list)
    note: str = ""
    source: str = ""

    def as_json(self) -> Json:
        """The document of `medley lookup --json`."""
        return {name: value for name, value in asdict(self).items() if value or name not in ("note", "source")}


@dataclass(frozen=True)
class Batch:
    """The answers to n vectors, best first, from the index of that digest.

    scores: (n, k) float32 inner products. rows: (n, k) int64 of `items.parquet`, -1 where there are fewer items, whose
    score then means nothing. ids: of all items, by row.
    """

    index: str
    scores: Floats
    rows: Int64s
    ids: pa.Array

    def item_ids(self) -> list[list[str]]:
        """Each vector's items by id, n lists of k at most."""
        import pyarrow as pa

        held = self.rows >= 0
        names = self.ids.take(pa.array(self.rows[held])).to_pylist()
        ends = np.cumsum(held.sum(axis=1)).tolist()
        return [names[start:end] for start, end in zip([0, *ends], ends, strict=False)]
