"""Files of an artefact that are what its receipt says, byte for byte, before anything is read from them.

A file is hashed once in a process: as long as its place, size and time of change stay, it is not hashed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.artefacts.read import AGAIN, read_json
from pipeline.errors import ShardCorrupt
from pipeline.workspace import CARD, RECEIPT, Json, sha256_of

# What was hashed: of a file's device, inode, size and times of change, its sha256.
_hashed: dict[tuple[int, ...], str] = {}
MOST_HASHED = 10_000
CARD_SHA256 = "card_sha256"


@dataclass(frozen=True)
class _Files:
    """What is read of a folder's receipt."""

    files: dict[str, str]
    details: Json


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
