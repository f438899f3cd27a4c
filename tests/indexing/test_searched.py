"""Searches within filters, wherever what passes lies."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from pipeline.indexing.clusters import Indexed
from pipeline.indexing.graph import graph_index
from pipeline.indexing.searched import Passing, Searched
from pipeline.interactions import Floats, Mask
from tests.indexes import cells_of

ROWS, WIDTH, CENTRES, PROBES = 20_000, 16, 200, 8


@pytest.fixture(scope="module")
def world() -> tuple[Floats, Floats, np.ndarray]:
    """Items around centres, with each one's centre, and users near ten of them."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CENTRES, WIDTH)).astype(np.float32)
    of = random.integers(0, CENTRES, ROWS)
    items = centres[of] + 0.4 * random.standard_normal((ROWS, WIDTH)).astype(np.float32)
    users = centres[:10].repeat(5, axis=0) + 0.3 * random.standard_normal((50, WIDTH)).astype(np.float32)
    return items, users, of


def passing(mask: Mask) -> Passing:
    return Passing(np.packbits(mask, bitorder="little"), int(mask.sum()), None)


def filters(of: np.ndarray, items: Floats, users: Floats) -> dict[str, Mask]:
    """A tenth of the items by chance, of some centres, and of those that users like least; half of them; none."""
    random = np.random.default_rng(1)
    liked = np.argsort(items @ users.mean(axis=0))
    least = np.zeros(ROWS, bool)
    least[liked[: ROWS // 10]] = True
    return {
        "by chance": random.random(ROWS) < 0.1,
        "half": random.random(ROWS) < 0.5,
        "of some centres": np.isin(of, np.arange(50, 70)),
        "liked least": least,
        "none": np.zeros(ROWS, bool),
    }


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("kind", ["cells", "graph", "exact"])
def test_what_passes_is_found_though_it_lies_far_from_the_user(
    world: tuple[Floats, Floats, np.ndarray], kind: str, labelled: bool
) -> None:
    items, users, of = world
    labels = np.arange(ROWS) * 2 + 1 if labelled else np.arange(ROWS)
    index: faiss.Index = cells_of(items, labels) if kind == "cells" else faiss.IndexIDMap2(faiss.IndexFlatIP(WIDTH))
    if kind == "cells":
        index.nprobe = PROBES
    elif kind == "graph":
        index = graph_index(Indexed(items, np.arange(ROWS), labels if labelled else None))
    else:
        index.add_with_ids(items, labels)
    searched = Searched(lambda: index)
    for name, mask in filters(of, items, users).items():
        rows = np.flatnonzero(mask)
        wide = np.zeros(int(labels[-1]) + 1, bool)
        wide[labels[rows]] = True
        scores, answers = searched.nearest(users, 10, passing(wide))
        assert np.isin(answers[answers >= 0], labels[rows]).all()
        assert (answers >= 0).sum() == 50 * min(10, len(rows))
        if name == "none":
            continue
        best = labels[rows[np.argsort(-(users @ items[rows].T), axis=1)[:, :10]]]
        shares = [np.isin(own, line).mean() for own, line in zip(best, answers, strict=True)]
        assert np.mean(shares) >= (0.97 if kind == "cells" else 1.0), name
        products = np.einsum("ud,ukd->uk", users, items[np.searchsorted(labels, answers)])
        np.testing.assert_allclose(scores, products, rtol=1e-4, atol=1e-4)


def test_rows_that_pass_and_are_not_in_the_index_make_no_search_shallower(
    world: tuple[Floats, Floats, np.ndarray],
) -> None:
    items, users, _ = world
    labels = np.arange(ROWS) * 20
    cells = cells_of(items, labels)
    cells.nprobe = PROBES
    searched, random = Searched(lambda: cells), np.random.default_rng(2)
    own, others = random.random(ROWS) < 0.02, np.ones(20 * ROWS, bool)
    others[labels] = own
    alone = np.zeros(20 * ROWS, bool)
    alone[labels] = own
    for one, other in zip(*(searched.nearest(users, 10, passing(mask)) for mask in (alone, others)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_graph_that_ends_early_is_gone_past_however_many_candidates_it_keeps() -> None:
    random = np.random.default_rng(0)
    items = np.repeat(random.standard_normal((30, 8)).astype(np.float32), 100, axis=0)
    graph = graph_index(Indexed(items, np.arange(3000)))
    for candidates in (100, 2999, 3000, 4096):
        graph.hnsw.efSearch = candidates
        rows = Searched(lambda: graph).nearest(items[:1], 1500)[1][0]
        assert len(set(rows.tolist()) - {-1}) == 1500


def test_cells_are_searched_no_deeper_than_they_hold_something_that_passes(
    world: tuple[Floats, Floats, np.ndarray],
) -> None:
    items, users, of = world
    cells = cells_of(items)
    cells.nprobe = PROBES
    searched, stats = Searched(lambda: cells), faiss.cvar.indexIVF_stats
    visited = {}
    for name, mask in filters(of, items, users).items():
        own = passing(mask)
        searched.nearest(users[:1], 10, own)
        stats.reset()
        searched.nearest(users[:1], 10, own)
        visited[name] = int(stats.nlist)
    wanted = {"by chance": PROBES * np.sqrt(10), "half": PROBES * np.sqrt(2), "none": 0}
    assert {name: visited[name] for name in wanted} == {name: pytest.approx(n, abs=1) for name, n in wanted.items()}
    assert visited["of some centres"] <= visited["by chance"]
