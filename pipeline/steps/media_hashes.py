"""The hashes of the media that staged items name, so that the next step knows what has changed without decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefacts.known_files import KnownFiles
from pipeline.artefacts.read import read_table
from pipeline.artefacts.write import write_table
from pipeline.config import Modality
from pipeline.config.base import SEPARATOR
from pipeline.errors import MediaError, SourceError
from pipeline.media import media_root
from pipeline.media.files import too_large
from pipeline.media.stored import FOLDER, MOST_LISTED, PREFIX, content_of, names_of, put
from pipeline.night import Night
from pipeline.source.columns import BYTES
from pipeline.storage.documents import Json

READERS = 8
# How the reason begins of a file that is not there.
ABSENT = "file not found"

# The hash of what an item's column names, and why there is none.
Hash = tuple[bytes | None, str | None]


def with_hashes(night: Night, items: pa.Table, modality: Modality, name: str) -> pa.Table:
    """A bucket's items with the hash of what each one's column names, or why there is none.

    Bytes are kept in the workspace, and the column names them. name: of the bucket's file. Raises SourceError if files
    are named and no media folder is set.
    """
    root, path = media_root(night.config), f"known/{modality}/{name}"
    max_bytes = getattr(night.config.extract.modalities()[modality], "max_bytes", 0)
    sources = items[modality].to_pylist()
    given = items[modality + BYTES].to_pylist() if modality + BYTES in items.column_names else [None] * len(items)
    if root is None and any(sources):
        raise SourceError(
            f"source.items: {modality} names files such as {next(filter(None, sources))}, and no media folder is set; "
            f"set source.media_root to theirs, or extract.{modality}: null"
        )
    trusted = night.config.ingest.trust_times and not night.full
    known = KnownFiles.read(night.workspace.path(path)) if trusted else KnownFiles()
    sha256 = partial(known.sha256, root or Path(), max_bytes=max_bytes)
    stored = partial(_store, night.workspace.path(FOLDER, modality), max_bytes)

    def hashed(source: str | None, data: bytes | list[bytes] | None) -> tuple[str | None, Hash]:
        media = [stored(each) for each in ([data] if isinstance(data, bytes) else data or []) if each]
        if source or not media:
            media += [(name, _hash(name, modality, sha256)) for name in names_of(source or "")]
        return _together(media[:MOST_LISTED])

    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(hashed, sources, given))
    if known.changed():
        night.workspace.commit_file(path, lambda file: _write(known.table(), file))
    return _with_columns(items, modality, [source for source, _ in rows], [each for _, each in rows])


def check_any(night: Night, items: Path, modality: Modality) -> None:
    """Raises SourceError if no medium that staged items name can be read, most as they are not there.

    items: the folder of the staged items.
    """
    staged = read_table(items, ["item_id", f"{modality}_hash", f"{modality}_problem"])
    problems = staged.filter(pc.not_equal(pc.field(f"{modality}_problem"), f"no {modality}"))
    absent = pc.sum(pc.starts_with(problems[f"{modality}_problem"], ABSENT)).as_py()
    if len(problems) and absent > len(problems) / 2 and staged[f"{modality}_hash"].null_count == len(staged):
        item_id, problem = (problems[name][0].as_py() for name in ("item_id", f"{modality}_problem"))
        raise SourceError(
            f"no {modality} of the {len(problems)} that items name is below {media_root(night.config)}, such as that "
            f"of {item_id}: {problem}; set source.media_root, or extract.{modality}: null"
        )


def _together(media: Sequence[tuple[str | None, Hash]]) -> tuple[str | None, Hash]:
    """An item's media, at least one, as one: all their names, and the hash of those that can be read, if any."""
    hashes = [sha256 for _, (sha256, _) in media if sha256]
    names = [name for name, _ in media if name]
    return SEPARATOR.join(names) or None, (content_of(hashes), None) if hashes else media[0][1]


def _hash(source: str | None, modality: str, sha256: Callable[[str], bytes]) -> Hash:
    """The hash of what an item's column names, or why there is none."""
    if not source:
        return None, f"no {modality}"
    try:
        return sha256(source), None
    except MediaError as error:
        return None, str(error)


def _store(folder: Path, max_bytes: int, data: bytes) -> tuple[str | None, Hash]:
    """Keeps what the source gives as bytes: what the staged item names, and its hash, or why there is none."""
    if len(data) > max_bytes:
        return None, (None, too_large("bytes of the source", len(data), max_bytes))
    name = put(folder, data)
    return name, (bytes.fromhex(name.removeprefix(PREFIX)), None)


def _with_columns(table: pa.Table, modality: str, names: Sequence[str | None], hashes: Sequence[Hash]) -> pa.Table:
    table = table.set_column(table.column_names.index(modality), modality, pa.array(names, pa.string()))
    values = pa.array([sha256 for sha256, _ in hashes], pa.binary(32))
    problems = pa.array([problem for _, problem in hashes], pa.string())
    return table.append_column(f"{modality}_hash", values).append_column(f"{modality}_problem", problems)


def _write(table: pa.Table, path: Path) -> Json:
    write_table(table, path)
    return {}
