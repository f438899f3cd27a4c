"""Media that the source gives as bytes, kept in the workspace by their hash: `media/<modality>/<two digits>/<sha256>`.

A staged item names one as `stored:<sha256>` where another has the path of a file; an item that has several names them
all, see `names_of`. A file is written once, however many nights and items have its bytes.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.base import SEPARATOR
from pipeline.errors import MediaError
from pipeline.media.files import read_media
from pipeline.storage import fetched

FOLDER, PREFIX = "media", "stored:"
# Of an item's media, more are not read.
MOST_LISTED = 16


def put(folder: Path, data: bytes) -> str:
    """Keeps a medium below `media/<modality>` and returns the name of it, for a staged item."""
    name = hashlib.sha256(data).hexdigest()
    path = folder / name[:2] / name
    try:
        # A sweep leaves what was wanted lately.
        os.utime(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{name}-{uuid.uuid4().hex}")
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    return PREFIX + name


def path_of(name: str) -> str:
    """Where a stored medium lies below the folder of its modality. name: as `put` returns it."""
    digits = name.removeprefix(PREFIX)
    return f"{digits[:2]}/{digits}"


def names_of(source: str) -> list[str]:
    """The names of an item's media, of which a staged item's column is most often one."""
    return source.split(SEPARATOR)[:MOST_LISTED]


def content_of(hashes: Sequence[bytes]) -> bytes:
    """The hash of several media by theirs, at least one; of one, its own."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(b"".join(hashes)).digest()


def read_medium(root: Path | None, stored: Path | None, source: str, max_bytes: int) -> bytes:
    """A medium's bytes: a file below `root`, or one that the workspace keeps below `stored`.

    source: its name. Raises MediaError as `read_media` does.
    """
    if source.startswith(PREFIX) and stored is not None:
        fetched(stored / path_of(source))
        return read_media(stored, path_of(source), max_bytes)
    if root is None:
        raise MediaError("no media folder: set source.media_root to where files are")
    return read_media(root, source, max_bytes)
