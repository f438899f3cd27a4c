"""Media files in an object store: below its prefix, bounded in size before their bytes are read.

An item names one by its path below the prefix, written as `pipeline.media.files` allows, or by its whole address.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import TypeVar

from pipeline.errors import MachineError, MediaError, WorkspaceError
from pipeline.media.quoting import quoted
from pipeline.media.spelling import ADDRESS, spellings
from pipeline.storage import Store
from pipeline.storage.store import Entry

Result = TypeVar("Result")


def read(store: Store, relative: str, max_bytes: int, too_large: Callable[[str, int, int], str]) -> bytes:
    """A file's bytes. too_large: the reason for a file, its size and the limit. Raises MediaError as `read_media`."""

    def whole(name: str) -> tuple[Entry, bytes]:
        return store.whole(name, max_bytes)

    entry, data = _first(store, relative, whole)
    if entry.size > max_bytes:
        raise MediaError(too_large(relative, entry.size, max_bytes))
    return data


def find(store: Store, relative: str, listed: bool = False) -> tuple[str, Entry]:
    """A file's path in the store, and what it is now; or, `listed`, what it was when the whole store was listed, which
    is asked once. Raises MediaError as `find_media`.
    """

    def known(name: str) -> tuple[str, Entry]:
        entry = store.entries().get(name) if listed else store.entry(name)
        if entry is None:
            raise FileNotFoundError
        return name, entry

    return _first(store, relative, known)


def _first(store: Store, relative: str, ask: Callable[[str], Result]) -> Result:
    """What is asked of the first spelling of a path that is there."""
    for name in _names(store, relative):
        try:
            return ask(name)
        except FileNotFoundError:
            continue
        except WorkspaceError as error:
            raise MachineError(str(error)) from None
    raise MediaError(f"file not found: {quoted(relative)}")


def _names(store: Store, relative: str) -> Iterator[str]:
    """The spellings of a path below the store's prefix. Raises MediaError if the first one leaves it."""
    below = relative.strip().removeprefix(f"{store.address}/") if ADDRESS.match(relative) else relative
    if ADDRESS.match(below):
        raise MediaError(f"an address outside {store.address} is not fetched: {quoted(relative)}")
    literal = True
    for spelling in spellings(below):
        name = posixpath.normpath(spelling)
        if name.startswith(("/", "../")) or name in (".", ".."):
            if literal:
                raise MediaError(f"path leaves the media root: {quoted(relative)}")
        elif "\0" not in name:
            yield name
        literal = False
