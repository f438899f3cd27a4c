"""Elasticsearch: items, users and lists behind aliases that are moved at once, see `pipeline.exports.search_engine`.

A user's items, without what they have seen:

```
GET medley-items/_search
{"size": 10, "knn": {"field": "embedding", "query_vector": [...], "k": 10, "num_candidates": 200,
  "filter": {"bool": {"must_not": {"terms": {"item_id": [...]}}, "filter": {"term": {"genre": "jazz"}}}}}}
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.errors import ConfigError
from pipeline.exports.base import DEPTH
from pipeline.exports.search_engine import VECTOR, SearchEngineExport, SearchEngineSettings
from pipeline.storage.documents import Json


class ElasticsearchSettings(SearchEngineSettings):
    """As those of every search engine."""


class ElasticsearchExport(SearchEngineExport):
    """By elasticsearch-py, from version 8.11 on: before, vectors of any norm had no inner product.

    Vectors are kept as they are: of the quantized ones that an index has by default, fewer of the nearest are found.
    """

    Settings = ElasticsearchSettings
    settings: ElasticsearchSettings
    name = "elasticsearch"

    def client(self, uri: str) -> Any:
        """See SearchEngineExport."""
        try:
            from elasticsearch import Elasticsearch
        except ImportError:
            way = "pip install elasticsearch"
            raise ConfigError(f"export elasticsearch needs the package elasticsearch: {way}") from None
        certificates: dict[str, Any] = {"ca_certs": self.settings.ca_file} if self.settings.ca_file else {}
        return Elasticsearch(uri, request_timeout=120, max_retries=3, **certificates)

    def bulk(self) -> Callable[..., tuple[int, Any]]:
        """See SearchEngineExport."""
        from elasticsearch.helpers import bulk

        return bulk

    def index_settings(self) -> Json:
        """See SearchEngineExport."""
        return {}

    def vector_field(self) -> Json:
        """See SearchEngineExport."""
        graph = {"type": "hnsw", "m": self.settings.m, "ef_construction": self.settings.ef_construction}
        kind = {"type": "dense_vector", "dims": self.contents.width, "similarity": "max_inner_product", "index": True}
        return {**kind, "index_options": graph}

    def query(self, vector: list[float], without: Json | None) -> Json:
        """See SearchEngineExport."""
        search = {"field": VECTOR, "query_vector": vector, "k": DEPTH, "num_candidates": self.settings.candidates}
        return {"size": DEPTH, "knn": search | ({"filter": without} if without else {})}
