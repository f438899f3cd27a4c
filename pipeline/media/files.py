"""Media files: found below one root, bounded in size before a byte is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipeline.config import Config
from pipeline.config.base import MEDIA
from pipeline.config.shared import Array
from pipeline.errors import MediaError, SourceError


def media_root(config: Config) -> Path | None:
    """The folder that media paths start at, or None where nothing is read from it or none is configured.

    Raises SourceError if it is not there.
    """
    read = config.extract.modalities()
    if not (MEDIA.intersection(read) or any(isinstance(settings, Array) for settings in read.values())):
        return None
    folder = config.source.media_root or config.source.params.get("root", "")
    if folder and not Path(folder).is_dir():
        raise SourceError(f"media folder {folder} does not exist; set source.media_root to where files are")
    return Path(folder) if folder else None


def find_media(root: Path, relative: str) -> Path:
    """Where a file below `root` is.

    Raises MediaError if the path leaves the root (also through a link), or the file is absent or not a regular one.
    """
    base = os.path.realpath(root)
    try:
        path = os.path.realpath(os.path.join(base, relative))
        if os.path.commonpath([base, path]) != base:
            raise MediaError(f"path leaves the media root: {relative}")
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise MediaError(f"not a regular file: {relative}")
    except FileNotFoundError:
        raise MediaError(f"file not found: {relative}") from None
    except (OSError, ValueError) as error:
        raise unreadable(relative, error) from None
    return Path(path)


def read_media(root: Path, relative: str, max_bytes: int) -> bytes:
    """Reads one file below `root`.

    Raises MediaError if the path leaves the root (also through a link), or the file is absent, not a regular file,
    or larger than `max_bytes`.
    """
    path = find_media(root, relative)
    try:
        if (size := path.stat().st_size) > max_bytes:
            raise MediaError(too_large(relative, size, max_bytes))
        with open(path, "rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise unreadable(relative, error) from None


def too_large(relative: str, size: int, max_bytes: int) -> str:
    """The reason why a file is not read."""
    return f"{size} bytes, over the limit of {max_bytes}: {relative}"


def unreadable(relative: str, error: Exception) -> MediaError:
    """What the operating system says of a file, as a reason."""
    return MediaError(f"cannot be read ({getattr(error, 'strerror', None) or error}): {relative}")
