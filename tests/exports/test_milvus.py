"""Milvus by its own client: against Milvus Lite, which has aliases too, and against a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artefacts.published import published
from pipeline.errors import ConfigError, ExportFailed
from pipeline.exports.base import URI_VARIABLE
from pipeline.exports.contents import Contents
from pipeline.exports.export import best, export, sampled, settings_of
from pipeline.exports.kinds import milvus
from tests.exports.published_again import point_to, publish_again
from tests.servers import free_port, milvus_server

pytest.importorskip("milvus_lite", reason="no Milvus Lite here: install the package milvus-lite")


@contextmanager
def opened(uri: str) -> Iterator[Any]:
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    yield client
    client.close()


@pytest.mark.parametrize("index", ["AUTOINDEX", "HNSW", "FLAT"])
def test_a_collection_is_served_behind_an_alias_that_is_moved(workspace: Path, tmp_path: Path, index: str) -> None:
    (tmp_path / "milvus").mkdir()
    moved(workspace, str(tmp_path / "milvus" / "milvus.db"), {"folder": str(tmp_path / "milvus"), "index": index})


@pytest.mark.slow
def test_a_server_serves_it_likewise(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("milvus") is None:
        pytest.skip("no Milvus server here: install the package milvus")
    with milvus_server() as uri:
        monkeypatch.setenv(URI_VARIABLE, uri)
        moved(workspace, uri, {})


def moved(workspace: Path, uri: str, given: dict[str, str]) -> None:
    """Exports three nights one after the other, and the second again."""
    settings = settings_of("milvus", given)
    one, two, three = (digit * 20 for digit in "123")
    others = {f"medley_{one}x", "medley_mine", f"medley{one}", "a" * 20}
    with opened(uri) as client:
        for name in others:
            client.create_collection(name, dimension=4)
    for digest in (one, two, three):
        publish_again(workspace, digest)
        assert export(workspace, settings)["alike"] == {"vectors": 1.0}
        assert export(workspace, settings)["rows"]["items"] == Contents(published(workspace)).n_items
    source = Contents(published(workspace))
    users, vectors = sampled(source)
    with opened(uri) as client:
        assert set(client.list_collections()) == {f"medley_{two}", f"medley_{three}", *others}
        assert client.describe_alias("medley")["collection_name"] == f"medley_{three}"
        # As a reader asks: the alias, within a filter on attributes.
        seen = set(users["seen"][0].as_py())
        (hits,) = client.search(
            "medley",
            data=[vectors[0].tolist()],
            limit=10 + len(seen),
            filter='id == 7 and embedding_ == "x" and day < "2027"',
            output_fields=["item_id", "title"],
        )
        found = [hit["entity"]["item_id"] for hit in hits if hit["entity"]["item_id"] not in seen][:10]
        assert set(found) == set(best(source, users.slice(0, 1), vectors[:1])[0])
        item = source.published.items(["item_id"])["item_id"][3].as_py()
        (entity,) = client.get("medley", item, output_fields=["*"])
        assert (entity["days"], "Size" in entity) == (["2026-01-02"], False)
        np.testing.assert_allclose(entity["embedding"], source.vectors(3, 4)[0], rtol=1e-6)
    point_to(workspace, two)
    export(workspace, settings)
    with opened(uri) as client:
        assert client.describe_alias("medley")["collection_name"] == f"medley_{two}"


def test_a_call_that_was_stopped_is_gone_on_with_and_serves_nothing_before(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymilvus import MilvusClient

    monkeypatch.setattr(milvus, "BATCH", 50)
    settings, upsert = settings_of("milvus", {"folder": str(tmp_path / "milvus")}), MilvusClient.upsert
    sent: list[str] = []

    def fails(self: MilvusClient, name: str, data: list[dict[str, Any]]) -> object:
        if len(sent) == 100:
            upsert(self, name, data[:20])
            raise RuntimeError("the line was cut")
        sent.extend(row["item_id"] for row in data)
        return upsert(self, name, data)

    monkeypatch.setattr(MilvusClient, "upsert", fails)
    with pytest.raises(ExportFailed, match="export milvus: RuntimeError: the line was cut"):
        export(workspace, settings)
    with opened(str(tmp_path / "milvus" / "milvus.db")) as client:
        assert client.list_aliases("medley_planted")["aliases"] == []

    def noted(self: MilvusClient, name: str, data: list[dict[str, Any]]) -> object:
        sent.extend(row["item_id"] for row in data)
        return upsert(self, name, data)

    monkeypatch.setattr(MilvusClient, "upsert", noted)
    assert export(workspace, settings)["alike"] == {"vectors": 1.0}
    assert sent == Contents(published(workspace)).published.items(["item_id"])["item_id"].to_pylist()


@pytest.mark.parametrize(
    ("given", "uri", "said"),
    [
        ({}, "", f"set {URI_VARIABLE} to where the server is, such as http://USER:PASSWORD@HOST:19530"),
        ({"alias": "two words"}, "", "alias: String should match pattern"),
        ({"index": "IVF"}, "", "index: Input should be 'AUTOINDEX', 'HNSW' or 'FLAT'"),
        ({}, "http://root:s3cret@127.0.0.1:{port}", "export milvus: the server says: "),
    ],
)
def test_what_cannot_be_sent_is_one_sentence_without_the_address(
    workspace: Path, given: dict[str, str], uri: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    port = str(free_port())
    if uri:
        monkeypatch.setenv(URI_VARIABLE, uri.format(port=port))
    with pytest.raises((ConfigError, ExportFailed), match=said) as raised:
        export(workspace, settings_of("milvus", given))
    for part in ("s3cret", "127.0.0.1", port, "\n"):
        assert part not in str(raised.value)
