"""Milvus: a collection of items' vectors with their attributes, behind an alias that is moved at the end.

An entity's primary key is `item_id`; `title` and the attributes are dynamic fields, which filters read. Vectors are
compared by inner product, as a user's vector is. Milvus moves one alias at a time, so that what is served is one
collection: users and lists would be served of another night for a moment, and do not go out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.exports.base import DEPTH, Export, ExportSettings, batches, client_errors, exported, missing, server_uri
from pipeline.exports.contents import apart
from pipeline.exports.plain import plain
from pipeline.interactions import Floats
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    from pymilvus import MilvusClient

BATCH, SEARCHES = 1_000, 100
# What Milvus lets a text have, and a search return.
MOST_BYTES, MOST_HITS = 65_535, 16_384
KEY, VECTOR = "item_id", "embedding"
TAKEN = (VECTOR, "$meta")


class MilvusSettings(ExportSettings):
    """Where the collection goes: a folder for Milvus Lite, or the server of MEDLEY_EXPORT_URI."""

    alias: str = Field("medley", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="what readers ask for")
    folder: str = Field("", description="Milvus Lite keeps the collection here; empty for a server")
    index: Literal["AUTOINDEX", "HNSW", "FLAT"] = Field(
        "AUTOINDEX", description="how vectors are searched; FLAT is exact"
    )
    m: int = Field(16, ge=2, le=2048, description="HNSW: links of an item in the graph")
    ef_construction: int = Field(200, ge=1, description="HNSW: candidates for them")
    ef: int = Field(200, ge=DEPTH, description="HNSW: candidates of a search, when what it answers is compared")


class MilvusExport(Export):
    """See above. Items go in the order of their rows, so a call that was stopped goes on where the count ends."""

    Settings = MilvusSettings
    settings: MilvusSettings

    def stage(self) -> Json:
        """See Export."""
        with self._connected() as client:
            if not client.has_collection(self._collection):
                self._create(client)
            client.load_collection(self._collection)
            for batch in missing(self._entities(), BATCH, self._count(client)):
                client.upsert(self._collection, batch)
            client.flush(self._collection)
            count = self._count(client)
        return {"collection": self._collection, "rows": {"items": count}}

    def nearest(self, users: pa.Table, vectors: Floats) -> list[list[str]]:
        """See Export."""
        seen = [set(ids or ()) for ids in users["seen"].to_pylist()]
        answers: list[list[str]] = [[] for _ in seen]
        with self._connected() as client:
            # Many at once, those of like depth together: by strong consistency, each request waits for a tick.
            for some in batches(sorted(range(len(seen)), key=lambda user: len(seen[user])), SEARCHES):
                depth = min(DEPTH + len(seen[some[-1]]), MOST_HITS)
                found = client.search(
                    self._collection,
                    data=vectors[some].tolist(),
                    anns_field=VECTOR,
                    limit=depth,
                    output_fields=[KEY],
                    search_params={"metric_type": "IP", "params": self._effort(depth)},
                )
                for user, hits in zip(some, found, strict=True):
                    items = [str(hit["entity"][KEY]) for hit in hits]
                    answers[user] = [item for item in items if item not in seen[user]][:DEPTH]
        return answers

    def switch(self) -> None:
        """See Export. Collections of the alias that are neither served now nor were before go."""
        with self._connected() as client:
            alias, names = self.settings.alias, client.list_collections()
            before = next((name for name in names if alias in client.list_aliases(name)["aliases"]), None)
            if before == self._collection:
                return
            move = client.alter_alias if before else client.create_alias
            move(self._collection, alias)
            for name in exported(names, f"{alias}_"):
                if name not in (self._collection, before):
                    client.drop_collection(name)

    @property
    def _collection(self) -> str:
        return f"{self.settings.alias}_{self.contents.digest}"

    def _create(self, client: MilvusClient) -> None:
        from pymilvus import DataType

        schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
        schema.add_field(KEY, DataType.VARCHAR, is_primary=True, max_length=MOST_BYTES)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=self.contents.width)
        graph = {"M": self.settings.m, "efConstruction": self.settings.ef_construction}
        indexes = client.prepare_index_params()
        indexes.add_index(
            VECTOR,
            index_type=self.settings.index,
            metric_type="IP",
            params=graph if self.settings.index == "HNSW" else {},
        )
        # Strong: a reader sees all that was written before, so that a count is one.
        client.create_collection(self._collection, schema=schema, index_params=indexes, consistency_level="Strong")

    def _entities(self) -> Iterator[dict[str, Any]]:
        for block in self.contents.items():
            for row, vector in zip(apart(block.table, TAKEN).to_pylist(), block.vectors.tolist(), strict=True):
                # What an item has not is left out, so that `exists` tells.
                yield {name: plain(value) for name, value in row.items() if value is not None} | {VECTOR: vector}

    def _count(self, client: MilvusClient) -> int:
        return int(client.query(self._collection, filter="", output_fields=["count(*)"])[0]["count(*)"])

    def _effort(self, hits: int) -> dict[str, int]:
        return {"ef": max(self.settings.ef, hits)} if self.settings.index == "HNSW" else {}

    @contextmanager
    def _connected(self) -> Iterator[MilvusClient]:
        """A client; what it raises becomes ExportFailed."""
        try:
            from pymilvus import MilvusClient
        except ImportError:
            raise ConfigError("export milvus needs the package pymilvus: pip install pymilvus") from None
        uri = "" if self.settings.folder else server_uri("http://USER:PASSWORD@HOST:19530")
        with client_errors("milvus", uri):
            if self.settings.folder:
                Path(self.settings.folder).mkdir(parents=True, exist_ok=True)
            client = MilvusClient(uri or str(Path(self.settings.folder) / "milvus.db"))
            try:
                yield client
            finally:
                client.close()
