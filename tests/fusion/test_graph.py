from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ShardCorrupt
from pipeline.fusion import graph as graphs
from pipeline.fusion.convolve import edges_of, plan
from pipeline.fusion.graph import NOBODY, Graph, build
from pipeline.fusion.moments import unit_or_missing
from pipeline.fusion.projected import InFile
from tests.logs import log_of

SIZES = {"neighbours": 3, "co_chosen": 2, "window_choices": 10}


def store(folder: Path, items: int, modalities: int = 2, width: int = 8) -> InFile:
    rng = np.random.default_rng(0)
    projected = InFile(folder / "projected.npy", items, modalities, width)
    mask = rng.random((items, modalities)) < 0.8
    vectors = unit_or_missing(rng.standard_normal((items * modalities, width))).reshape(items, modalities, width)
    projected.write(0, vectors * mask[..., None], mask)
    return projected


def test_neighbours_are_the_nearest_others_that_have_the_modality(tmp_path: Path) -> None:
    projected = store(tmp_path, 30)
    found = build(projected, log_of([0, 1]), **SIZES).like
    vectors, mask = projected.read(np.arange(30))
    for place in range(2):
        scores = vectors[:, place] @ vectors[:, place].T
        scores[:, ~mask[:, place]] = -np.inf
        np.fill_diagonal(scores, -np.inf)
        for item in range(30):
            expected = set(np.argsort(-scores[item])[:3]) if mask[item, place] else {NOBODY}
            assert set(found[item, place].tolist()) == expected


def test_a_large_catalogue_is_searched_in_cells_and_still_finds_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    projected = store(tmp_path, 3000, 1)
    exact = build(projected, log_of([0, 1], items=3000), **SIZES).like
    monkeypatch.setattr(graphs, "EXACT_BELOW", 500)
    monkeypatch.setattr(graphs, "CELL", 500)
    cells = build(projected, log_of([0, 1], items=3000), **SIZES).like
    assert np.mean([len(set(a[0]) & set(b[0])) / 3 for a, b in zip(exact, cells, strict=True)]) > 0.6


def test_items_chosen_together_more_often_come_first_and_fame_counts_against(tmp_path: Path) -> None:
    log = log_of([0, 1, 2], [0, 1], [0, 3], [3, 4], [3, 5], [3, 6])
    found = build(store(tmp_path, 30), log, **SIZES).together
    assert found[0].tolist() == [1, 2]
    assert found[4].tolist() == [3, NOBODY]
    assert found[20].tolist() == [NOBODY, NOBODY]


def test_what_is_out_of_the_window_was_not_chosen_together(tmp_path: Path) -> None:
    found = build(store(tmp_path, 30), log_of([0, 1, 2]), **{**SIZES, "window_choices": 1}).together
    assert found[0].tolist() == [1, NOBODY]


def test_an_item_held_out_stands_in_the_graph_as_one_nobody_chose(tmp_path: Path) -> None:
    whole = build(store(tmp_path, 30), log_of([0, 1, 2]), **SIZES)
    held = np.arange(30) == 1
    found = whole.without(held)
    assert (found.together[1] == NOBODY).all()
    assert 1 not in found.together
    np.testing.assert_array_equal(found.like, whole.like)


def test_training_never_sees_the_edge_that_it_is_asked_for(tmp_path: Path) -> None:
    whole = build(store(tmp_path, 30), log_of([0, 1, 2]), **SIZES)
    rows = whole.rows(np.array([0, 1])).thinned(0.0, np.array([1, 0]), np.random.default_rng(0))
    assert 1 not in rows.together[0]
    assert 0 not in rows.together[1]
    assert 2 in rows.together[0]


def test_a_batch_reads_its_neighbours_and_every_edge_leads_to_one_that_is_there(tmp_path: Path) -> None:
    projected = store(tmp_path, 30)
    whole = build(projected, log_of([0, 1, 2], [5, 6]), **SIZES)
    codes, layers = plan(whole, np.array([5, 0, 5]), 2)
    assert codes[:3].tolist() == [5, 0, 5]
    _, mask = projected.read(codes)
    assert [targets for targets, _ in layers] == sorted((targets for targets, _ in layers), reverse=True)
    targets, lists = layers[-1]
    for row, code in enumerate((5, 0, 5)):
        assert set(codes[lists.together[row]][lists.together[row] != NOBODY]) == set(whole.together[code]) - {NOBODY}
    for matrix in edges_of(targets, lists, mask).edges.values():
        rows = matrix.to_dense().sum(dim=1).numpy()
        assert set(np.round(rows, 5).tolist()) <= {0.0, 1.0}


def test_a_graph_is_read_back_and_another_file_refused(tmp_path: Path) -> None:
    made = Graph(np.zeros((2, 1, 3), np.int32), np.full((2, 2), NOBODY, np.int32))
    graphs.save(made, tmp_path / graphs.FILE)
    again = graphs.load(tmp_path / graphs.FILE)
    np.testing.assert_array_equal(again.like, made.like)
    np.testing.assert_array_equal(again.together, made.together)
    (tmp_path / "other").write_bytes(b"no graph")
    with pytest.raises(ShardCorrupt, match="no graph"):
        graphs.load(tmp_path / "other")
