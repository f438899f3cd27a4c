"""Media files: found below one root, bounded in size before a byte is read."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from pipeline.config import Config
from pipeline.config.base import MEDIA
from pipeline.config.shared import Array
from pipeline.errors import MediaError, SourceError
from pipeline.media import in_store
from pipeline.media.quoting import quoted
from pipeline.media.spelling import ADDRESS, spellings
from pipeline.storage import Store, is_address, local, store_of


def media_root(config: Config) -> Path | None:
    """The folder that media paths start at, or None where nothing is read from it or none is configured; of an object
    store, the folder of this machine that stands for it.

    Raises SourceError if it is not there.
    """
    read = config.extract.modalities()
    if not (MEDIA.intersection(read) or any(isinstance(settings, Array) for settings in read.values())):
        return None
    folder = config.source.media_root or config.source.params.get("root", "")
    if is_address(folder):
        return local(folder)
    if folder and not Path(folder).is_dir():
        raise SourceError(f"media folder {folder} does not exist; set source.media_root to where files are")
    return Path(folder) if folder else None


def find_media(root: Path, relative: str) -> Path:
    """Where a file below `root` is: by its literal name, else by how other programs may have written that name.

    Raises MediaError if the value is an address, if the path leaves the root (also through a link), or the file is
    absent or not a regular one.
    """
    if (store := store_at(root)) is not None:
        name, entry = in_store.find(store, relative)
        store.fetch({name: entry})
        return root / name
    if ADDRESS.match(relative):
        raise MediaError(f"an address is not fetched, give the path of a file below the media root: {quoted(relative)}")
    literal, *others = spellings(relative)
    base = os.path.realpath(root)
    try:
        return _below(base, literal)
    except MediaError:
        for other in others:
            with contextlib.suppress(MediaError):
                return _below(base, other)
        raise


def _below(base: str, relative: str) -> Path:
    try:
        path = os.path.realpath(os.path.join(base, relative))
        if os.path.commonpath([base, path]) != base:
            raise MediaError(f"path leaves the media root: {quoted(relative)}")
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise MediaError(f"not a regular file: {quoted(relative)}")
    except FileNotFoundError:
        raise MediaError(f"file not found: {quoted(relative)}") from None
    except (OSError, ValueError) as error:
        raise unreadable(relative, error) from None
    return Path(path)


def read_media(root: Path, relative: str, max_bytes: int) -> bytes:
    """Reads one file below `root`.

    Raises MediaError as `find_media` does, or if the file is larger than `max_bytes`.
    """
    if (store := store_at(root)) is not None:
        return in_store.read(store, relative, max_bytes, too_large)
    path = find_media(root, relative)
    try:
        if (size := path.stat().st_size) > max_bytes:
            raise MediaError(too_large(relative, size, max_bytes))
        with open(path, "rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise unreadable(relative, error) from None


def store_at(root: Path) -> Store | None:
    """The store that a folder stands for, if it does; one below a workspace's is a folder."""
    place = store_of(root)
    return place[0] if place is not None and place[1] == "." else None


def too_large(relative: str, size: int, max_bytes: int) -> str:
    """The reason why a file is not read."""
    return f"{size} bytes, over the limit of {max_bytes}: {quoted(relative)}"


def unreadable(relative: str, error: Exception) -> MediaError:
    """What the operating system says of a file, as a reason."""
    return MediaError(f"cannot be read ({getattr(error, 'strerror', None) or error}): {quoted(relative)}")
