from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.artefacts.known_files import KnownFiles
from pipeline.errors import MachineError, MediaError
from pipeline.media import find_media, read_media
from pipeline.storage import local, store_of
from pipeline.storage import store as stores
from tests.storage.conftest import Machine
from tests.storage.server import Server

FILES = {
    "a/one.jpg": b"one",
    "b c/ü.png": b"four",
    "50%.wav": b"percent",
    "..hidden.jpg": b"hidden",
    "large.jpg": b"x" * 1000,
}


@pytest.fixture
def root(address: str, machine: Machine) -> Path:
    """The folder that stands for a store of some files, beside which there is a secret one."""
    machine("a")
    store = stores.Store(address, Path())
    for name, data in FILES.items():
        assert store.create(name, data)
    assert stores.Store(address.rpartition("/")[0], Path()).create("secret.jpg", b"secret")
    return local(address)


@pytest.mark.parametrize(
    ("relative", "data"),
    [
        ("a/one.jpg", b"one"),
        (" a\\one.jpg ", b"one"),
        ("a/../a/one.jpg", b"one"),
        ("b%20c/%C3%BC.png", b"four"),
        ("b c/u\u0308.png", b"four"),
        ("50%.wav", b"percent"),
        ("a/one.jpg/", b"one"),
        ("..hidden.jpg", b"hidden"),
    ],
)
def test_a_file_is_found_by_its_name_as_other_programs_write_it(root: Path, relative: str, data: bytes) -> None:
    assert read_media(root, relative, 100) == data
    assert find_media(root, relative).read_bytes() == data
    assert KnownFiles().sha256(root, relative, 100) == KnownFiles().sha256(root, relative.strip(), 100)


@pytest.mark.parametrize(
    ("relative", "reason"),
    [
        ("../secret.jpg", "leaves the media root"),
        ("a/../../secret.jpg", "leaves the media root"),
        ("%2e%2e/secret.jpg", "file not found"),
        ("..\\secret.jpg", "file not found"),
        ("/etc/passwd", "leaves the media root"),
        ("https://example.org/one.jpg", "is not fetched"),
        ("s3://other/one.jpg", "is not fetched"),
        ("a", "file not found"),
        ("a/one\0.jpg", "file not found"),
        ("nothing.jpg", "file not found"),
        ("large.jpg", "1000 bytes, over the limit of 100"),
    ],
)
def test_what_leaves_the_prefix_or_is_too_large_is_refused(root: Path, relative: str, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        read_media(root, relative, 100)
    with pytest.raises(MediaError, match=reason):
        KnownFiles().sha256(root, relative, 100)


def test_the_address_of_a_file_below_the_root_is_its_path_and_of_any_other_is_refused(root: Path, address: str) -> None:
    assert read_media(root, f"{address}/a/one.jpg", 100) == b"one"
    for other in (f"{address}/../secret.jpg", f"{address}-other/a/one.jpg", f"{address.rpartition('/')[0]}/secret.jpg"):
        with pytest.raises(MediaError, match=r"leaves the media root|is not fetched"):
            read_media(root, other, 100)


def test_a_file_whose_etag_is_known_is_not_read_again(root: Path, address: str, machine: Machine) -> None:
    known = KnownFiles()
    before = {name: known.sha256(root, name, 10_000) for name in FILES}
    assert stores.Store(address, Path()).replaced("a/one.jpg", b"two", lambda _: True)
    machine("b")
    root = local(address)
    again = KnownFiles(known.table())
    with ThreadPoolExecutor(8) as pool:
        after = dict(zip(FILES, pool.map(lambda name: again.sha256(root, name, 10_000), FILES), strict=True))
    assert {name for name in FILES if after[name] != before[name]} == {"a/one.jpg"}
    place = store_of(root)
    assert place is not None
    assert place[0].bytes_fetched == len(b"two")


def test_a_store_that_does_not_answer_is_a_reason_of_the_machine(
    root: Path, address: str, machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "RETRY_SECONDS", 0)
    machine("b")
    server.fails = lambda *_: True
    with pytest.raises(MachineError, match="cannot be read"):
        read_media(local(address), "a/one.jpg", 100)
