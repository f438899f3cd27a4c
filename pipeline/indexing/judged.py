"""What an index gives: recall of users' best items, latency and size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.config import Index
from pipeline.config.kinds import Lazy
from pipeline.evaluation.significance import interval
from pipeline.indexing.clusters import Bits, Indexed
from pipeline.indexing.exact import Queries, best_places, recalls
from pipeline.indexing.searched import Searched
from pipeline.interactions import Int64s
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

DEPTH, DEEP = 10, 100
# Of a user's best hundred, from which the re-ranker and longer lists draw.
DEEP_RECALL = 0.95
# That a number takes which a query reads, by one thread from memory: .25 to .5 were measured. A constant, and no
# measurement of each machine: the same vectors are to give the same index everywhere.
NANOSECONDS_A_NUMBER = 0.5
SINGLE_QUERIES, SAMPLES = 300, 1000


@dataclass(frozen=True)
class Targets:
    """What an index must hold to."""

    settings: Index
    seed: int = 0

    def ms(self, numbers: float) -> float:
        """What it takes to read so many numbers."""
        return float(f"{numbers * NANOSECONDS_A_NUMBER / 1e6:.4g}")


@dataclass(frozen=True)
class Design:
    """An index as it is built, and what that makes it cost.

    kind: exact, cells, or graph. ranked_by: what tells which cells to look into, `longest` or `users`. bits: of a
    number. numbers: that a query reads, the 99th percentile. seconds: that building took. probes: how many cells are
    looked into, or candidates of a graph kept. curve: milliseconds, counted as `counted_ms` is, and recall@10, as these
    grow.
    """

    kind: str
    bits: Bits
    numbers: int
    bytes_a_vector: float
    seconds: float
    ranked_by: str = ""
    cells: int = 0
    probes: int = 0
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Tried:
    """An index that was built, and what it gave.

    recall: at 10 and at 100, `mean`, `low` and `high` (95 %, bootstrap over users). counted_ms: what its numbers take,
    by which an index is chosen. latency_ms: of single queries by one thread, `p50`, `p95` and `p99`.
    queries_per_second: of all at once, by all threads.
    """

    design: Design
    recall: dict[str, dict[str, float]]
    counted_ms: float
    latency_ms: dict[str, float]
    queries_per_second: int
    chosen: bool = False

    def written(self) -> Json:
        """As `card.json` has it: the design's fields among the others."""
        fields = asdict(self)
        return fields.pop("design") | fields


class Judge:
    """Holds what an index answers against exact search. items: what is in it.

    places, scores: (q, DEEP), of each query's best items, see `best_places`.
    """

    def __init__(self, items: Indexed, queries: Queries, targets: Targets) -> None:
        self.items, self.queries, self.targets = items, queries, targets
        self.places, self.scores = best_places(items, queries, DEEP)

    def judged(self, index: faiss.Index, design: Design) -> Tried:
        """What it gives, by the path that consumers take: without what each query's user has."""
        searched = Searched(lambda: index)
        depths = [depth for depth in (DEPTH, DEEP) if len(self.queries)]
        recall = {str(depth): self._recall(searched, depth) for depth in depths}
        if not recall:
            # Without anyone who asks, exact search is right all the same.
            right = dict.fromkeys(("mean", "low", "high"), float(design.kind == "exact"))
            recall = {str(DEPTH): right, str(DEEP): right}
        return Tried(design, recall, self.targets.ms(design.numbers), self._latency(searched), self._rate(searched))

    def _recall(self, searched: Searched, depth: int) -> dict[str, float]:
        values = self.recalls(searched, depth)
        low, high = interval(values[:, None], SAMPLES, self.targets.seed)[:, 0]
        return {name: round(float(value), 5) for name, value in (("mean", values.mean()), ("low", low), ("high", high))}

    def recalls(self, searched: Searched, depth: int) -> npt.NDArray[np.float64]:
        """Of each query, (q,)."""
        answers = self.items.places_of(self.answers(searched, self.queries, depth))
        return recalls(self.items, self.queries, self.scores[:, :depth], answers)

    def answers(self, searched: Searched, queries: Queries, depth: int) -> Int64s:
        """Labels, (q, depth), -1 where there are fewer."""
        taken = [self.items.labels_of(own) for own in queries.taken]
        return searched.nearest(queries.vectors, depth, taken=taken)[1]

    def _latency(self, searched: Searched) -> dict[str, float]:
        times = []
        with one_thread():
            for row in range(min(len(self.queries), SINGLE_QUERIES)):
                query = self.queries.part(slice(row, row + 1))
                begin = time.perf_counter()
                self.answers(searched, query, DEPTH)
                times.append(1000 * (time.perf_counter() - begin))
        names = ("p50", "p95", "p99")
        return dict(zip(names, np.percentile(times or [0.0], (50, 95, 99)).round(4).tolist(), strict=True))

    def _rate(self, searched: Searched) -> int:
        begin = time.perf_counter()
        self.answers(searched, self.queries, DEPTH)
        return round(len(self.queries) / (time.perf_counter() - begin))


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS searches by one thread meanwhile."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
