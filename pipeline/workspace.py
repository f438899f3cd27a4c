"""The workspace: immutable artefacts named by the digest of what made them, committed by rename, receipt last.

An artefact is a folder (`fused/<digest>`, its `receipt.json` inside) or one file (a shard, its receipt beside it).
It is written under `.tmp/`, synced, renamed, and counts only once its receipt names every file with size and sha256.
A process killed anywhere leaves either nothing or a whole artefact. `CURRENT.json` is the one file ever replaced.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline.errors import MedleyError, WorkspaceError

log = logging.getLogger("medley")

# A JSON object, as receipts and manifests are.
Json = dict[str, Any]
Found = TypeVar("Found")
RECEIPT = "receipt.json"
REMOVE = "remove it and run the night again"
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


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    """A folder in which runs leave their artefacts."""

    def __init__(self, root: Path, read_only: bool = False) -> None:
        """Opens or creates the folder. read_only: opens it as it is, whether it can be written or not.

        Raises WorkspaceError if it cannot be created or written, or is the prefix of an object store.
        """
        if "://" in str(root) or ":/" in str(root):
            raise WorkspaceError(f"workspace {root}: only local folders are supported; mount the store, or use a path")
        self.root = Path(root)
        if read_only:
            return
        try:
            (self.root / ".tmp").mkdir(parents=True, exist_ok=True)
            probe = self.root / ".tmp" / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise WorkspaceError(
                f"workspace {root}: {error.strerror}; give a folder that can be written as workspace"
            ) from None

    def path(self, *parts: str) -> Path:
        """A path below the workspace's folder."""
        return self.root.joinpath(*parts)

    def artefact(self, path: str) -> Artefact | None:
        """The committed artefact at `path`, or None if there is none, its receipt is broken, or one of its files is
        gone or of another size.

        It may lie elsewhere, see `commit_file`.
        """
        receipt = skip_broken(lambda: read_json(self._receipt(path), _Receipt))
        if receipt is None:
            return None
        artefact = Artefact(receipt["path"], receipt["files"], receipt["bytes"], receipt["details"])
        intact = all(_size(self.path(name)) == size for name, size in artefact.bytes.items())
        return artefact if intact else None

    def commit_folder(self, parent: str, name: str | None, build: Callable[[Path], Json]) -> Artefact:
        """Builds a folder under a temporary name and renames it; `build` writes into it and returns what to note.

        Without a name the folder is named by its content.
        """
        with _scratch_below(self.root) as scratch:
            details = build(scratch)
            files = sorted(p for p in scratch.rglob("*") if p.is_file())
            hashes = {str(p.relative_to(scratch)): _synced_sha256(p) for p in files if p.name != CARD}
            path = f"{parent}/{name or digest(hashes)}"
            artefact = Artefact(
                path,
                {f"{path}/{file}": sha256 for file, sha256 in hashes.items()},
                {f"{path}/{p.relative_to(scratch)}": p.stat().st_size for p in files},
                details,
            )
            _write_synced(scratch / RECEIPT, _text(artefact))
            for folder in [scratch, *(p for p in scratch.rglob("*") if p.is_dir())]:
                _sync(folder)
            self._put(scratch, self.path(path))
        return artefact

    def commit_file(self, path: str, build: Callable[[Path], Json]) -> Artefact:
        """Builds one file under a temporary name, renames it, then writes its receipt beside it.

        `build` may note another `name` than the path's, which then is the file's; and, with it, `settled`: the path's
        own receipt then says where the file is, or else the next one that looks there builds it again.
        """
        with _scratch_below(self.root) as scratch:
            temporary = scratch / Path(path).name
            details = build(temporary)
            asked, path = path, str(Path(path).with_name(str(details.pop("name", temporary.name))))
            settled = bool(details.pop("settled", False))
            sha256 = _synced_sha256(temporary)
            artefact = Artefact(path, {path: sha256}, {path: temporary.stat().st_size}, details)
            self._put(temporary, self.path(path))
        for place in (path, asked) if settled else (path,):
            self.write_json(str(self._receipt(place).relative_to(self.root)), artefact)
        return artefact

    def write_json(self, path: str, value: object) -> None:
        """Replaces a JSON file atomically."""
        self.write_text(path, _text(value))

    def write_text(self, path: str, text: str) -> None:
        """Replaces a text file atomically."""
        with _scratch_below(self.root) as scratch:
            temporary = scratch / "file"
            _write_synced(temporary, text)
            target = self.path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, target)
            _sync(target.parent)

    def read_json(self, path: str) -> Json | None:
        """The JSON object at `path`, or None where there is none. Raises as the function of this name."""
        return read_json(self.path(path))

    def remove(self, path: str) -> None:
        """Removes an artefact, its receipt first, so that a kill in between leaves it uncommitted."""
        self._receipt(path).unlink(missing_ok=True)
        target = self.path(path)
        shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)

    def _receipt(self, path: str) -> Path:
        target = self.path(path)
        return target.with_suffix(".json") if target.suffix else target / RECEIPT

    def _put(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            _mend(source, target)
        else:
            os.replace(source, target)
        _sync(target.parent)


@contextmanager
def _scratch_below(root: Path) -> Iterator[Path]:
    """A temporary folder in the workspace's own file system, so that a rename out of it is atomic."""
    path = root / ".tmp" / uuid.uuid4().hex
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _mend(source: Path, target: Path) -> None:
    """Replaces the files of a folder that differ, one by one and the receipt last: no name is ever gone meanwhile."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda file: file.name == RECEIPT):
        place = target / path.relative_to(source)
        if not place.is_file() or sha256_of(place) != sha256_of(path):
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)


def read_json(path: Path, shape: object = Json, hint: str = REMOVE) -> Json | None:
    """The JSON object in a file, or None where there is none.

    shape: a type, such as a dataclass, whose fields it must have, each of its type; it may have more. hint: the way
    out. Raises WorkspaceError if the file cannot be read, or is cut, empty or of another shape.
    """
    try:
        text = path.read_bytes()
        document: Json = adapter(Json).validate_json(text)
        adapter(shape).validate_json(text, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot be read ({error.strerror}); {hint}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        fault = f"not what Medley writes, {place}: {first['msg']}" if place else f"no JSON object: {first['msg']}"
        raise WorkspaceError(f"{path}: {fault}; {hint}") from None
    return document


def skip_broken(read: Callable[[], Found]) -> Found | None:
    """What is read of an earlier run, or of what can be made again; None where it is broken, which is warned of once.

    read: raises MedleyError where what it reads is not what it should be.
    """
    try:
        return read()
    except MedleyError as error:
        _warn_once(str(error))
        return None


@cache
def _warn_once(fault: str) -> None:
    log.warning("skipped as if it were not there: %s", fault)


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What makes a dataclass, and those in it, of the JSON that it was written as; making one takes a millisecond."""
    return TypeAdapter(kind)


def _text(value: object) -> str:
    plain = value.__dict__ if isinstance(value, Artefact) else value
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, default=_plain) + "\n"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _synced_sha256(path: Path) -> str:
    _sync(path)
    return sha256_of(path)


def _write_synced(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
