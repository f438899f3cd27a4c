"""Redis: each user's list under a key with the index's digest, and one key that says which digest is served.

`GET PREFIX:current` is a digest, `GET PREFIX:<digest>:user:<user_id>` a JSON list of [item_id, score], best first. What
was served before can be read for `keep_seconds` more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.exports.base import DEPTH, Export, ExportSettings, batches, client_errors, server_uri
from pipeline.storage.documents import Json

if TYPE_CHECKING:
    import redis

BATCH = 1_000


class RedisSettings(ExportSettings):
    """How keys begin, and how long what was served before stays; the server is that of MEDLEY_EXPORT_URI."""

    prefix: str = Field("medley", min_length=1, description="how every key begins")
    keep_seconds: int = Field(86_400, ge=1, description="how long the lists that were served before can be read")


class RedisExport(Export):
    """See above. A count of the rows that are there is kept with them: a call that was stopped is gone on with."""

    Settings = RedisSettings
    settings: RedisSettings

    def stage(self) -> Json:
        """See Export."""
        with self._connected() as server:
            counted = self._key("users")
            # What was served before and is to be served again is about to go: it is written anew, to stay.
            done = 0 if server.ttl(counted) >= 0 else int(server.get(counted) or 0)
            rows = 0
            for users in batches(self.contents.lists_by_user(), BATCH):
                rows += len(users)
                if rows <= done:
                    continue
                pipe = server.pipeline(transaction=True)
                for user, entries in users:
                    pipe.set(self._key("user", user), json.dumps(entries, ensure_ascii=False))
                pipe.set(counted, rows)
                pipe.execute()
        return {"prefix": self.settings.prefix, "rows": {"lists": rows}}

    def lists(self, users: Sequence[str]) -> dict[str, list[str]]:
        """See Export."""
        with self._connected() as server:
            values = server.mget([self._key("user", user) for user in users]) if users else []
        found = {user: json.loads(value) for user, value in zip(users, values, strict=True) if value}
        return {user: [item for item, _ in entries[:DEPTH]] for user, entries in found.items()}

    def switch(self) -> None:
        """See Export."""
        with self._connected() as server:
            current = f"{self.settings.prefix}:current"
            before = str(server.getset(current, self.contents.digest) or "")
            if before in ("", self.contents.digest):
                return
            pipe = server.pipeline(transaction=False)
            for number, key in enumerate(server.scan_iter(f"{self.settings.prefix}:{before}:*", BATCH), 1):
                pipe.expire(key, self.settings.keep_seconds)
                if number % BATCH == 0:
                    pipe.execute()
            pipe.execute()

    def _key(self, *parts: str) -> str:
        return ":".join((self.settings.prefix, self.contents.digest, *parts))

    @contextmanager
    def _connected(self) -> Iterator[redis.Redis]:
        """A connection; what the server says becomes ExportFailed."""
        try:
            import redis
        except ImportError:
            raise ConfigError("export redis needs the package redis: pip install redis") from None
        uri = server_uri("redis://:PASSWORD@HOST:6379/0")
        with client_errors("redis", uri), redis.Redis.from_url(uri, decode_responses=True) as server:
            yield server
