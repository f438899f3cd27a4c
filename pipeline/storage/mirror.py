"""Which files of a workspace in an object store are brought here, and when.

An artefact is fetched whole, when a path in it is first asked for; see `DEPTHS`. What stands above artefacts, such as
all shards of an encoder, is never fetched for itself: `changed` lists what there is.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from threading import Lock

from pipeline.errors import WorkspaceError
from pipeline.storage.store import SCRATCH, Store

SCHEMES = ("s3://", "s3a://", "gs://", "az://", "abfs://", "abfss://")
# By the first part of a path, how many parts the name of an artefact has: of a folder, and of one file.
FOLDERS = {
    **dict.fromkeys(("staged", "fused", "models", "reranked", "evaluations", "index", "tunes", "runs", "retries"), 2),
    **dict.fromkeys(("encoders", "centres"), 3),
}
FILES = {**dict.fromkeys(("cells", "known"), 3), **dict.fromkeys(("embeddings", "shared", "profiles", "media"), 4)}
DEPTHS = FOLDERS | FILES
RUNS, DOCUMENT = "runs", ".json"
# Files that are no artefacts.
REPLACED = ("CURRENT.json", "staged/layout.json")


_stores: dict[Path, Store] = {}
_opening = Lock()


def is_address(place: object) -> bool:
    """Whether a place is in an object store, not a folder."""
    return str(place).startswith(SCHEMES)


def local(place: str | Path) -> Path:
    """The folder that stands for a place: of an object store one of this machine, which is opened; else itself.

    Raises WorkspaceError if the store cannot be opened.
    """
    if not is_address(place):
        if "://" in str(place):
            raise WorkspaceError(f"{place}: no store of this kind is known; give a folder, or {', '.join(SCHEMES)}…")
        return Path(place)
    address = str(place).rstrip("/")
    cache = Path(os.environ.get("MEDLEY_CACHE") or Path.home() / ".cache" / "medley")
    folder = cache.absolute() / hashlib.sha256(address.encode()).hexdigest()[:20]
    with _opening:
        if folder not in _stores:
            try:
                (folder / SCRATCH).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise WorkspaceError(f"{folder}: {error.strerror}; set MEDLEY_CACHE to a folder that can be") from None
            _stores[folder] = Store(address, folder)
    return folder


def store_of(path: Path) -> tuple[Store, str] | None:
    """The store that a path is of, and its path there; None for a path that is in none."""
    if not _stores:
        return None
    for folder, store in _stores.items():
        if path == folder or path.is_relative_to(folder):
            return store, path.relative_to(folder).as_posix()
    return None


def fetched(path: Path, alone: bool = False) -> Path:
    """The path itself; what it names in an object store has been brought here, with the artefact that it is of.

    alone: this file and no other. Raises WorkspaceError if the store does not answer.
    """
    if (place := store_of(path)) is not None:
        store, name = place
        parts = name.split("/")
        if name in REPLACED:
            _fetch_replaced(store, name)
        elif parts[0] in DEPTHS and len(parts) >= DEPTHS[parts[0]]:
            _fetch_artefact(store, parts, alone)
    return path


def _fetch_replaced(store: Store, name: str) -> None:
    """Of a file that is replaced, such as `CURRENT.json`, the store is asked each time."""
    if (entry := store.entry(name)) is not None:
        store.fetch({name: entry})
    else:
        (store.folder / name).unlink(missing_ok=True)


def _fetch_artefact(store: Store, parts: list[str], alone: bool) -> None:
    """Of a run its documents; a report, and what TensorBoard reads, only for who asks for them."""
    name, kind = "/".join(parts), parts[0]
    path, depth = PurePosixPath(name), DEPTHS[kind]
    single = alone or kind in FILES or (kind == RUNS and len(parts) > depth and path.suffix != DOCUMENT)
    artefact = name if single else "/".join(parts[:depth])
    if artefact in store.held:
        return
    files = store.entries(f"{path.parent if single else artefact}/")
    if single:
        names = {name} if alone else {name, str(path.with_suffix(DOCUMENT))}
        files = {file: entry for file, entry in files.items() if file in names}
    elif kind == RUNS:
        files = {file: entry for file, entry in files.items() if file.endswith(DOCUMENT)}
    store.fetch(files)
    if files:
        store.held.add(artefact)


def size_of(path: Path) -> int:
    """A file's size, in its store if it is of one; -1 where it is not there."""
    if (place := store_of(path)) is not None:
        store, name = place
        entry = store.entries(name.rpartition("/")[0] + "/").get(name)
        return -1 if entry is None else entry.size
    try:
        return path.stat().st_size
    except OSError:
        return -1


def changed(root: Path, *patterns: str) -> dict[str, float]:
    """Every path of some patterns below a folder, and when it was last changed, in seconds of the epoch.

    A folder of a store changed when the last of its files did.
    """
    moments: dict[str, float] = {}
    place = store_of(root)
    for pattern in patterns:
        if place is None or pattern.startswith(SCRATCH):
            moments |= _changed_here(root, pattern)
            continue
        depth, above = pattern.count("/") + 1, pattern.partition("*")[0].rpartition("/")[0]
        for name, entry in place[0].entries(f"{above}/" if above else "").items():
            path = "/".join(name.split("/")[:depth])
            if PurePosixPath(path).match(pattern):
                moments[path] = max(moments.get(path, 0), entry.changed_ns / 1e9)
    return moments


def _changed_here(root: Path, pattern: str) -> dict[str, float]:
    moments = {}
    for path in root.glob(pattern):
        try:
            moments[path.relative_to(root).as_posix()] = path.stat().st_mtime
        except FileNotFoundError:  # another run ends meanwhile
            continue
    return moments
