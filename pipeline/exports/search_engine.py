"""What OpenSearch and Elasticsearch have in common: three indexes behind three aliases, which one request moves.

| alias | a document's id | its fields |
|---|---|---|
| `ALIAS-items` | the item's | `item_id`, `title`, attributes by type, `embedding`, searched by inner product |
| `ALIAS-users` | the user's | `seen`, item ids, and `embedding`, which is stored and not searched |
| `ALIAS-lists` | the user's | `items`, each with `item_id` and `score`, best first: the user's one list |

A user's items within a filter take two requests: the user's document, then the nearest items to its `embedding` but for
those in `seen`. Both engines' clients have the same methods for all that is asked of them here.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.errors import ExportFailed
from pipeline.exports.base import DEPTH, Export, ExportSettings, batches, client_errors, exported, missing, server_uri
from pipeline.exports.contents import apart
from pipeline.exports.plain import plain
from pipeline.interactions import Floats
from pipeline.storage.documents import Json

# Of the two clients.
LOGGERS = ("opensearch", "elastic_transport", "elasticsearch")
EXAMPLE = "https://USER:PASSWORD@HOST:9200"
TABLES = ("items", "users", "lists")
BATCH, BATCH_BYTES, SEARCHES = 1_000, 20_000_000, 50
VECTOR = "embedding"
# Beside the vector, the names that an engine keeps for itself.
TAKEN = (
    VECTOR,
    "_id",
    "_index",
    "_source",
    "_type",
    "_routing",
    "_ignored",
    "_field_names",
    "_meta",
    "_size",
    "_version",
)
# A text of more bytes cannot be found by its whole value, and the engines refuse one of 32,766.
MOST_LETTERS = 8_191
KEPT = {"type": "object", "enabled": False}  # stored, not searched
KEYWORD = {"type": "keyword", "ignore_above": MOST_LETTERS}
Document = tuple[str, Json]


class SearchEngineSettings(ExportSettings):
    """How the aliases begin, and how an index is made; the server is that of MEDLEY_EXPORT_URI."""

    alias: str = Field("medley", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="how the aliases begin")
    shards: int = Field(1, ge=1, description="of each index")
    replicas: int = Field(1, ge=0, description="of each shard")
    m: int = Field(16, ge=2, description="links of an item in the graph that is searched")
    ef_construction: int = Field(200, ge=2, description="candidates for them")
    candidates: int = Field(200, ge=DEPTH, le=10_000, description="that a search looks at: more, and it is more exact")
    ca_file: str = Field("", description="the certificate authority of the server, where it is one of your own")


class SearchEngineExport(Export):
    """See above. Documents go in the order of rows, so a call that was stopped goes on where the count ends."""

    settings: SearchEngineSettings
    name: ClassVar[str]

    @abstractmethod
    def client(self, uri: str) -> Any:
        """The engine's own client, of a server. Raises ConfigError if its package is not installed."""

    @abstractmethod
    def bulk(self) -> Callable[..., tuple[int, Any]]:
        """The client's own helper that sends documents, and again those that the server was too busy for."""

    @abstractmethod
    def index_settings(self) -> Json:
        """The settings of the items' index beside its shards and replicas."""

    @abstractmethod
    def vector_field(self) -> Json:
        """The mapping of the items' vectors: the graph that is searched by inner product."""

    @abstractmethod
    def query(self, vector: list[float], without: Json | None) -> Json:
        """The search for the DEPTH nearest items. without: a condition on them, None for none."""

    def stage(self) -> Json:
        """See Export."""
        tables = {"items": self._items(), "users": self._users(), "lists": self._lists()}
        with self._connected() as client:
            rows = {name: self._fill(client, name, documents) for name, documents in tables.items()}
        return {"alias": self.settings.alias, "rows": rows}

    def lists(self, users: Sequence[str]) -> dict[str, list[str]]:
        """See Export."""
        found: dict[str, list[str]] = {}
        with self._connected() as client:
            for some in batches(users, BATCH):
                for document in client.mget(index=self._index("lists"), body={"ids": some})["docs"]:
                    if document.get("found"):
                        items = document["_source"]["items"][:DEPTH]
                        found[document["_id"]] = [str(entry["item_id"]) for entry in items]
        return found

    def nearest(self, users: pa.Table, vectors: Floats) -> list[list[str]]:
        """See Export."""
        answers: list[list[str]] = []
        with self._connected() as client:
            for some in batches(zip(vectors.tolist(), users["seen"].to_pylist(), strict=True), SEARCHES):
                lines: list[Json] = []
                for vector, seen in some:
                    without = {"bool": {"must_not": {"terms": {"item_id": seen}}}} if seen else None
                    lines += [{"index": self._index("items")}, {**self.query(vector, without), "_source": False}]
                for response in client.msearch(body=lines)["responses"]:
                    if "error" in response:
                        raise ExportFailed(f"export {self.name}: a search failed: {_reason(response['error'])}")
                    answers.append([str(hit["_id"]) for hit in response["hits"]["hits"]][:DEPTH])
        return answers

    def switch(self) -> None:
        """See Export. Indexes of the aliases that are neither served now nor were before go."""
        with self._connected() as client:
            held = {name: known["aliases"] for name, known in self._held(client).items()}
            actions: list[Json] = []
            kept: set[str] = {self._index(table) for table in TABLES}
            for table in TABLES:
                alias, new = self._alias(table), self._index(table)
                served = [name for name, aliases in held.items() if alias in aliases]
                kept.update(served)
                actions += [{"remove": {"index": name, "alias": alias}} for name in served if name != new]
                actions += [{"add": {"index": new, "alias": alias}}] if new not in served else []
            if not actions:
                return
            client.indices.update_aliases(body={"actions": actions})
            for table in TABLES:
                for name in exported(held, f"{self._alias(table)}-"):
                    if name not in kept:
                        client.indices.delete(index=name)

    def _held(self, client: Any) -> dict[str, Json]:
        """The aliases' indexes, and others named like them, by name."""
        return dict(client.indices.get_alias(index=f"{self.settings.alias}-*"))

    def _alias(self, table: str) -> str:
        return f"{self.settings.alias}-{table}"

    def _index(self, table: str) -> str:
        return f"{self._alias(table)}-{self.contents.digest}"

    def _fill(self, client: Any, table: str, documents: Iterator[Document]) -> int:
        """Makes an index where there is none, and sends it what it lacks; returns its count of documents."""
        index = self._index(table)
        if not client.indices.exists(index=index):
            client.indices.create(index=index, body=self._made(table))
        for batch in missing(documents, BATCH, self._count(client, index)):
            actions = ({"_index": index, "_id": key, "_source": source} for key, source in batch)
            # What the server does not take is returned, and not raised.
            limits = {"chunk_size": BATCH, "max_chunk_bytes": BATCH_BYTES, "max_retries": 5}
            _, refused = self.bulk()(client, actions, **limits, raise_on_error=False)
            if refused:
                ((_, first),) = refused[0].items()
                told = f"{len(refused)} documents of {table} were refused, {first['_id']}: {_reason(first['error'])}"
                raise ExportFailed(f"export {self.name}: {told}")
        client.indices.put_settings(index=index, body={"index": {"refresh_interval": None}})
        client.cluster.health(index=index, wait_for_status="yellow")
        return self._count(client, index)

    def _count(self, client: Any, index: str) -> int:
        client.indices.refresh(index=index)
        return int(client.count(index=index)["count"])

    def _made(self, table: str) -> Json:
        """What an index is made with. It is not refreshed while it is filled, which nobody reads."""
        settings = {"number_of_shards": self.settings.shards, "number_of_replicas": self.settings.replicas}
        properties: Json = {"users": {"seen": KEYWORD, VECTOR: KEPT}, "lists": {"items": KEPT}}.get(table, {})
        if table == "items":
            settings |= self.index_settings()
            schema = apart(self.contents.item_schema.empty_table(), TAKEN).schema
            properties = {field.name: _field(field.type) for field in schema} | {VECTOR: self.vector_field()}
            properties["title"] = {"type": "text", "fields": {"keyword": KEYWORD}}
        index = {**settings, "refresh_interval": "-1"}
        return {"settings": {"index": index}, "mappings": {"dynamic": False, "properties": properties}}

    def _items(self) -> Iterator[Document]:
        for block in self.contents.items():
            for row, vector in zip(apart(block.table, TAKEN).to_pylist(), block.vectors.tolist(), strict=True):
                yield row["item_id"], {**{name: plain(value) for name, value in row.items()}, VECTOR: vector}

    def _users(self) -> Iterator[Document]:
        for block in self.contents.users():
            for row, vector in zip(block.table.to_pylist(), block.vectors.tolist(), strict=True):
                yield row["user_id"], {"seen": row["seen"], VECTOR: vector}

    def _lists(self) -> Iterator[Document]:
        for user, entries in self.contents.lists_by_user():
            yield user, {"items": [{"item_id": item, "score": score} for item, score in entries]}

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A client; what it raises becomes ExportFailed."""
        uri = server_uri(EXAMPLE)
        for logger in LOGGERS:  # what they warn of names the server, and is raised too where it matters
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        with client_errors(self.name, uri):
            client = self.client(uri)
            try:
                yield client
            finally:
                client.close()


def _field(kind: pa.DataType) -> Json:
    """The mapping of an attribute; of a list, that of its values, as the engines have it."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _field(kind.value_type)
    tests = {
        "boolean": pa.types.is_boolean,
        "long": lambda kind: pa.types.is_integer(kind) and kind != pa.uint64(),
        "double": lambda kind: pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.uint64(),
        "date": lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind),
    }
    name = next((name for name, holds in tests.items() if holds(kind)), None)
    if name:
        return {"type": name}
    return KEPT if pa.types.is_nested(kind) else KEYWORD


def _reason(error: Any) -> str:
    """What a server says of one of several requests."""
    told = error if isinstance(error, dict) else {"reason": error}
    return " ".join(str(told.get("reason", told)).split())[:200]
