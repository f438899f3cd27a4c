"""Object stores: `s3://bucket/prefix`, `gs://…`, `az://…`, behind a folder of this machine that holds what is read.

Whatever is below such a folder is had by `fetched(path)`, which everything that opens a file of a workspace calls; a
path that is in no store is returned as it is. So a workspace in a store is read and written as any folder is:

- an artefact is fetched when it is first asked for, and stays: its name says what is in it. What a run noted, and
  `CURRENT.json`, are looked at again by each process, and fetched where they have changed;
- a file counts as changed when its ETag has: the time of change that it has here is made of both times, see `Entry`;
- a commit pushes all files of an artefact and the receipt last, so that a process killed anywhere leaves nothing or a
  whole artefact; `CURRENT.json` is replaced only if it still is what was read;
- requests that fail with 5xx, by a dropped connection or a time-out are tried again, longer and longer after each
  other, for RETRY_SECONDS; WORKERS of them are under way at once, and large files go in parts.

Credentials and endpoints are the environment's, see the README beside this.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import WorkspaceError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger("medley")
Result = TypeVar("Result")
WORKERS, PART_BYTES, RETRY_SECONDS = 8, 1 << 24, 180
REQUEST_SECONDS, CONNECT_SECONDS = 120, 10
# Of what is fetched, how long it stays on this machine after the store has lost it.
FORGET_SECONDS = 86_400
LISTED = 1000
SCRATCH = ".tmp"


@dataclass(frozen=True)
class Entry:
    """A file of a store. changed_ns: when, in nanoseconds of the epoch, whose fraction of a second is of its ETag: two
    files that were written within one second, and are as long, differ in it.
    """

    size: int
    changed_ns: int
    etag: str

    @staticmethod
    def of(meta: Any) -> Entry:
        """meta: as the library has it."""
        etag, seconds = str(meta["e_tag"] or ""), int(meta["last_modified"].timestamp())
        return Entry(int(meta["size"]), seconds * 10**9 + zlib.crc32(etag.encode()) % 10**9, etag)


class Store:
    """A prefix of an object store, and the folder of this machine that stands for it.

    Its paths are relative to both. Every method that asks the store raises WorkspaceError where that does not answer,
    or refuses. A listing is kept as long as the process; `forget` drops it. held: the artefacts that are here whole.
    """

    def __init__(self, address: str, folder: Path) -> None:
        """Raises WorkspaceError if the address is none, or the environment has no credentials that the store takes."""
        self.address, self.folder = address.rstrip("/"), folder
        self.held: set[str] = set()
        self._listed: dict[str, dict[str, Entry]] = {}
        self._lock, self._listing = Lock(), Lock()
        self.bytes_fetched = self.bytes_pushed = 0
        self._store: ObjectStore = self._asked("opened", lambda: _open(self.address))

    def entries(self, prefix: str = "") -> Mapping[str, Entry]:
        """The files whose path begins with a folder's, which ends in `/`; all for an empty one."""
        with self._listing:
            if prefix not in self._listed:
                above = next((listed for listed in self._listed if prefix.startswith(listed)), None)
                entries = self._listing_of(prefix) if above is None else self._listed[above]
                with self._lock:
                    self._listed[prefix] = {path: entry for path, entry in entries.items() if path.startswith(prefix)}
            return self._listed[prefix]

    def _listing_of(self, prefix: str) -> dict[str, Entry]:
        import obstore

        def listing() -> dict[str, Entry]:
            chunks = obstore.list(self._store, prefix=prefix.rstrip("/") or None, chunk_size=LISTED)
            return {str(meta["path"]): Entry.of(meta) for chunk in chunks for meta in chunk}

        return self._asked("listed", listing)

    def entry(self, path: str) -> Entry | None:
        """One file as it is now, None where there is none."""
        import obstore

        try:
            return Entry.of(self._asked("read", lambda: obstore.head(self._store, path)))
        except FileNotFoundError:
            return None

    def forget(self) -> None:
        """Drops what is known of the store: from now on it is asked again."""
        with self._listing, self._lock:
            self._listed.clear()
            self.held.clear()

    def fetch(self, wanted: Mapping[str, Entry]) -> None:
        """Brings files here that are not, or are not as they are there."""
        missing = {path: entry for path, entry in wanted.items() if not self._is_here(path, entry)}
        if missing:
            with ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(self._fetch, missing, missing.values()))

    def read(self, path: str, start: int, length: int) -> bytes:
        """Some bytes of a file. Raises FileNotFoundError if it is not there."""
        import obstore

        data = self._asked("read", lambda: obstore.get_range(self._store, path, start=start, length=length))
        with self._lock:
            self.bytes_fetched += len(data)
        return bytes(data)

    def whole(self, path: str, most_bytes: int) -> tuple[Entry, bytes]:
        """A file and its bytes, in one request; no bytes of one that has more than so many.

        Raises FileNotFoundError if it is not there.
        """
        import obstore

        def get() -> tuple[Entry, bytes]:
            answer = obstore.get(self._store, path)
            entry = Entry.of(answer.meta)
            return entry, bytes(answer.bytes()) if entry.size <= most_bytes else b""

        entry, data = self._asked("read", get)
        with self._lock:
            self.bytes_fetched += len(data)
        return entry, data

    def push(self, paths: Sequence[str], last: Sequence[str] = ()) -> None:
        """Brings files there, as they are here; `last` once all others are there, one after the other."""
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._push, paths))
        for path in last:
            self._push(path)

    def create(self, path: str, data: bytes) -> bool:
        """Writes a file where there is none; False where there is one of other bytes."""
        return self._put_if(path, data, "create")

    def replaced(self, path: str, data: bytes, expected: Callable[[bytes | None], bool]) -> bool:
        """Replaces a file if its bytes, None for no file, are as expected; False where they are not, or no longer."""
        entry = self.entry(path)
        if not expected(None if entry is None else self.whole(path, entry.size)[1]):
            return False
        return self._put_if(path, data, {"e_tag": entry.etag} if entry else "create")

    def remove(self, path: str, receipt: str) -> int:
        """Removes a file, or a folder's, there and here, the receipt first. Returns how many bytes went."""
        import obstore

        files = dict(self.entries(f"{path}/"))
        if not files:
            beside = self.entries(path.rpartition("/")[0] + "/")
            files = {name: beside[name] for name in (path, receipt) if name in beside}
        for some in ([receipt] if receipt in files else [], [name for name in files if name != receipt]):
            for start in range(0, len(some), LISTED):
                batch = some[start : start + LISTED]
                self._asked("removed", lambda batch=batch: obstore.delete(self._store, batch))  # type: ignore[misc]
            for name in some:
                (self.folder / name).unlink(missing_ok=True)
                self._note(name, None)
        return sum(entry.size for entry in files.values())

    def touch(self, path: str) -> None:
        """Has a file count as changed now."""
        if (entry := self.entry(path)) is not None:
            self.fetch({path: entry})
            self._push(path)

    def drop_lost(self) -> None:
        """Removes here, once a day, what the store has lost since, such as what a sweep elsewhere removed."""
        stamp, now = self.folder / SCRATCH / "looked", time.time()
        if stamp.exists() and now - stamp.stat().st_mtime < FORGET_SECONDS:
            return
        known = self.entries()
        stamp.touch()
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if name in known or name.startswith(SCRATCH) or not path.is_file():
                continue
            if path.stat().st_mtime < now - FORGET_SECONDS:
                path.unlink(missing_ok=True)

    def _is_here(self, path: str, entry: Entry) -> bool:
        try:
            status = (self.folder / path).stat()
        except OSError:
            return False
        return status.st_size == entry.size and (not _may_change(path) or status.st_mtime_ns == entry.changed_ns)

    def _fetch(self, path: str, entry: Entry) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / SCRATCH / uuid.uuid4().hex
        try:
            with open(temporary, "wb") as file:
                for start in range(0, entry.size, PART_BYTES):
                    file.write(self.read(path, start, min(PART_BYTES, entry.size - start)))
            os.utime(temporary, ns=(entry.changed_ns, entry.changed_ns))
            os.replace(temporary, target)
        except FileNotFoundError:
            raise WorkspaceError(f"{self.address}/{path}: was removed meanwhile; run it again") from None
        except OSError as error:
            raise WorkspaceError(f"{target}: {error.strerror}; make room below MEDLEY_CACHE") from None
        finally:
            temporary.unlink(missing_ok=True)

    def _push(self, path: str) -> None:
        import obstore

        local = self.folder / path
        size = local.stat().st_size

        def put() -> None:
            whole = size <= PART_BYTES
            parts = {"use_multipart": not whole, "chunk_size": PART_BYTES, "max_concurrency": WORKERS // 2}
            obstore.put(self._store, path, local.read_bytes() if whole else local, **parts)  # type: ignore[arg-type]

        self._asked("written", put)
        with self._lock:
            self.bytes_pushed += size
        if _may_change(path) and (entry := self.entry(path)):
            self._note(path, entry)
            os.utime(local, ns=(entry.changed_ns, entry.changed_ns))
        else:
            self._note(path, Entry(size, local.stat().st_mtime_ns, ""))

    def _put_if(self, path: str, data: bytes, mode: Any) -> bool:
        """Whether it was written. A request whose answer was lost, and was sent again, is refused for its own bytes."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._asked("written", lambda: obstore.put(self._store, path, data, mode=mode))
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            entry = self.entry(path)
            return entry is not None and entry.size == len(data) and self.read(path, 0, len(data)) == data
        if entry := self.entry(path):
            self._note(path, entry)
        return True

    def _note(self, path: str, entry: Entry | None) -> None:
        """Keeps what is known of the store true after this process has changed it."""
        with self._lock:
            for prefix, entries in self._listed.items():
                if path.startswith(prefix):
                    entries.pop(path, None)
                    if entry is not None:
                        entries[path] = entry

    def _asked(self, done: str, ask: Callable[[], Result]) -> Result:
        """What the store answers. Raises as the library where a file is not there, or not as it should be."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            return ask()
        except (FileNotFoundError, AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, ValueError, OSError) as error:
            cause = " ".join(str(error).split("\n\n")[0].split())[:300]
            raise WorkspaceError(
                f"{self.address} cannot be {done} ({cause}); see that the store answers, and that the environment has "
                "its endpoint and credentials"
            ) from None


def _may_change(path: str) -> bool:
    """Whether the name of a file does not tell what is in it."""
    return path.endswith(".json") or path.startswith("known/")


def _open(address: str) -> ObjectStore:
    from obstore.store import from_url

    retries = {"max_retries": 12, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    client = {
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
    }
    return from_url(address, retry_config=retries, client_options=client)  # type: ignore[call-overload]
