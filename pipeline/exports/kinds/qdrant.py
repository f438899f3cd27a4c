"""Qdrant: a collection of items' vectors with their attributes as payload, behind an alias that is moved at the end.

A point's number is the item's row; its payload has `item_id`, `title` and the attributes. Vectors are compared by inner
product, as a user's vector is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.exports.base import DEPTH, Export, ExportSettings, client_errors, exported, server_uri
from pipeline.exports.plain import plain
from pipeline.interactions import Floats
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

BATCH = 1_024


class QdrantSettings(ExportSettings):
    """Where the collection goes: a folder of the client's own, or the server of MEDLEY_EXPORT_URI."""

    alias: str = Field("medley", pattern=r"^[A-Za-z0-9_-]+$", description="what readers ask for")
    folder: str = Field("", description="the client's embedded form keeps the collection here; empty for a server")


class QdrantExport(Export):
    """See above. Points are numbered by row, so a call that was stopped goes on where the count ends."""

    Settings = QdrantSettings
    settings: QdrantSettings

    def stage(self) -> Json:
        """See Export."""
        with self._connected() as client:
            from qdrant_client import models

            if not client.collection_exists(self._collection):
                vectors = models.VectorParams(size=self.contents.width, distance=models.Distance.DOT)
                client.create_collection(self._collection, vectors_config=vectors)
            done = client.count(self._collection, exact=True).count
            for block in self.contents.items():
                if block.start + len(block.table) <= done:
                    continue
                payloads = block.table.to_pylist()
                for first in range(0, len(payloads), BATCH):
                    rows = slice(first, first + BATCH)
                    points = models.Batch(
                        ids=list(range(block.start + first, block.start + min(first + BATCH, len(payloads)))),
                        vectors=block.vectors[rows].tolist(),
                        payloads=[{name: plain(value) for name, value in row.items()} for row in payloads[rows]],
                    )
                    client.upsert(self._collection, points, wait=True)
            count = client.count(self._collection, exact=True).count
        return {"collection": self._collection, "rows": {"items": count}}

    def nearest(self, users: pa.Table, vectors: Floats) -> list[list[str]]:
        """See Export."""
        answers = []
        with self._connected() as client:
            for vector, seen in zip(vectors, users["seen"].to_pylist(), strict=True):
                known = set(seen or ())
                found = client.query_points(
                    self._collection, query=vector.tolist(), limit=DEPTH + len(known), with_payload=["item_id"]
                )
                items = [str((point.payload or {})["item_id"]) for point in found.points]
                answers.append([item for item in items if item not in known][:DEPTH])
        return answers

    def switch(self) -> None:
        """See Export. Collections of the alias that are neither served now nor were before go."""
        with self._connected() as client:
            from qdrant_client import models

            aliases = {each.alias_name: each.collection_name for each in client.get_aliases().aliases}
            before, alias = aliases.get(self.settings.alias), self.settings.alias
            if before == self._collection:
                return
            moved: list[Any] = []
            if before:
                moved.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
            made = models.CreateAlias(collection_name=self._collection, alias_name=alias)
            moved.append(models.CreateAliasOperation(create_alias=made))
            client.update_collection_aliases(moved)
            names = [each.name for each in client.get_collections().collections]
            for name in exported(names, f"{alias}-"):
                if name not in (self._collection, before):
                    client.delete_collection(name)

    @property
    def _collection(self) -> str:
        return f"{self.settings.alias}-{self.contents.digest}"

    @contextmanager
    def _connected(self) -> Iterator[QdrantClient]:
        """A client; what it raises becomes ExportFailed."""
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise ConfigError("export qdrant needs the package qdrant-client: pip install qdrant-client") from None
        uri = "" if self.settings.folder else server_uri("http://HOST:6333")
        with client_errors("qdrant", uri):
            client = QdrantClient(path=self.settings.folder) if self.settings.folder else QdrantClient(url=uri)
            try:
                yield client
            finally:
                client.close()
