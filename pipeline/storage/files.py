"""Files and folders that are on the disk once they are written, and replaced in one step."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch_below(root: Path) -> Iterator[Path]:
    """A temporary folder in the workspace's own file system, so that a rename out of it is atomic."""
    path = root / ".tmp" / uuid.uuid4().hex
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def mend(source: Path, target: Path, last: str) -> None:
    """Replaces the files of a folder that differ, one by one and those of a name last: no name is ever gone."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda file: file.name == last):
        place = target / path.relative_to(source)
        if not place.is_file() or sha256_of(place) != sha256_of(path):
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)


def synced_sha256(path: Path) -> str:
    """As `sha256_of`, of a file that is on the disk then."""
    sync(path)
    return sha256_of(path)


def write_synced(path: Path, text: str) -> None:
    """Writes a text file, which is on the disk then."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Has the disk hold what was written to a file, or what a folder names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
