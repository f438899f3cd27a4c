"""Which index is built, and that what it is said to find is what it finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
import pytest

from pipeline.config import Index
from pipeline.errors import StepFailed
from pipeline.indexing import planner
from pipeline.indexing.clusters import Indexed, clustered, exact_bytes
from pipeline.indexing.exact import Queries
from pipeline.indexing.graph import fewest, graph_bytes, graph_index, write_graph
from pipeline.indexing.judged import NANOSECONDS_A_NUMBER, Design, Judge, Targets, Tried
from pipeline.indexing.planner import FEWEST_LEARNERS, Candidate, first
from pipeline.indexing.searched import Searched
from pipeline.interactions import Floats, Int64s

ROWS, MANY, WIDTH, USERS, CENTRES = 6000, 20_000, 32, 4400, 30
NONE = Queries(np.zeros((0, WIDTH), np.float32), [])


def catalogue(rows: int = ROWS) -> tuple[Indexed, Queries]:
    """Items around centres, of norms that differ as popularity does; users of a few tastes, and of what all like."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CENTRES, WIDTH))
    items = centres[random.integers(0, CENTRES, rows)] + 0.7 * random.standard_normal((rows, WIDTH))
    items *= random.lognormal(0, 0.3, (rows, 1))
    tastes = centres[random.integers(0, CENTRES, (USERS, 4))]
    users = np.einsum("uk,ukd->ud", random.dirichlet(np.ones(4), USERS), tastes) + 2 * random.standard_normal(WIDTH)
    users += 0.3 * random.standard_normal((USERS, WIDTH))
    taken = [np.unique(random.integers(0, rows, size)) for size in random.integers(0, 40, USERS)]
    best = np.argsort(-users[:20] @ items.T, axis=1)
    # Some have most of what suits them best.
    taken[:20] = [np.sort(row[:1500]) for row in best]
    return Indexed(items.astype(np.float32), np.arange(rows)), Queries(users.astype(np.float32), taken)


def part(queries: Queries, start: int, stop: int) -> Queries:
    return queries.part(slice(start, stop))


def targets(latency: float = 0.09, **settings: float) -> Targets:
    return Targets(Index.model_validate({"max_latency_ms": latency, **settings}))


def planned(items: Indexed, queries: Queries, learners: Queries, targets: Targets) -> tuple[faiss.Index, list[Tried]]:
    """What is planned, after a look at what a consumer opens."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        index, tried = planner.planned(items, queries, learners, targets, path)
        assert list(Path(folder).iterdir()) == [path]
        faiss.write_index(index, f"{path}.memory")
        assert Path(f"{path}.memory").read_bytes() == path.read_bytes()
    return index, tried


def chosen(tried: list[Tried]) -> Tried:
    (one,) = (one for one in tried if one.chosen)
    return one


def brute_force(items: Floats, user: Floats, taken: Int64s, k: int) -> list[int]:
    scores = items @ user
    scores[taken] = -np.inf
    return np.argsort(-scores)[:k].tolist()


def test_numbers_that_a_query_reads_decide_between_exact_search_and_cells() -> None:
    items, queries = catalogue()
    at_the_limit = ROWS * WIDTH * NANOSECONDS_A_NUMBER / 1e6
    index, tried = planned(items, part(queries, 0, 40), NONE, targets(at_the_limit))
    assert (index.ntotal, chosen(tried).design.kind, len(tried)) == (ROWS, "exact", 1)
    assert chosen(tried).recall["100"] == {"mean": 1, "low": 1, "high": 1}
    assert chosen(planned(items, part(queries, 0, 40), NONE, targets(at_the_limit * 0.99))[1]).design.kind == "cells"


@pytest.fixture(scope="module")
def learned() -> tuple[faiss.IndexIVF, list[Tried]]:
    items, queries = catalogue(MANY)
    return planned(items, part(queries, 20, 420), part(queries, 420, USERS), targets())


def test_users_teach_where_their_best_items_are(learned: tuple[faiss.IndexIVF, list[Tried]]) -> None:
    longest, users = sorted(learned[1], key=lambda one: one.design.ranked_by)
    assert (longest.design.ranked_by, users.design.ranked_by, users.chosen) == ("longest", "users", True)
    assert users.design.numbers < 0.8 * longest.design.numbers
    assert learned[0].nprobe == users.design.probes
    milliseconds, recall = zip(*users.design.curve, strict=True)
    assert list(milliseconds) == sorted(milliseconds)
    assert list(recall) == sorted(recall)
    assert recall[-1] == 1


def test_what_it_is_said_to_find_is_what_it_finds(learned: tuple[faiss.IndexIVF, list[Tried]]) -> None:
    items, queries = catalogue(MANY)
    judging = part(queries, 220, 420)
    index, told = learned[0], chosen(learned[1])
    for k in (10, 100):
        shares = []
        for user, taken in zip(judging.vectors, judging.taken, strict=True):
            depth = int(2 ** np.ceil(np.log2(k + len(taken))))
            rows = index.search(user[None], depth)[1][0]
            answers = rows[(rows >= 0) & ~np.isin(rows, taken)][:k]
            shares.append(np.isin(brute_force(items.vectors, user, taken, k), answers).mean())
        assert told.recall[str(k)]["mean"] == pytest.approx(np.mean(shares), abs=1e-3)
        assert told.recall[str(k)]["low"] <= np.mean(shares) <= told.recall[str(k)]["high"]
    assert told.recall["10"]["high"] >= 0.99
    assert told.recall["100"]["high"] >= 0.95


def test_whoever_has_the_best_of_all_is_among_those_that_judge() -> None:
    items, queries = catalogue()
    index, tried = planned(items, part(queries, 0, 19), NONE, targets())
    vectors, taken = queries.vectors[:19], queries.taken[:19]
    assert chosen(tried).recall["10"]["mean"] >= 0.98
    answers = Searched(lambda: index).nearest(vectors, 10, taken=taken)[1]
    shares = [
        np.isin(brute_force(items.vectors, *asked, 10), rows).mean()
        for *asked, rows in zip(vectors, taken, answers, strict=True)
    ]
    assert np.mean(shares) == pytest.approx(chosen(tried).recall["10"]["mean"], abs=1e-4)


def test_the_same_vectors_give_the_same_index(learned: tuple[faiss.IndexIVF, list[Tried]]) -> None:
    items, queries = catalogue(MANY)
    again, _ = planned(items, part(queries, 20, 420), part(queries, 420, USERS), targets())
    np.testing.assert_array_equal(faiss.serialize_index(again), faiss.serialize_index(learned[0]))


def test_a_few_users_teach_nothing() -> None:
    items, queries = catalogue()
    few = part(queries, 400, 400 + FEWEST_LEARNERS - 1)
    assert len(planned(items, part(queries, 0, 400), few, targets())[1]) == 1
    more = part(queries, 400, 400 + FEWEST_LEARNERS)
    assert len(planned(items, part(queries, 0, 400), more, targets())[1]) == 2


def test_a_graph_is_tried_where_cells_take_too_long_and_taken_where_it_takes_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random, width = np.random.default_rng(0), 256
    vectors = random.standard_normal((ROWS, width)) * random.lognormal(0, 1, (ROWS, 1))
    items = Indexed(vectors.astype(np.float32), np.arange(ROWS))
    asking = Queries(random.standard_normal((200, width)).astype(np.float32), [np.zeros(0, np.int64)] * 200)
    exact_ms = ROWS * width * NANOSECONDS_A_NUMBER / 1e6
    (only,) = planned(items, asking, NONE, targets(0.999 * exact_ms))[1]
    kinds = {one.design.kind: one for one in planned(items, asking, NONE, targets(only.counted_ms - 1e-6))[1]}
    graph = kinds["graph"]
    assert (graph.chosen, set(kinds)) == (True, {"cells", "graph"})
    assert graph.counted_ms < only.counted_ms
    assert graph.recall["10"]["high"] >= 0.99
    assert graph.recall["100"]["high"] >= 0.95
    # What cells meet is not tried with more memory; nor is what there is no memory for.
    assert len(planned(items, asking, NONE, targets(only.counted_ms))[1]) == 1
    limit = graph_bytes(items)
    assert len(planned(items, asking, NONE, targets(only.counted_ms - 1e-6, memory_bytes=limit))[1]) == 2
    assert len(planned(items, asking, NONE, targets(only.counted_ms - 1e-6, memory_bytes=limit - 1))[1]) == 1
    for most, count in ((ROWS, 2), (ROWS - 1, 1)):
        monkeypatch.setattr("pipeline.indexing.graph.MOST_ITEMS", most)
        assert len(planned(items, asking, NONE, targets(only.counted_ms - 1e-6))[1]) == count


def test_without_anyone_who_asks_no_graph_is_tried() -> None:
    items, _ = catalogue()
    _, tried = planned(items, NONE, NONE, targets(1e-9))
    assert [one.design.kind for one in tried] == ["cells"]


def test_of_what_is_too_slow_the_least_slow_is_taken() -> None:
    design = Design("cells", 32, 10, 100.0, 1.0)
    recall = {"10": {"mean": 1.0, "low": 1.0, "high": 1.0}}

    def candidate(ms: float, bytes_a_vector: float, high: float = 1.0) -> Candidate:
        own = {"10": {**recall["10"], "high": high}}
        tried = Tried(replace(design, bytes_a_vector=bytes_a_vector), own, ms, {}, 1)
        return Candidate(tried, faiss.IndexFlatIP(1), Path())

    settings = Index(max_latency_ms=5, min_recall=0.9)
    small, large, short = candidate(8, 100), candidate(6, 200), candidate(1, 10, 0.89)
    assert first([small, large, short], settings) is large
    assert first([small, large, candidate(5, 300)], settings).tried.counted_ms == 5
    assert first([candidate(4, 200), candidate(5, 100)], settings).tried.counted_ms == 5
    assert first([short, candidate(9, 900, 0.9)], settings).tried.counted_ms == 9


def test_what_a_query_of_a_graph_reads_is_what_it_goes_to_and_all_items_where_that_is_too_little(
    tmp_path: Path,
) -> None:
    items, queries = catalogue()
    asking, counters = part(queries, 20, 120), faiss.cvar
    index, design = write_graph(Judge(items, asking, targets()), tmp_path / "graph")
    visits = []
    for user, taken in zip(asking.vectors, asking.taken, strict=True):
        counters.hnsw_stats.reset()
        Searched(lambda: index).nearest(user[None], 10, taken=[taken])
        visits.append(counters.hnsw_stats.ndis)
    assert design.numbers == round(np.percentile(visits, 99) * (WIDTH + 64))
    alike = Indexed(np.repeat(items.vectors[:3], 4000, axis=0), np.arange(12_000))
    near = graph_index(alike).search(asking.vectors[:1], 8192)[1][0]
    owner = Queries(asking.vectors[:1], [np.sort(near[near >= 0][:-3])])
    assert len(owner.taken[0]) < 11_000
    _, design = write_graph(Judge(alike, owner, targets()), tmp_path / "alike")
    assert design.numbers >= 12_000 * WIDTH


def test_a_graph_is_made_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = catalogue()
    threads, add = [], faiss.IndexHNSWFlat.add

    def counted(graph: faiss.IndexHNSWFlat, vectors: Floats) -> None:
        threads.append(faiss.omp_get_max_threads())
        add(graph, vectors)

    monkeypatch.setattr(faiss.IndexHNSWFlat, "add", counted)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        graph_index(items)
        assert (set(threads), faiss.omp_get_max_threads()) == ({1}, 2)
    finally:
        faiss.omp_set_num_threads(before)


def test_the_same_vectors_give_the_same_graph(tmp_path: Path) -> None:
    items, queries = catalogue()
    tuner = Judge(items, part(queries, 20, 120), targets())
    for name in ("one", "two"):
        index, design = write_graph(tuner, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    opened = faiss.read_index(str(tmp_path / "one"))
    assert opened.hnsw.efSearch == index.hnsw.efSearch == design.probes
    assert design.bytes_a_vector * ROWS == pytest.approx(graph_bytes(items), rel=0.03)
    milliseconds, recall = zip(*design.curve, strict=True)
    assert list(milliseconds) == sorted(milliseconds)
    assert recall[-1] == max(recall) >= 0.99


def test_the_fewest_candidates_are_those_below_which_recall_is_short() -> None:
    for wanted in (1, 16, 17, 100, 1000, 4096):
        asked: list[int] = []

        def enough(candidates: int, wanted: int = wanted, asked: list[int] = asked) -> bool:
            asked.append(candidates)
            return candidates >= wanted

        candidates = fewest(enough)
        assert candidates in asked
        assert max(wanted, 16) <= candidates <= 1.07 * max(wanted, 16)
    assert fewest(lambda _: False) == 4096


def test_vectors_are_compressed_where_they_do_not_fit() -> None:
    items, queries = catalogue()
    asking, clusters = part(queries, 0, 400), clustered(items)
    sizes = {bits: clusters.bytes(bits) for bits in (32, 16, 8)}
    for limit, bits in ((sizes[32], {32}), (sizes[32] - 1, {16, 8}), (sizes[16] - 1, {8}), (sizes[8], {8})):
        index, tried = planned(items, asking, NONE, targets(memory_bytes=limit))
        assert {one.design.bits for one in tried} == bits
        assert len(faiss.serialize_index(index)) == pytest.approx(chosen(tried).design.bytes_a_vector * ROWS, rel=0.02)
        assert chosen(tried).recall["10"]["high"] >= 0.99
        scores, rows = index.search(asking.vectors[:1], 5)
        exact = items.vectors[rows[0]] @ asking.vectors[0]
        np.testing.assert_allclose(scores[0], exact, rtol={32: 1e-5, 16: 1e-2, 8: 0.1}[chosen(tried).design.bits])
    with pytest.raises(StepFailed, match=rf"6000 items of 32 numbers take {sizes[8]} bytes at 8 bits a number, and "):
        planned(items, asking, NONE, targets(memory_bytes=sizes[8] - 1))
    slow = targets(latency=100, memory_bytes=exact_bytes(len(items.rows), items.width, labelled=False) - 1)
    assert chosen(planned(items, asking, NONE, slow)[1]).design.kind == "cells"


def test_a_query_that_reads_more_than_its_time_is_said(caplog: pytest.LogCaptureFixture) -> None:
    items, queries = catalogue()
    planned(items, part(queries, 0, 400), NONE, targets(1e-9))
    assert "ms of work, and index.max_latency_ms is 1e-09: raise it, or lower index.min_recall (0.99)" in caplog.text
    caplog.clear()
    planned(items, part(queries, 0, 400), NONE, targets(0.2))
    assert not caplog.text


@pytest.mark.parametrize("latency", [1e-9, 100.0])
def test_some_rows_under_labels_are_found_and_no_others(latency: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.indexing.clusters.BLOCK_ROWS", 700)
    items, queries = catalogue()
    rows = np.arange(100, ROWS, 3)
    some = Indexed(items.vectors, rows, rows + 7)
    asking = Queries(queries.vectors[100:140], [np.array([place]) for place in range(40)])
    index, tried = planned(some, asking, NONE, targets(latency))
    assert chosen(tried).recall["10"]["mean"] == pytest.approx(1, abs=0.03)
    if cells := chosen(tried).design.cells:
        index.nprobe = cells
    answers = Searched(lambda: index).nearest(asking.vectors, 3, taken=[some.labels_of(own) for own in asking.taken])[1]
    for user, own, labels in zip(asking.vectors, asking.taken, answers, strict=True):
        best = brute_force(items.vectors[rows], user, own, 3)
        assert labels.tolist() == (rows[best] + 7).tolist()


def test_items_of_nothing_and_users_who_have_all_are_no_trouble() -> None:
    items, queries = catalogue()
    nothing = Indexed(np.zeros_like(items.vectors), items.rows)
    learners = part(queries, 400, 400 + FEWEST_LEARNERS)
    assert chosen(planned(nothing, part(queries, 0, 40), learners, targets())[1]).recall["10"]["mean"] == 1
    few = Indexed(items.vectors[:90], np.arange(90))
    owners = Queries(learners.vectors, [np.arange(90)] * len(learners))
    _, tried = planned(few, owners, owners, targets(1e-9))
    assert chosen(tried).recall["10"] == {"mean": 1, "low": 1, "high": 1}


def test_any_recall_is_enough_where_none_is_asked_for() -> None:
    items, queries = catalogue()
    assert planned(items, part(queries, 20, 420), NONE, targets(min_recall=0))[0].nprobe == 1


def test_an_empty_catalogue_finds_all_that_it_has() -> None:
    empty = Indexed(np.zeros((5, WIDTH), np.float32), np.zeros(0, np.int64))
    index, tried = planned(empty, NONE, NONE, targets())
    assert (index.ntotal, chosen(tried).recall["10"]["mean"]) == (0, 1)
    assert replace(chosen(tried), chosen=False).written()["bytes_a_vector"] == 0
