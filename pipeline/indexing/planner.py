"""Which FAISS index is built: the smallest that finds what exact search finds, for users, in the time given.

- exact search, where it meets the targets: nothing that keeps vectors whole is smaller, and nothing else is tried;
- else cells, see `pipeline.indexing.clusters`. Which of them are looked into is told by each cell's longest vector, or
  by what users taught (`pipeline.indexing.routing`); as many are as `min_recall` of users' best items takes;
- a graph, see `pipeline.indexing.graph`, where cells take longer than `max_latency_ms`;
- whole numbers where `memory_bytes` allows, so that scores are the vectors' own, else 16 or 8 bits of each.

Recall is that of users of whom nothing was learned or tuned, without what each has, against a plain product with every
item. Time is counted in numbers read; latency is measured too, and decides nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Index as Settings
from pipeline.config.kinds import Lazy
from pipeline.errors import StepFailed
from pipeline.indexing.clusters import BITS, Bits, Clusters, Indexed, clustered, exact_bytes, exact_index
from pipeline.indexing.exact import NOTHING, Queries
from pipeline.indexing.graph import fits, write_graph
from pipeline.indexing.inverted_file import InvertedFile
from pipeline.indexing.judged import DEEP, DEEP_RECALL, DEPTH, Design, Judge, Targets, Tried
from pipeline.indexing.routing import learned
from pipeline.indexing.searched import Searched
from pipeline.interactions import Floats, Int64s

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

log = logging.getLogger("medley")
# Users that cells learn from, at most; fewer than these teach nothing. How much of their best is found for that.
LEARNERS, FEWEST_LEARNERS, LESSON_RECALL = 10_000, 500, 0.95
# Queries too few to be parted into those that tune and those that judge.
FEW = 20
# Of compressed vectors: how many more cells are tried where recall is short.
MORE = 1.25
CURVE_POINTS = 24
MEDIAN = 50


def compares_all(rows: int, width: int, labelled: bool, targets: Targets) -> bool:
    """Whether exact search meets the targets. labelled: whether a search returns other than places."""
    small = exact_bytes(rows, width, labelled) <= targets.settings.memory_bytes
    return small and targets.ms(rows * width) <= targets.settings.max_latency_ms


def planned(
    items: Indexed,
    queries: Queries,
    learners: Queries,
    targets: Targets,
    path: Path,
    clusters: Callable[[Indexed], Clusters] = clustered,
) -> tuple[faiss.Index, list[Tried]]:
    """Writes the index; returns it, and all that was tried for it, of which one is `chosen`.

    queries: one half tunes, the other judges. learners: others, of whom cells learn. path: of the file, in which cells
    are searched. clusters: gives the cells of the items, where they are parted. Raises StepFailed if no kind is as
    small as `memory_bytes`.
    """
    half = len(queries) // 2 if len(queries) >= FEW else 0
    judge, settings = Judge(items, queries.part(slice(half, None)), targets), targets.settings
    rows, labelled = len(items.rows), items.labels is not None
    if compares_all(rows, items.width, labelled, targets):
        begin = time.perf_counter()
        index, size = exact_index(items), exact_bytes(rows, items.width, labelled) / max(rows, 1)
        design = Design("exact", 32, rows * items.width, size, round(time.perf_counter() - begin, 2))
        faiss.write_index(index, str(path))
        return index, [replace(judge.judged(index, design), chosen=True)]
    tuner = Judge(items, queries.part(slice(half or None)), targets)
    tried = _Cells(tuner, learners, judge, clusters).tried(path)
    slow = first(tried, settings).tried.counted_ms > settings.max_latency_ms
    if slow and len(tuner.queries) and fits(items, settings.memory_bytes):
        beside = path.with_suffix(".graph")
        index, design = write_graph(tuner, beside)
        tried.append(Candidate(judge.judged(index, design), index, beside))
    best = first(tried, settings)
    best.settle()
    for other in {one.path for one in tried} - {best.path}:
        other.unlink()
    best.path.replace(path)
    _warn(best.tried, settings)
    return best.index, [replace(one.tried, chosen=one is best) for one in tried]


@dataclass(frozen=True)
class Candidate:
    """An index that was tried, and its file. settle: makes both what was tried, where the file has had other uses."""

    tried: Tried
    index: faiss.Index
    path: Path
    settle: Callable[[], None] = lambda: None


def first(candidates: Sequence[Candidate], settings: Settings) -> Candidate:
    """The best: recall before time, then size, then work; of those that are too slow, the least slow."""

    def order(tried: Tried) -> tuple[bool, float, float, int]:
        reached = tried.recall[str(DEPTH)]["high"] >= settings.min_recall
        slow = tried.counted_ms if tried.counted_ms > settings.max_latency_ms else 0.0
        return not reached, slow, tried.design.bytes_a_vector, tried.design.numbers

    return min(candidates, key=lambda one: order(one.tried))


def _warn(tried: Tried, settings: Settings) -> None:
    if tried.counted_ms > settings.max_latency_ms:
        log.warning(
            "index: a query reads %d numbers, %.3g ms of work, and index.max_latency_ms is %g: raise it, or lower "
            "index.min_recall (%g)",
            tried.design.numbers,
            tried.counted_ms,
            settings.max_latency_ms,
            settings.min_recall,
        )


@dataclass(frozen=True)
class Sweep:
    """What every number of cells looked into would give some queries, if vectors are whole.

    ranks: (q, DEEP) int64, at which place the cells of a query's best items come; -1 where there are fewer. read:
    (q, cells) int64, how many items are in a query's first cells together.
    """

    ranks: Int64s
    read: Int64s

    def enough(self, recall: float) -> int:
        """The fewest that give so much recall@10, and DEEP_RECALL at 100."""
        return max(self.probes(recall, DEPTH), self.probes(min(recall, DEEP_RECALL), DEEP))

    def probes(self, recall: float, depth: int) -> int:
        """The fewest that give so much recall."""
        ranks = np.sort(self._ranks(depth))
        return int(ranks[max(int(np.ceil(recall * len(ranks))) - 1, 0)]) + 1 if len(ranks) else 1

    def recall(self, probes: int) -> float:
        """recall@10 of so many."""
        ranks = self._ranks(DEPTH)
        return float((ranks < probes).mean()) if len(ranks) else 1.0

    def _ranks(self, depth: int) -> Int64s:
        ranks = self.ranks[:, :depth]
        return ranks[ranks >= 0]

    def items(self, probes: int, percentile: float = 99) -> float:
        """How many items that looks at."""
        return float(np.percentile(self.read[:, probes - 1], percentile)) if len(self.read) else 0.0


class _Cells:
    """Cells of one clustering, in the ways that fit."""

    def __init__(self, tuner: Judge, learners: Queries, judge: Judge, clusters: Callable[[Indexed], Clusters]) -> None:
        """tuner: the queries that tune. learners: those of whom cells learn. judge: the others, which judge."""
        self.items, self.tuner, self.learners, self.judge = judge.items, tuner, learners, judge
        self.targets, self.settings = judge.targets, judge.targets.settings
        begin = time.perf_counter()
        self.clusters = clusters(self.items)
        self.seconds = self.clusters.seconds + time.perf_counter() - begin

    def tried(self, path: Path) -> list[Candidate]:
        """All that were tried, in files beside `path`."""
        tried = []
        rankings = {"longest": self.clusters.longest}
        for bits in self._fitting():
            begin = time.perf_counter()
            written = self.clusters.write(self.clusters.longest, bits, path.with_suffix(f".{bits}"))
            seconds = self.seconds + time.perf_counter() - begin
            if "users" not in rankings and len(self.learners) >= FEWEST_LEARNERS:
                begin = time.perf_counter()
                rankings["users"] = self._taught(written.index)
                seconds += time.perf_counter() - begin
            for ranked_by, representatives in rankings.items():
                design = self._tuned(written.index, representatives, bits)
                design = replace(design, ranked_by=ranked_by, seconds=round(seconds, 2))
                judged = self.judge.judged(written.index, design)
                settle = partial(_settle, written, representatives, design.probes)
                tried.append(Candidate(judged, written.index, written.path, settle))
        return tried

    def _fitting(self) -> list[Bits]:
        """Whole numbers, or else those bits that fit."""
        sizes = {bits: self.clusters.bytes(bits) for bits in BITS}
        fitting = [bits for bits, size in sizes.items() if size <= self.settings.memory_bytes]
        if not fitting:
            raise StepFailed(
                f"{len(self.items.rows)} items of {self.items.width} numbers take {min(sizes.values())} bytes at 8 bits"
                f" a number, and index.memory_bytes is {self.settings.memory_bytes}: raise it, or use narrower vectors"
            )
        return fitting[:1] if fitting[0] == 32 else fitting

    def _taught(self, index: faiss.IndexIVF) -> Floats:
        """Representatives by what the learners' best items say."""
        ask(index, self.clusters.longest, self.sweep(self.clusters.longest).probes(LESSON_RECALL, DEEP))
        labels = self.judge.answers(Searched(lambda: index), self.learners, DEEP)
        whole = (labels != NOTHING).all(axis=1)
        cells = self.clusters.cell[self.items.places_of(labels[whole])]

        def cost(representatives: Floats) -> float:
            sweep = self.sweep(representatives)
            return sweep.items(sweep.enough(self.settings.min_recall), MEDIAN)

        return learned(self.clusters.longest, self.learners.vectors[whole], cells, cost, self.targets.seed)

    def sweep(self, representatives: Floats) -> Sweep:
        """Of the queries that tune."""
        order = np.argsort(-(self.tuner.queries.vectors @ representatives.T), axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
        ranks = np.take_along_axis(rank, self.clusters.cell[np.maximum(self.tuner.places, 0)], axis=1)
        return Sweep(np.where(self.tuner.places >= 0, ranks, NOTHING), np.cumsum(self.clusters.sizes[order], axis=1))

    def _tuned(self, index: faiss.IndexIVF, representatives: Floats, bits: Bits) -> Design:
        """Makes the index look into as many cells as the recall takes."""
        sweep, count = self.sweep(representatives), len(representatives)
        probes = sweep.enough(self.settings.min_recall)
        ask(index, representatives, probes)
        while bits < 32 and probes < count and self._recall(index) < self.settings.min_recall:
            probes = min(count, int(np.ceil(MORE * probes)))
            index.nprobe = probes
        numbers = partial(self._numbers, sweep)
        points = np.unique(np.geomspace(1, count, CURVE_POINTS).astype(int)).tolist()
        curve = tuple((self.targets.ms(numbers(point)), round(sweep.recall(point), 5)) for point in points)
        size = self.clusters.bytes(bits) / len(self.items.rows)
        return Design("cells", bits, numbers(probes), size, 0.0, "", count, probes, curve if bits == 32 else ())

    def _numbers(self, sweep: Sweep, probes: int) -> int:
        """That a query reads: every representative, and the items of so many cells."""
        return round((len(self.clusters.centres) + sweep.items(probes)) * self.items.width)

    def _recall(self, index: faiss.Index) -> float:
        return float(self.tuner.recalls(Searched(lambda: index), DEPTH).mean())


def _settle(written: InvertedFile, representatives: Floats, probes: int) -> None:
    ask(written.index, representatives, probes)
    written.save()


def ask(index: faiss.IndexIVF, representatives: Floats, probes: int) -> None:
    """Makes an inverted file look into the `probes` cells whose representatives score highest."""
    index.quantizer.reset()
    index.quantizer.add(representatives)
    index.nprobe = probes
