"""Files of an artefact that are what its receipt says, byte for byte, before anything is read from them.

A file is hashed once in a process: as long as its place, size and time of change stay, it is not hashed again. For one
question, which reads little of large tables, they are hashed in blocks too, whose sha256 are in a file that the receipt
names: a block is verified before anything is read from it, and what is not read is not hashed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artefacts.read import AGAIN, read_json
from pipeline.errors import ShardCorrupt
from pipeline.storage.documents import Json
from pipeline.storage.files import sha256_of
from pipeline.workspace import CARD, RECEIPT

# What was hashed: of a file's device, inode, size and times of change, its sha256.
_hashed: dict[tuple[int, ...], str] = {}
MOST_HASHED = 10_000
CARD_SHA256 = "card_sha256"
# Of a file of 1 GB 4,000 blocks, and a question hashes a few of them.
BLOCKS, BLOCK_BYTES = "blocks.json", 1 << 18


@dataclass(frozen=True)
class _Files:
    """What is read of a folder's receipt."""

    files: dict[str, str]
    details: Json


@dataclass(frozen=True)
class _Blocks:
    """`blocks.json`: how many bytes a block has, and of each file the sha256 of its blocks."""

    block_bytes: int
    sha256: dict[str, list[str]]


class Blocks:
    """The blocks of a file that is mapped. data: all of it. sha256: of each block."""

    def __init__(self, path: Path, data: memoryview, sha256: Sequence[str], hint: str = AGAIN) -> None:
        """Raises ShardCorrupt if the file has another number of blocks."""
        self._path, self._data, self._sha256, self._hint = path, data, sha256, hint
        self._verified: set[int] = set()
        if len(sha256) != -(-len(data) // BLOCK_BYTES):
            raise self._changed()

    def number(self, from_end: int) -> int:
        """The number of four bytes, the lowest first, that begins so many bytes before the end."""
        start = max(len(self._data) - from_end, 0)
        return int.from_bytes(self._data[start : start + 4], "little")

    def verify_end(self, count: int) -> None:
        """Verifies the blocks that hold the last bytes. Raises as `verify`."""
        self.verify(max(len(self._data) - count, 0), len(self._data))

    def verify(self, start: int, stop: int) -> None:
        """Verifies the blocks that hold some bytes. Raises ShardCorrupt if one is not what it was."""
        wanted = range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES))
        for block in set(wanted).difference(self._verified):
            bytes_of = self._data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            if block >= len(self._sha256) or hashlib.sha256(bytes_of).hexdigest() != self._sha256[block]:
                raise self._changed()
            self._verified.add(block)

    def _changed(self) -> ShardCorrupt:
        return ShardCorrupt(f"{self._path}: its bytes are not those of its receipt (sha256); {self._hint}")


def write_blocks(folder: Path, names: Iterable[str]) -> None:
    """Writes `blocks.json` of some files of a folder, before the folder's receipt, which names it."""
    hashes: dict[str, list[str]] = {}
    for name in names:
        with open(folder / name, "rb") as file:
            blocks = iter(lambda file=file: file.read(BLOCK_BYTES), b"")  # type: ignore[misc]
            hashes[name] = [hashlib.sha256(block).hexdigest() for block in blocks]
    (folder / BLOCKS).write_text(json.dumps({"block_bytes": BLOCK_BYTES, "sha256": hashes}), "utf-8")


def blocks_of(path: Path, hint: str = AGAIN) -> dict[str, list[str]]:
    """The sha256 of the blocks of each file that a `blocks.json` names; none where blocks were of another size then.

    Raises ShardCorrupt if it is not that.
    """
    document = read_json(path, _Blocks, hint)
    return dict(document["sha256"]) if document["block_bytes"] == BLOCK_BYTES else {}


def sha256_by_name(folder: Path, hint: str = AGAIN) -> dict[str, str]:
    """The sha256 of each file of a committed folder, by its path in it. Raises ShardCorrupt without a receipt.

    That of the card is in what its maker noted, as no digest names it.
    """
    receipt = read_json(folder / RECEIPT, _Files, hint)
    named = {path.partition(f"/{folder.name}/")[2]: sha256 for path, sha256 in receipt["files"].items()}
    card = receipt["details"].get(CARD_SHA256)
    return named | ({} if card is None else {CARD: str(card)})


def verified(path: Path, sha256: str | None, hint: str = AGAIN) -> None:
    """Raises ShardCorrupt if a file is gone, is named in no receipt (None), or has another sha256 than it says."""
    if sha256 is None:
        raise ShardCorrupt(f"{path}: the receipt of its folder does not name it; {hint}")
    try:
        state = path.stat()
        known = state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
        actual = _hashed.get(known) or sha256_of(path)
    except OSError as error:
        raise ShardCorrupt(f"{path}: cannot be read ({error.strerror}); {hint}") from None
    if len(_hashed) >= MOST_HASHED:
        _hashed.clear()
    _hashed[known] = actual
    if actual != sha256:
        raise ShardCorrupt(f"{path}: its bytes are not those of its receipt (sha256); {hint}")
