"""Media files that an earlier night has hashed: `known/<modality>/bucket-00007.parquet`.

They are known by path, size and time of change: a file with all three unchanged is not read again. A file that changed
within RACY_NS before it was read may change once more in the same tick of its file system's clock, so it is hashed but
not remembered, as git does with its index. What failed is not remembered either: the next night tries again.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pyarrow as pa

from pipeline.artefacts.read import read_table
from pipeline.errors import MediaError, ShardCorrupt
from pipeline.media import in_store
from pipeline.media.files import find_media, read_media, store_at, too_large, unreadable

RACY_NS = 2_000_000_000
SCHEMA = pa.schema({"path": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64(), "sha256": pa.binary(32)})
State = tuple[str, int, int]


class KnownFiles:
    """The hashes of one bucket's files; any thread may ask."""

    def __init__(self, earlier: pa.Table | None = None) -> None:
        """earlier: what `table` gave the last time, None where every file is to be read."""
        rows = [] if earlier is None else zip(*(earlier[name].to_pylist() for name in SCHEMA.names), strict=True)
        self._earlier: dict[State, bytes] = {(path, size, mtime): sha256 for path, size, mtime, sha256 in rows}
        self._tonight: dict[State, bytes] = {}

    @classmethod
    def read(cls, path: Path) -> KnownFiles:
        """What an earlier night left; nothing is known where that is gone or cannot be read."""
        try:
            return cls(read_table(path, SCHEMA.names) if path.exists() else None)
        except ShardCorrupt:
            return cls()

    def sha256(self, root: Path, relative: str, max_bytes: int) -> bytes:
        """The sha256 of the bytes of a file below `root`, which is read unless it is known.

        Raises MediaError as `read_media` does.
        """
        if (store := store_at(root)) is not None:
            name, entry = in_store.find(store, relative, listed=True)
            if entry.size > max_bytes:
                raise MediaError(too_large(relative, entry.size, max_bytes))
            known = name, entry.size, entry.changed_ns
            data = None if known in self._earlier else read_media(root, name, max_bytes)
            self._tonight[known] = self._earlier[known] if data is None else hashlib.sha256(data).digest()
            return self._tonight[known]
        path = find_media(root, relative)
        try:
            now = time.time_ns()
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size > max_bytes:
                    raise MediaError(too_large(relative, status.st_size, max_bytes))
                state = str(path), status.st_size, status.st_mtime_ns
                sha256 = self._earlier.get(state) or hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise unreadable(relative, error) from None
        if status.st_mtime_ns < now - RACY_NS:
            self._tonight[state] = sha256
        return sha256

    def table(self) -> pa.Table:
        """What may be known the next night: the files that were asked for, sorted by path."""
        rows = [(*state, sha256) for state, sha256 in sorted(self._tonight.items())]
        return pa.table([[row[place] for row in rows] for place in range(len(SCHEMA))], schema=SCHEMA)

    def changed(self) -> bool:
        """Whether `table` differs from what was known before."""
        return self._tonight != self._earlier
