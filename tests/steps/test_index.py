from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.vectors import matrix
from pipeline.indexing.clusters import Indexed, clustered
from pipeline.interactions import Interactions, unit_rows
from pipeline.rerank.snapshot import Catalogue, Snapshot
from pipeline.serving.lookup import Query, ask
from pipeline.steps import index, index_users
from pipeline.steps.index_users import write_users
from tests.conftest import Shop
from tests.indexes import cells_of
from tests.receipts import write_receipt


def folder_of(shop: Shop) -> Path:
    return shop.workspace / json.loads((shop.workspace / "CURRENT.json").read_text())["index"]


def plain_lookup(folder: Path, user_id: str, k: int) -> list[tuple[str, float]]:
    """A consumer's own code: faiss and pyarrow, nothing of Medley."""
    index = faiss.read_index(str(folder / "recommend.faiss"))
    items = pq.read_table(folder / "items.parquet")["item_id"].to_pylist()
    user = pq.read_table(folder / "users.parquet", filters=[("user_id", "=", user_id)]).to_pylist()[0]
    scores, rows = index.search(np.array([user["vector"]], dtype="float32"), k + len(user["seen"]))
    hits = [
        (items[r], float(s)) for r, s in zip(rows[0], scores[0], strict=True) if r >= 0 and items[r] not in user["seen"]
    ]
    return hits[:k]


def plain_list(folder: Path, user_id: str, k: int) -> list[tuple[str, float]]:
    """A consumer's own code, likewise: the one list."""
    rows = pq.read_table(folder / "recommendations.parquet", filters=[("user_id", "=", user_id)]).to_pylist()
    return [(row["item_id"], row["score"]) for row in sorted(rows, key=lambda row: row["rank"])[:k]]


def test_lookup_gives_every_user_their_one_list(published: Shop) -> None:
    folder = folder_of(published)
    users = pq.read_table(folder / "users.parquet").to_pylist()
    assert len(users) > 40
    for user in users:
        ours = [(hit.item_id, hit.score) for hit in ask(published.workspace, Query(user=user["user_id"], k=10)).hits]
        assert ours == plain_list(folder, user["user_id"], 10)
        assert len(ours) == 10
        assert not set(user["seen"]) & {item for item, _ in ours}


def test_lookup_reads_the_list_and_no_other(night: Shop) -> None:
    path = folder_of(night) / "recommendations.parquet"
    table = pq.read_table(path)
    places = np.lexsort((-table["rank"].to_numpy(), table["user_id"].to_numpy(zero_copy_only=False).astype(str)))
    reverse = table.take(places)
    rank = pa.array(np.tile(np.arange(1, 21), len(table) // 20), pa.int32())
    pq.write_table(reverse.set_column(1, "rank", rank), path)
    write_receipt(path.parent)
    hits = ask(night.workspace, Query(user="buyer-0001", k=20)).hits
    assert [(hit.item_id, hit.score) for hit in hits] == plain_list(path.parent, "buyer-0001", 20)
    assert hits[0].score < hits[-1].score


def test_content_holds_the_items_that_have_content_under_their_rows(published: Shop) -> None:
    folder = folder_of(published)
    items, index = pq.read_table(folder / "items.parquet"), faiss.read_index(str(folder / "content.faiss"))
    has = np.flatnonzero(items["has_content"].to_numpy(zero_copy_only=False))
    assert index.ntotal == len(has)
    for row in has[:5].tolist():
        _, found = index.search(index.reconstruct(row)[None], 1)
        assert found[0, 0] == row


def test_users_are_written_with_what_they_chose_and_those_of_a_profile_with_nothing(tmp_path: Path) -> None:
    log = Interactions(np.array([0, 0, 0, 2], np.int32), np.array([2, 1, 2, 0], np.int32), np.arange(4.0),
                       np.ones(4, np.float32), 3, 3)  # fmt: skip
    vectors = np.array([[1, 0], [1, 1], [0, 0]], np.float32)
    ids = pa.array(["b", "c", "a"])
    write_users(pa.array(["u", "of a profile", "without"]), ids, log, vectors, tmp_path / "users.parquet")
    rows = pq.read_table(tmp_path / "users.parquet").to_pylist()
    assert [(row["user_id"], row["seen"]) for row in rows] == [("u", ["a", "c"]), ("of a profile", [])]
    others = index.recoded(log, pa.array(["u", "p", "w"]), pa.array(["w", "new", "p", "u"]))
    assert (others.user.tolist(), others.item.tolist(), others.n_users) == ([0, 3, 3, 3], [0, 2, 1, 2], 4)


def test_the_card_says_what_was_measured_and_where_it_came_from(published: Shop) -> None:
    current = json.loads((published.workspace / "CURRENT.json").read_text())
    card = json.loads((published.workspace / current["index"] / "card.json").read_text())
    assert card["recall"] == 1.0
    assert card["indexes"]["recommend"]["kind"] == "exact"
    assert card["indexes"]["recommend"]["latency_ms"]["p99"] > 0
    assert card["rows"] == faiss.read_index(str(published.workspace / current["index"] / "recommend.faiss")).ntotal
    for path in card["lineage"].values():
        assert (published.workspace / path).exists()


def test_every_user_with_a_vector_has_the_best_they_do_not_have_yet(published: Shop) -> None:
    current = json.loads((published.workspace / "CURRENT.json").read_text())
    folder = published.workspace / current["index"]
    table = pq.read_table(folder / "recommendations.parquet")
    assert table.schema.names == ["user_id", "rank", "item_id", "score"]
    users = {row["user_id"]: row for row in pq.read_table(folder / "users.parquet").to_pylist()}
    lists: dict[str, list[dict[str, object]]] = {}
    for row in table.to_pylist():
        lists.setdefault(row["user_id"], []).append(row)
    assert list(lists) == sorted(users)
    titles = set(pq.read_table(folder / "items.parquet")["item_id"].to_pylist())
    told = json.loads((folder / "card.json").read_text())["recommended"]
    trained = json.loads((published.workspace / "runs/first/steps/rerank.json").read_text())["details"]
    assert told["score"].startswith("probability by the re-ranker" if trained["used"] else "inner product")
    for user, rows in lists.items():
        items = [str(row["item_id"]) for row in rows]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(set(items)) == len(items) == told["k"]
        assert set(items) <= titles - set(users[user]["seen"])
        assert np.all(np.diff([row["score"] for row in rows]) <= 1e-5)
    if not trained["used"]:
        user = next(iter(lists))
        assert [row["item_id"] for row in lists[user]] == [item for item, _ in plain_lookup(folder, user, told["k"])]
    without = pq.read_table(folder / "users_without_recommendations.parquet").to_pylist()
    assert not {row["user_id"] for row in without} & set(lists)
    assert not without
    assert set(published.summary.planted["profile_without_purchase"]) <= set(lists)


def test_a_night_without_the_ranker_keeps_the_order_of_the_index(night: Shop) -> None:
    night.run("second", "-s", "rerank.enabled=false", "-s", "train.model=content", "-s", "index.recommendations=5")
    current = json.loads((night.workspace / "CURRENT.json").read_text())
    folder = night.workspace / current["index"]
    rows = pq.read_table(folder / "recommendations.parquet").to_pylist()
    for user in sorted({row["user_id"] for row in rows})[:20]:
        found = [(row["item_id"], row["score"]) for row in rows if row["user_id"] == user]
        expected = plain_lookup(folder, user, 5)
        assert [item for item, _ in found] == [item for item, _ in expected]
        np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-5)
    assert not json.loads((night.workspace / "runs/second/metrics.json").read_text())["ranker"]


@pytest.mark.parametrize("latency", ["1e-9"])
def test_a_latency_out_of_reach_falls_back_to_cells_and_is_still_right(night: Shop, latency: str) -> None:
    night.run(
        "second", "-s", f"index.max_latency_ms={latency}", "-s", "publish.gate.warn_only=[index_latency, log_age]"
    )
    current = json.loads((night.workspace / "CURRENT.json").read_text())
    card = json.loads((night.workspace / current["index"] / "card.json").read_text())
    assert card["indexes"]["recommend"]["kind"] == "cells"
    assert card["recall"] >= 0.99


def test_lists_of_a_compressed_index_have_the_scores_of_whole_vectors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    items, users = (random.standard_normal((count, 16)).astype(np.float32) for count in (2_000, 5))
    clusters = clustered(Indexed(items, np.arange(len(items))))
    cells = clusters.write(clusters.longest, 8, tmp_path / "index.faiss").index
    cells.nprobe = cells.nlist
    nothing = np.zeros(0, np.int32)
    log = Interactions(nothing, nothing, np.zeros(0), np.zeros(0, np.float32), len(users), len(items))
    snapshot = Snapshot(Catalogue(items, {}, np.ones(len(items), bool), cells), users, log)
    lists, scores = snapshot.candidates(np.arange(len(users)), 20)
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, np.einsum("ud,ukd->uk", users, items[lists]), rtol=1e-5)


@pytest.mark.parametrize("block", [2, 100])
def test_users_are_written_with_what_they_chose_whatever_the_blocks(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_users, "USERS_PER_GROUP", block)
    rows = [(0, 3), (0, 1), (0, 3), (1, 0), (3, 2), (4, 2), (4, 0), (6, 1)]
    codes = np.array(rows, np.int32)
    log = Interactions(codes[:, 0], codes[:, 1], np.zeros(len(rows)), np.ones(len(rows), np.float32), 7, 4)
    items, users = ["d", "b", "c", "a"], [f"u{code}" for code in range(7)]
    vectors = np.outer([1, 0, 2, 3, 0, 5, 6], [1, -1]).astype(np.float32)
    write_users(pa.array(users), pa.array(items), log, vectors, tmp_path / "users.parquet")
    table = pq.read_table(tmp_path / "users.parquet")
    seen = [sorted({items[item] for user, item in rows if user == code}) for code in (0, 2, 3, 5, 6)]
    assert table["user_id"].to_pylist() == ["u0", "u2", "u3", "u5", "u6"]
    assert table["seen"].to_pylist() == seen
    np.testing.assert_array_equal(matrix(table["vector"]), vectors[[0, 2, 3, 5, 6]])
    assert pq.ParquetFile(tmp_path / "users.parquet").num_row_groups == (3 if block == 2 else 1)


@pytest.mark.parametrize("kind", ["cells", "graph"])
def test_the_list_of_a_user_who_has_nearly_all_that_is_near_is_full(kind: str) -> None:
    items = unit_rows(np.random.default_rng(0).standard_normal((1_000, 8)).astype(np.float32))
    index: faiss.Index = cells_of(items)
    if kind == "graph":
        # Whose items are hardly linked, so that a search ends early.
        index = faiss.IndexHNSWFlat(8, 2, faiss.METRIC_INNER_PRODUCT)
        index.add(items)
    else:
        index.nprobe = 1
    user = items[:1]
    probed = index.search(user, 1_000)[1][0]
    taken = np.sort(probed[probed >= 0][:-3]).astype(np.int32)
    assert len(taken) < 900
    times, count = np.zeros(len(taken)), len(taken)
    log = Interactions(times.astype(np.int32), taken, times, np.ones(count, np.float32), 1, 1_000)
    snapshot = Snapshot(Catalogue(items, {}, np.ones(1_000, bool), index), user, log)
    order = np.argsort(-items @ user[0])
    expected = order[~np.isin(order, taken)][:10]
    np.testing.assert_array_equal(snapshot.candidates(np.zeros(1, np.int64), 10)[0][0], expected)
