"""OpenSearch: items, users and lists behind aliases that are moved at once, see `pipeline.exports.search_engine`.

A user's items, without what they have seen:

```
GET medley-items/_search
{"size": 10, "query": {"knn": {"embedding": {"vector": [...], "k": 10,
  "filter": {"bool": {"must_not": {"terms": {"item_id": [...]}}, "filter": {"term": {"genre": "jazz"}}}}}}}}
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.errors import ConfigError
from pipeline.exports.base import DEPTH
from pipeline.exports.search_engine import VECTOR, SearchEngineExport, SearchEngineSettings
from pipeline.storage.documents import Json


class OpensearchSettings(SearchEngineSettings):
    """As those of every search engine."""


class OpensearchExport(SearchEngineExport):
    """By opensearch-py, of the k-NN plugin, from version 2.9 on: before, no filter is searched within."""

    Settings = OpensearchSettings
    settings: OpensearchSettings
    name = "opensearch"

    def client(self, uri: str) -> Any:
        """See SearchEngineExport."""
        try:
            from opensearchpy import OpenSearch
        except ImportError:
            raise ConfigError("export opensearch needs the package opensearch-py: pip install opensearch-py") from None
        return OpenSearch(uri, timeout=120, max_retries=3, ca_certs=self.settings.ca_file or None)

    def bulk(self) -> Callable[..., tuple[int, Any]]:
        """See SearchEngineExport."""
        from opensearchpy.helpers import bulk

        return bulk

    def index_settings(self) -> Json:
        """See SearchEngineExport."""
        return {"knn": True, "knn.algo_param.ef_search": self.settings.candidates}

    def vector_field(self) -> Json:
        """See SearchEngineExport."""
        graph = {"m": self.settings.m, "ef_construction": self.settings.ef_construction}
        method = {"name": "hnsw", "engine": "faiss", "space_type": "innerproduct", "parameters": graph}
        return {"type": "knn_vector", "dimension": self.contents.width, "method": method}

    def query(self, vector: list[float], without: Json | None) -> Json:
        """See SearchEngineExport."""
        search = {"vector": vector, "k": DEPTH} | ({"filter": without} if without else {})
        return {"size": DEPTH, "query": {"knn": {VECTOR: search}}}
