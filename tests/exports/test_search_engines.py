"""OpenSearch and Elasticsearch, by their own clients, against a server that answers as their documentation says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.artefacts.published import published
from pipeline.errors import ConfigError, ExportFailed
from pipeline.exports import search_engine
from pipeline.exports.base import DEPTH, URI_VARIABLE
from pipeline.exports.contents import Contents
from pipeline.exports.export import export, settings_of
from tests.conftest import medley
from tests.exports.published_again import point_to, publish_again
from tests.exports.search_server import SearchServer, search_server
from tests.servers import free_port

TABLES = ("items", "users", "lists")
ONE, TWO, THREE = ("a" * 20, "b" * 20, "c" * 20)


@pytest.fixture(params=["opensearch", "elasticsearch"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchServer]:
    monkeypatch.setattr("pipeline.exports.export.USERS", 60)
    with search_server(request.param) as server:
        monkeypatch.setenv(URI_VARIABLE, server.uri)
        yield server


def indexes(digest: str) -> set[str]:
    return {f"medley-{table}-{digest}" for table in TABLES}


def test_every_row_goes_out_and_one_request_moves_all_aliases(server: SearchServer, workspace: Path) -> None:
    publish_again(workspace, ONE)
    document = json.loads(medley("export", server.engine, "-w", workspace, "--json").stdout)
    source = Contents(published(workspace))
    assert document["alike"] == {"lists": 1.0, "vectors": 1.0}
    assert document["rows"] == {
        "items": source.n_items,
        "users": source.count("users"),
        "lists": len(source.published.lists()["user_id"].unique()),
    }
    assert set(server.indexes) == indexes(ONE)
    (moved,) = server.asked("POST", "/_aliases")
    assert moved == {
        "actions": [{"add": {"index": f"medley-{table}-{ONE}", "alias": f"medley-{table}"}} for table in TABLES]
    }
    # All is there, and was asked for, before anything is served.
    order = [path.split("/")[-1] for path in server.paths()]
    assert max(at for at, path in enumerate(order) if path in ("_bulk", "_mget", "_msearch")) < order.index("_aliases")
    items = server.indexes[f"medley-items-{ONE}"]
    row = source.published.items().slice(3, 1).to_pylist()[0]
    kept = items.documents[row["item_id"]]
    np.testing.assert_allclose(kept.pop("embedding"), source.vectors(3, 4)[0], rtol=1e-6)
    own = {"id": 7, "values": [1.5], "embedding_": "x", "days": ["2026-01-02"], "Size": None}
    assert kept == {
        **{name: row[name] for name in ("item_id", "title", "has_content", "cold") if name in row},
        **own,
        "day": "2026-01-02T00:00:00+00:00",
    }
    assert items.made["settings"]["index"]["refresh_interval"] is None
    user = source.published.users().to_pylist()[5]
    stored = server.indexes[f"medley-users-{ONE}"].documents[user["user_id"]]
    assert (stored["seen"], len(stored["embedding"])) == (user["seen"], source.width)
    listed = [entry for entry in source.published.lists().to_pylist() if entry["user_id"] == user["user_id"]]
    expected = [{"item_id": entry["item_id"], "score": pytest.approx(entry["score"])} for entry in listed]
    assert server.indexes[f"medley-lists-{ONE}"].documents[user["user_id"]]["items"] == expected


def test_attributes_are_filtered_by_their_own_types_and_vectors_by_inner_product(
    server: SearchServer, workspace: Path
) -> None:
    settings = {"candidates": 300, "m": 24, "ef_construction": 99, "shards": 3, "replicas": 0}
    export(workspace, settings_of(server.engine, settings))
    (body,) = server.asked("PUT", "/medley-items-planted")
    fields = body["mappings"]["properties"]
    assert body["mappings"]["dynamic"] is False
    kinds = {name: kind["type"] for name, kind in fields.items()}
    vector = fields.pop("embedding")
    assert kinds | {"embedding": ""} == {
        "item_id": "keyword",
        "title": "text",
        "has_content": "boolean",
        "id": "long",
        "values": "double",
        "embedding_": "keyword",
        "day": "date",
        "days": "date",
        "Size": "keyword",
        "embedding": "",
    }
    settings = dict(body["settings"]["index"])
    assert (settings["number_of_shards"], settings["number_of_replicas"]) == (3, 0)
    searches = [line for lines in server.asked("POST", "/_msearch") for line in lines[1::2]]
    if server.engine == "opensearch":
        method = {"name": "hnsw", "engine": "faiss", "space_type": "innerproduct"}
        assert vector["method"] == method | {"parameters": {"m": 24, "ef_construction": 99}}
        assert settings["knn.algo_param.ef_search"] == 300
    else:
        assert vector["similarity"] == "max_inner_product"
        assert vector["index_options"] == {"type": "hnsw", "m": 24, "ef_construction": 99}
        assert {search["knn"]["num_candidates"] for search in searches} == {300}
    assert {search["size"] for search in searches} == {DEPTH}


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (pa.uint64(), "double"),
        (pa.int8(), "long"),
        (pa.float16(), "double"),
        (pa.decimal128(5, 2), "double"),
        (pa.date32(), "date"),
        (pa.large_list(pa.string()), "keyword"),
        (pa.list_(pa.bool_(), 2), "boolean"),
        (pa.struct({"a": pa.int64()}), "object"),
        (pa.time32("s"), "keyword"),
    ],
)
def test_a_column_of_any_type_is_mapped(kind: pa.DataType, field: str) -> None:
    assert search_engine._field(kind)["type"] == field


def test_what_was_served_before_stays_and_only_whole_digests_go(server: SearchServer, workspace: Path) -> None:
    others = {f"medley-items-{ONE}x", "medley-items-2024", "medley-users-mine", "d" * 20, f"shop-items-{ONE}"}
    for name in others:
        server.indexes[name] = search_server_index()
    settings = settings_of(server.engine, {})
    for digest in (ONE, TWO, THREE):
        publish_again(workspace, digest)
        export(workspace, settings)
        before = len(server.requests)
        export(workspace, settings)
        again = {path.split()[0] + path[path.rindex("/") :] for path in server.paths()[before:]}
        assert again.isdisjoint({"POST/_bulk", "PUT/_bulk", "POST/_aliases"})
        assert {path for path in again if path.startswith("DELETE")} == set()
        assert {name for name, held in server.indexes.items() if held.aliases} == indexes(digest)
    assert set(server.indexes) == {*indexes(TWO), *indexes(THREE), *others}
    moves = server.asked("POST", "/_aliases")
    assert len(moves) == 3
    for table, at in zip(TABLES, (0, 2, 4), strict=True):
        alias = f"medley-{table}"
        assert moves[2]["actions"][at : at + 2] == [
            {"remove": {"index": f"{alias}-{TWO}", "alias": alias}},
            {"add": {"index": f"{alias}-{THREE}", "alias": alias}},
        ]
    point_to(workspace, TWO)
    export(workspace, settings)
    assert {name for name, held in server.indexes.items() if held.aliases} == indexes(TWO)


def search_server_index() -> Any:
    from tests.exports.search_server import Held

    return Held({"mappings": {"properties": {}}, "settings": {"index": {}}})


def test_a_call_that_was_stopped_is_gone_on_with_where_it_was(
    server: SearchServer, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_engine, "BATCH", 50)
    settings = settings_of(server.engine, {})
    server.fault = ("ends", 20)
    with pytest.raises(ExportFailed, match=f"export {server.engine}: the server says: ") as raised:
        export(workspace, settings)
    assert "s3cret" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)
    assert len(server.indexes["medley-items-planted"].documents) == 20
    assert not server.asked("POST", "/_aliases")
    server.fault = ("refuses", 7)
    with pytest.raises(ExportFailed, match="year") as raised:
        export(workspace, settings)
    assert len(server.indexes["medley-items-planted"].documents) == 50
    server.fault = ("", 0)
    first = Contents(published(workspace)).published.items(["item_id"])["item_id"].to_pylist()
    held = server.indexes["medley-items-planted"]
    held.documents = {item: document for item, document in held.documents.items() if item != first[49]}
    held.put("in-the-second-batch", {"item_id": "in-the-second-batch"})
    server.requests.clear()
    del held.documents["in-the-second-batch"]
    assert export(workspace, settings)["alike"] == {"lists": 1.0, "vectors": 1.0}
    assert list(held.documents)[:1] == first[:1]
    assert set(held.documents) == set(first)


def test_what_is_there_is_not_sent_again(
    server: SearchServer, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_engine, "BATCH", 50)
    export(workspace, settings_of(server.engine, {}))
    held = server.indexes["medley-items-planted"]
    items, total = list(held.documents), len(held.documents)
    held.documents = {item: held.documents[item] for item in items[:130]}
    server.requests.clear()
    export(workspace, settings_of(server.engine, {}))
    sent = [line["index"]["_id"] for lines in server.asked("*", "/_bulk") for line in lines[::2]]
    sent = sent or [line["index"]["_id"] for lines in bulk_bodies(server) for line in lines[::2]]
    assert sent == items[100:]
    assert len(held.documents) == total


def bulk_bodies(server: SearchServer) -> list[Any]:
    return [body for _, path, body in server.requests if path == "/_bulk"]


def test_an_engine_that_answers_otherwise_is_not_switched_to(server: SearchServer, workspace: Path) -> None:
    server.lossy = True
    with pytest.raises(ExportFailed, match=rf"export {server.engine}: vectors of 0\.\d+ of the compared users' first"):
        export(workspace, settings_of(server.engine, {}))
    assert not server.asked("POST", "/_aliases")


@pytest.mark.parametrize("kind", ["opensearch", "elasticsearch"])
@pytest.mark.parametrize(
    ("given", "uri", "said"),
    [
        ({}, "", f"set {URI_VARIABLE} to where the server is, such as https://USER:PASSWORD@HOST:9200"),
        ({"alias": "Two Words"}, "", "alias: String should match pattern"),
        ({"candidates": 9}, "", "candidates: Input should be greater than or equal to 10"),
        ({}, "http://elastic:s3cret@127.0.0.1:{port}", "the server says: ConnectionError: .*refused"),
    ],
)
def test_what_cannot_be_sent_is_one_sentence_without_the_address(
    workspace: Path, kind: str, given: dict[str, Any], uri: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    port = str(free_port())
    if uri:
        monkeypatch.setenv(URI_VARIABLE, uri.format(port=port))
    with pytest.raises((ConfigError, ExportFailed), match=said) as raised:
        export(workspace, settings_of(kind, given))
    for part in ("s3cret", "127.0.0.1", port, "\n"):
        assert part not in str(raised.value)
