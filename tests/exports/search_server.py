"""What OpenSearch and Elasticsearch answer to the requests of an export, by their documentation, and no more of them.

It keeps every request, refuses what the documentation does not allow, and searches by plain products. Nothing of how an
engine builds or searches its graph is here: a test against it says that the requests are right, not that the engine is.
"""

from __future__ import annotations

import fnmatch
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

TYPES = {"keyword": str, "text": str, "long": int, "double": (int, float), "boolean": bool, "date": str}
NDJSON = ("application/x-ndjson", "application/vnd.elasticsearch+x-ndjson")
# What a search may have, by engine.
SEARCH = {"opensearch": {"size", "_source", "query"}, "elasticsearch": {"size", "_source", "knn"}}


class Refused(Exception):
    """What a server answers to a request that it does not allow."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        self.status, self.kind, self.reason = status, kind, reason
        super().__init__(reason)


@dataclass
class Held:
    """An index: what it was made with, its documents by id, and those of them that a search sees."""

    made: dict[str, Any]
    documents: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    aliases: set[str] = field(default_factory=set)

    @property
    def properties(self) -> dict[str, Any]:
        return dict(self.made["mappings"]["properties"])

    def put(self, key: str, source: dict[str, Any]) -> None:
        assert len(key.encode()) <= 512
        for name, value in source.items():
            assert name in self.properties, f"{name} is not mapped"
            for one in value if isinstance(value, list) else [value]:
                self._check(name, one)
        self.documents[key] = source

    def _check(self, name: str, value: object) -> None:
        kind = self.properties[name]
        if value is None or kind.get("enabled") is False:
            return
        if kind["type"] in ("knn_vector", "dense_vector"):
            assert isinstance(value, float)
            return
        assert isinstance(value, TYPES[kind["type"]]), f"{name} is {kind['type']}, and {value!r} is not"
        if kind["type"] == "date":
            datetime.fromisoformat(str(value))


@dataclass
class SearchServer:
    """engine: `opensearch` or `elasticsearch`. requests: method, path and body of each, in order."""

    engine: str
    indexes: dict[str, Held] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    uri: str = ""
    # What becomes of a bulk request: it `refuses` a document, or `ends` the connection behind so many of them.
    fault: tuple[str, int] = ("", 0)
    lossy: bool = False

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.requests]

    def asked(self, method: str, path: str) -> list[Any]:
        """The bodies of some requests."""
        return [body for own, at, body in self.requests if own == method and fnmatch.fnmatch(at, path)]

    def answer(self, method: str, path: str, query: str, body: Any) -> object:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match (method, *parts):
            case ("POST" | "PUT", "_bulk"):
                return self._bulk(body)
            case ("POST", "_aliases"):
                return self._move(body["actions"])
            case ("POST" | "GET", "_msearch"):
                pairs = zip(body[::2], body[1::2], strict=True)
                return {"responses": [self._search(self._index(head["index"]), search) for head, search in pairs]}
            case ("GET", "_cluster", "health", name):
                assert query == "wait_for_status=yellow"
                assert name in self.indexes
                return {"status": "yellow", "timed_out": False}
            case ("GET", pattern, "_alias"):
                found = fnmatch.filter(self.indexes, pattern)
                return {name: {"aliases": {alias: {} for alias in self.indexes[name].aliases}} for name in found}
            case ("HEAD", name):
                return None if name in self.indexes else self._index(name)
            case ("PUT", name):
                return self._make(name, body)
            case ("DELETE", name):
                assert name in self.indexes, "by its own name, not by a pattern or an alias"
                del self.indexes[name]
                return {"acknowledged": True}
            case ("POST", name, "_refresh"):
                self._index(name).seen = len(self._index(name).documents)
                return {"_shards": {"failed": 0}}
            case ("GET" | "POST", name, "_count"):
                return {"count": self._index(name).seen}
            case ("PUT", name, "_settings"):
                self._index(name).made["settings"]["index"] |= body["index"]
                return {"acknowledged": True}
            case ("GET" | "POST", name, "_mget"):
                held = self._index(name).documents
                docs = [{"_id": key, "found": key in held, "_source": held.get(key)} for key in body["ids"]]
                return {"docs": docs}
        raise Refused(400, "illegal_argument_exception", f"no handler found for {method} {path}")

    def _index(self, name: str) -> Held:
        found = [held for own, held in self.indexes.items() if own == name or name in held.aliases]
        if len(found) != 1:
            raise Refused(404, "index_not_found_exception", f"no such index [{name}]")
        return found[0]

    def _make(self, name: str, body: dict[str, Any]) -> object:
        assert name == name.lower()
        if name in self.indexes:
            raise Refused(400, "resource_already_exists_exception", f"index [{name}] already exists")
        settings = body["settings"]["index"]
        assert settings["refresh_interval"] == "-1"
        for kind in body["mappings"]["properties"].values():
            if kind["type"] == "knn_vector":
                assert self.engine == "opensearch"
                assert settings["knn"] is True
                assert set(kind) == {"type", "dimension", "method"}
            elif kind["type"] == "dense_vector":
                assert self.engine == "elasticsearch"
                assert kind["dims"] <= 4096
            else:
                assert kind["type"] in (*TYPES, "object")
        self.indexes[name] = Held(body)
        return {"acknowledged": True, "index": name}

    def _bulk(self, lines: list[Any]) -> object:
        items: list[Any] = []
        kind, at = self.fault
        for number, (action, source) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
            ((operation, where),) = action.items()
            assert operation == "index", "what is sent again replaces what is there"
            if kind == "ends" and number >= at:
                raise ConnectionAbortedError
            if kind == "refuses" and number == at:
                error = {"type": "document_parsing_exception", "reason": "failed to parse field [year]"}
                items.append({operation: {**where, "status": 400, "error": error}})
                continue
            self.indexes[where["_index"]].put(where["_id"], source)
            items.append({operation: {**where, "status": 201, "result": "created"}})
        return {"errors": any("error" in item["index"] for item in items), "items": items}

    def _move(self, actions: list[Any]) -> object:
        """All of some actions, or none."""
        wanted = {name: set(held.aliases) for name, held in self.indexes.items()}
        for action in actions:
            ((operation, where),) = action.items()
            if where["index"] not in wanted:
                raise Refused(404, "index_not_found_exception", f"no such index [{where['index']}]")
            if where["alias"] in self.indexes:
                raise Refused(400, "invalid_alias_name_exception", "an index exists with the same name as the alias")
            if operation == "remove" and where["alias"] not in wanted[where["index"]]:
                raise Refused(404, "aliases_not_found_exception", f"aliases [{where['alias']}] missing")
            (wanted[where["index"]].add if operation == "add" else wanted[where["index"]].remove)(where["alias"])
        for name, aliases in wanted.items():
            self.indexes[name].aliases = aliases
        return {"acknowledged": True}

    def _search(self, held: Held, search: dict[str, Any]) -> object:
        assert set(search) == SEARCH[self.engine]
        if self.engine == "opensearch":
            ((name, asked),) = search["query"]["knn"].items()
            assert set(asked) <= {"vector", "k", "filter"}
            vector, k, kind = asked["vector"], asked["k"], held.properties[name]
            assert kind["dimension"] == len(vector)
        else:
            asked = search["knn"]
            assert set(asked) <= {"field", "query_vector", "k", "num_candidates", "filter"}
            assert asked["k"] <= asked["num_candidates"] <= 10_000
            name, vector, k = asked["field"], asked["query_vector"], asked["k"]
            assert held.properties[name]["dims"] == len(vector)
        without = asked["filter"]["bool"]["must_not"]["terms"]["item_id"] if "filter" in asked else []
        assert "filter" not in asked or (without and len(without) <= 65_536)
        keys = [key for key, document in held.documents.items() if document["item_id"] not in set(without)]
        vectors = np.array([held.documents[key][name] for key in keys], np.float32)
        order = np.argsort(-(vectors @ np.array(vector, np.float32)), kind="stable")
        hits = [{"_id": keys[place]} for place in order[: min(k, search["size"])]][1 if self.lossy else 0 :]
        return {"hits": {"hits": hits}, "status": 200}


@contextmanager
def search_server(engine: str) -> Iterator[SearchServer]:
    """A server on this machine, with its URI."""
    server = SearchServer(engine)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def handle_request(self) -> None:
            place, length = urlsplit(self.path), int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length).decode()
            kind = (self.headers.get("Content-Type") or "").split(";")[0]
            body: Any = None
            if text and place.path.endswith(("_bulk", "_msearch")):
                assert kind in NDJSON or self.server_engine == "opensearch", kind
                assert text.endswith("\n")
                body = [json.loads(line) for line in text.splitlines()]
            elif text:
                body = json.loads(text)
            server.requests.append((self.command, place.path, body))
            status = 200
            try:
                document = server.answer(self.command, place.path, place.query, body)
            except Refused as refused:
                cause = {"type": refused.kind, "reason": refused.reason}
                status, document = refused.status, {"error": {**cause, "root_cause": [cause]}, "status": refused.status}
            except ConnectionAbortedError:
                self.close_connection = True
                return
            except Exception as error:
                cause = {"type": "the_test_refuses", "reason": repr(error)}
                status, document = 400, {"error": {**cause, "root_cause": [cause]}, "status": 400}
            content = b"" if self.command == "HEAD" else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if engine == "elasticsearch":
                self.send_header("X-Elastic-Product", "Elasticsearch")
            self.end_headers()
            self.wfile.write(content)

        server_engine = engine
        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_request

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.uri = f"http://elastic:s3cret@127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
