"""A file is read once, and again when its name, its size or its time of change says that it may differ."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.known_files import KnownFiles
from pipeline.errors import MediaError

OLD = 1_700_000_000_000_000_000
LIMIT = 1000


def put(path: Path, content: bytes, changed_ns: int = OLD) -> bytes:
    """Writes a file of a given time of change; returns the hash of what it holds."""
    path.write_bytes(content)
    os.utime(path, ns=(changed_ns, changed_ns))
    return hashlib.sha256(content).digest()


def again(known: KnownFiles) -> KnownFiles:
    return KnownFiles(known.table())


def test_a_file_of_known_name_size_and_time_is_not_read(tmp_path: Path) -> None:
    first = put(tmp_path / "a", b"one")
    known = KnownFiles()
    assert known.sha256(tmp_path, "a", LIMIT) == first
    other = put(tmp_path / "a", b"two")
    assert again(known).sha256(tmp_path, "a", LIMIT) == first, "its bytes were not looked at"
    assert KnownFiles().sha256(tmp_path, "a", LIMIT) == other


@pytest.mark.parametrize(("content", "changed_ns"), [(b"two", OLD + 1), (b"longer", OLD)])
def test_another_time_or_size_is_read(tmp_path: Path, content: bytes, changed_ns: int) -> None:
    put(tmp_path / "a", b"one")
    known = KnownFiles()
    known.sha256(tmp_path, "a", LIMIT)
    other = put(tmp_path / "a", content, changed_ns)
    assert again(known).sha256(tmp_path, "a", LIMIT) == other


@pytest.mark.parametrize("changed_ns", [0, 10**12])
def test_what_has_just_changed_or_lies_in_the_future_is_hashed_and_not_remembered(
    tmp_path: Path, changed_ns: int
) -> None:
    put(tmp_path / "a", b"one", time.time_ns() + changed_ns)
    known = KnownFiles()
    known.sha256(tmp_path, "a", LIMIT)
    assert known.table().num_rows == 0


def test_nothing_is_remembered_of_a_file_that_failed_or_was_not_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "a", b"one")
    put(tmp_path / "large", b"x" * (LIMIT + 1))
    known = KnownFiles()
    known.sha256(tmp_path, "a", LIMIT)
    for name in ("gone", "large", "../a"):
        with pytest.raises(MediaError):
            known.sha256(tmp_path, name, LIMIT)
    assert known.table()["path"].to_pylist() == [str((tmp_path / "a").resolve())]
    later = again(known)
    assert later.changed()
    later.sha256(tmp_path, "a", LIMIT)
    assert not later.changed()
    with pytest.raises(MediaError, match="3 bytes, over the limit of 2"):
        later.sha256(tmp_path, "a", 2)


def test_an_index_that_is_gone_or_damaged_knows_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a", b"one")
    known = KnownFiles()
    known.sha256(tmp_path, "a", LIMIT)
    pq.write_table(known.table(), tmp_path / "index.parquet")
    put(tmp_path / "a", b"two")
    assert KnownFiles.read(tmp_path / "index.parquet").sha256(tmp_path, "a", LIMIT) == hashlib.sha256(b"one").digest()
    (tmp_path / "damaged.parquet").write_bytes(b"no index")
    for name in ("gone.parquet", "damaged.parquet"):
        assert KnownFiles.read(tmp_path / name).sha256(tmp_path, "a", LIMIT) == hashlib.sha256(b"two").digest()
