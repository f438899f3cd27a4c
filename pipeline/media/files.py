"""Media files: read below one root, bounded in size before a byte is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipeline.errors import MediaError


def read_media(root: Path, relative: str, max_bytes: int) -> bytes:
    """Reads one file below `root`.

    Raises MediaError if the path leaves the root (also through a link), or the file is absent, not a regular file,
    or larger than `max_bytes`.
    """
    base = os.path.realpath(root)
    try:
        path = os.path.realpath(os.path.join(base, relative))
        if os.path.commonpath([base, path]) != base:
            raise MediaError(f"path leaves the media root: {relative}")
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"not a regular file: {relative}")
        if status.st_size > max_bytes:
            raise MediaError(f"{status.st_size} bytes, over the limit of {max_bytes}: {relative}")
        with open(path, "rb") as file:
            return file.read(max_bytes)
    except FileNotFoundError:
        raise MediaError(f"file not found: {relative}") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"cannot be read ({getattr(error, 'strerror', None) or error}): {relative}") from None
