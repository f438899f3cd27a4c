"""The workspace: immutable artefacts named by the digest of what made them, committed by rename, receipt last.

An artefact is a folder (`fused/<digest>`, its `receipt.json` inside) or one file (a shard, its receipt beside it).
It is written under `.tmp/`, synced, renamed, and counts only once its receipt names every file with size and sha256.
A process killed anywhere leaves either nothing or a whole artefact. `CURRENT.json` is the one file ever replaced.
It lies in a folder, or in an object store, for which a folder of this machine stands, see `pipeline.storage`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from pipeline.errors import WorkspaceError
from pipeline.storage import changed, fetched, local, size_of, store_of
from pipeline.storage.documents import Json, read_json, skip_broken
from pipeline.storage.files import locked, mend, scratch_below, sync, synced_sha256, write_synced

RECEIPT = "receipt.json"
# An index's card holds measured times, as receipts do: it is committed with its folder, and no digest names it.
CARD = "card.json"


def digest(*parts: object) -> str:
    """The name of what is made from `parts`: 20 hex digits of the sha256 of their canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no canonical form")


@dataclass(frozen=True)
class Artefact:
    """A committed folder or file: its path in the workspace, its files' sha256 and sizes, and what its maker noted."""

    path: str
    files: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    details: Json = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest in its name."""
        return Path(self.path).stem.rsplit("-", 1)[-1]


@dataclass(frozen=True)
class _Receipt:
    """What is read of an artefact's receipt."""

    path: str
    files: dict[str, str]
    bytes: dict[str, int]
    details: Json


class Workspace:
    """A place in which runs leave their artefacts.

    place: as it was given. root: its folder, or the one of this machine that stands for its store.
    """

    def __init__(self, place: str | Path, read_only: bool = False) -> None:
        """Opens or creates it. place: a folder, or `s3://bucket/prefix` and its like. read_only: opens it as it is,
        whether it can be written or not.

        Raises WorkspaceError if it cannot be created or written, or the store cannot be opened.
        """
        self.root, self.place = local(place), str(place)
        self._store = store[0] if (store := store_of(self.root)) else None
        if self._store is not None and not read_only:
            self._store.drop_lost()
        if read_only:
            return
        try:
            (self.root / ".tmp").mkdir(parents=True, exist_ok=True)
            probe = self.root / ".tmp" / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise WorkspaceError(
                f"workspace {place}: {error.strerror}; give a folder that can be written as workspace"
            ) from None

    def path(self, *parts: str) -> Path:
        """A path below the workspace's folder, where the artefact that it is in lies whole, if it is there at all."""
        return fetched(self.root.joinpath(*parts))

    def look_again(self) -> None:
        """Forgets what is known of what others have left in a store, which is listed once a process."""
        if self._store is not None:
            self._store.forget()

    def changed(self, *patterns: str) -> dict[str, float]:
        """The paths of some patterns, and when each was last changed, in seconds of the epoch; nothing is read."""
        return changed(self.root, *patterns)

    def artefact(self, path: str) -> Artefact | None:
        """The committed artefact at `path`, or None if there is none, its receipt is broken, or one of its files is
        gone or of another size.

        It may lie elsewhere, see `commit_file`.
        """
        place = fetched(self._receipt(path), alone=True)
        receipt = skip_broken(lambda: read_json(place, _Receipt)) if size_of(place) >= 0 else None
        if receipt is None:
            return None
        artefact = Artefact(receipt["path"], receipt["files"], receipt["bytes"], receipt["details"])
        intact = all(size_of(self.root / name) == size for name, size in artefact.bytes.items())
        return artefact if intact else None

    def commit_folder(self, parent: str, name: str | None, build: Callable[[Path], Json]) -> Artefact:
        """Builds a folder under a temporary name and renames it; `build` writes into it and returns what to note.

        Without a name the folder is named by its content.
        """
        with scratch_below(self.root) as scratch:
            details = build(scratch)
            files = sorted(p for p in scratch.rglob("*") if p.is_file())
            hashes = {str(p.relative_to(scratch)): synced_sha256(p) for p in files if p.name != CARD}
            path = f"{parent}/{name or digest(hashes)}"
            artefact = Artefact(
                path,
                {f"{path}/{file}": sha256 for file, sha256 in hashes.items()},
                {f"{path}/{p.relative_to(scratch)}": p.stat().st_size for p in files},
                details,
            )
            write_synced(scratch / RECEIPT, _text(artefact))
            for folder in [scratch, *(p for p in scratch.rglob("*") if p.is_dir())]:
                sync(folder)
            self._put(scratch, self.root / path)
            self._push(artefact.bytes, f"{path}/{RECEIPT}")
        return artefact

    def commit_file(self, path: str, build: Callable[[Path], Json]) -> Artefact:
        """Builds one file under a temporary name, renames it, then writes its receipt beside it.

        `build` may note another `name` than the path's, which then is the file's; and, with it, `settled`: the path's
        own receipt then says where the file is, or else the next one that looks there builds it again.
        """
        with scratch_below(self.root) as scratch:
            temporary = scratch / Path(path).name
            details = build(temporary)
            asked, path = path, str(Path(path).with_name(str(details.pop("name", temporary.name))))
            settled = bool(details.pop("settled", False))
            sha256 = synced_sha256(temporary)
            artefact = Artefact(path, {path: sha256}, {path: temporary.stat().st_size}, details)
            self._put(temporary, self.root / path)
            self._push(artefact.bytes)
        for place in (path, asked) if settled else (path,):
            self.write_json(str(self._receipt(place).relative_to(self.root)), artefact)
        return artefact

    def write_json(self, path: str, value: object) -> None:
        """Replaces a JSON file atomically."""
        self.write_text(path, _text(value))

    def write_text(self, path: str, text: str) -> None:
        """Replaces a text file atomically."""
        with scratch_below(self.root) as scratch:
            temporary = scratch / "file"
            write_synced(temporary, text)
            self.put(temporary, path)

    def put(self, file: Path, path: str) -> None:
        """Moves a finished file of `.tmp` to its place."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        sync(target.parent)
        self._push(path)

    def create_json(self, path: str, value: object) -> bool:
        """Writes a JSON file where there is none; False where there is one, of somebody who came first."""
        if self._store is not None:
            return self._store.create(path, _text(value).encode())
        with scratch_below(self.root) as scratch:
            write_synced(scratch / "file", _text(value))
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(scratch / "file", target)
            except FileExistsError:
                return False
        return True

    def replace_json(self, path: str, value: object, before: Json | None) -> bool:
        """Replaces a JSON file if it still is what it was, `before`, None for not there; False where it is not."""
        if self._store is None:
            with locked(self.root / ".tmp" / "replaced.lock"):
                if same := skip_broken(lambda: read_json(self.root / path)) == before:
                    self.write_json(path, value)
            return same
        return self._store.replaced(path, _text(value).encode(), lambda text: _parsed(text) == before)

    def share(self, folder: str) -> None:
        """Has the workspace's store have what a library has written into a folder of it, and is not there yet."""
        if self._store is not None:
            here = (
                file.relative_to(self.root).as_posix() for file in (self.root / folder).rglob("*") if file.is_file()
            )
            there = self._store.entries(f"{folder}/")
            self._store.push([name for name in here if name not in there])

    def touch(self, path: str) -> None:
        """Has an artefact count as changed now, if it is there."""
        if self._store is not None:
            self._store.touch(self._receipt(path).relative_to(self.root).as_posix())
            return
        with suppress(OSError):
            os.utime(self.root / path)

    def read_json(self, path: str) -> Json | None:
        """The JSON object at `path`, or None where there is none. Raises as the function of this name."""
        return read_json(self.path(path))

    def remove(self, path: str) -> int:
        """Removes an artefact or a run, its receipt first, so that a kill in between leaves it uncommitted.

        Returns how many bytes went.
        """
        receipt, target = self._receipt(path), self.root / path
        freed = 0
        if self._store is not None and not path.startswith(".tmp/"):
            freed = self._store.remove(path, receipt.relative_to(self.root).as_posix())
        else:
            for file in {receipt, target, *target.rglob("*")}:
                with suppress(FileNotFoundError, NotADirectoryError):  # another run ends meanwhile; a file without one
                    freed += file.stat().st_size if file.is_file() else 0
        with suppress(NotADirectoryError):  # of a file without one
            receipt.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)
        return freed

    def _receipt(self, path: str) -> Path:
        target = self.root / path
        return target.with_suffix(".json") if target.suffix else target / RECEIPT

    def _push(self, files: Iterable[str] | str, receipt: str = "") -> None:
        if self._store is not None:
            self._store.push([files] if isinstance(files, str) else list(files), [receipt] if receipt else [])

    def _put(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            mend(source, target, RECEIPT)
        else:
            os.replace(source, target)
        sync(target.parent)


def _parsed(text: bytes | None) -> Json | None:
    """A document of a store; None where there is none, or it is broken, as `skip_broken` reads it here."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def _text(value: object) -> str:
    plain = value.__dict__ if isinstance(value, Artefact) else value
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, default=_plain) + "\n"
