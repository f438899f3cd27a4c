"""Pictures and clips of published items: below the media folder or kept in the workspace, and of no other kind.

A client names an item and never a file. What an item names is read as a night reads it: nothing outside the folder,
bounded before it is decoded. A picture goes out as a small JPEG made of it; a clip as it is, if its first bytes are a
sound's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import ValidationError

from pipeline.artefacts.runs import opened_run
from pipeline.config.sections import Source
from pipeline.errors import MediaError
from pipeline.media import find_media
from pipeline.media.first_bytes import kind_of
from pipeline.media.mpeg import is_adts, is_frame
from pipeline.media.stored import FOLDER, PREFIX, names_of, path_of, read_medium
from pipeline.report.pictures import MAX_BYTES, Size, thumbnail
from pipeline.storage import fetched, is_address, local

# Longest side in pixels: on a card, and alone. A thumbnail of a card takes about 20 kB.
SIZES = {"card": Size(320, 80), "whole": Size(960, 85)}
KEPT_THUMBNAILS = 512
_SOUNDS = (
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "audio/webm"),
    (b".snd", "audio/basic"),
    (b"caff", "audio/x-caf"),
)


@dataclass(frozen=True)
class MediaFiles:
    """root: the media folder, None where it is not known or not there. workspace: which keeps what came as bytes."""

    root: Path | None
    workspace: Path

    @staticmethod
    def of_run(workspace: Path, run_id: str) -> MediaFiles:
        """Where the media of a run's items are, by what it was configured with."""
        opened = opened_run(workspace / "runs" / run_id)
        try:
            source = Source.model_validate((opened or {}).get("config", {}).get("source", {}))
        except ValidationError:  # of another version
            return MediaFiles(None, workspace)
        folder = source.media_root or source.params.get("root", "")
        if is_address(folder):
            return MediaFiles(local(folder), workspace)
        return MediaFiles(Path(folder) if folder and Path(folder).is_dir() else None, workspace)

    def picture(self, names: str, size: str) -> bytes:
        """A JPEG of an item's first picture. names: as `items.parquet` has them. size: one of SIZES.

        Raises MediaError if there is none that can be read.
        """
        made = self._thumbnails(names_of(names)[0], size)
        if isinstance(made, str):
            raise MediaError(made)
        return made

    @cached_property
    def _thumbnails(self):  # type: ignore[no-untyped-def]
        stored = self.workspace / FOLDER / "image"

        @lru_cache(KEPT_THUMBNAILS)
        def made(name: str, size: str) -> bytes | str:
            data = read_medium(self.root, stored, name, MAX_BYTES)
            try:
                return thumbnail(data, SIZES[size])
            except MediaError as error:
                # Kept too: to find out can take longest. A file that cannot be opened may be there later.
                return str(error)

        return made

    def clip(self, names: str) -> tuple[Path, str]:
        """The file of an item's first clip, and its media type. Raises MediaError if it is not there, or no sound."""
        name = names_of(names)[0]
        if name.startswith(PREFIX):
            stored = self.workspace / FOLDER / "audio"
            fetched(stored / path_of(name))
            path = find_media(stored, path_of(name))
        elif self.root is None:
            raise MediaError("no media folder is known")
        else:
            path = find_media(self.root, name)
        try:
            with open(path, "rb") as file:
                head = file.read(64)
        except OSError as error:
            raise MediaError(f"cannot be read ({error.strerror})") from None
        return path, _sound_type(head)


def _sound_type(head: bytes) -> str:
    """The media type of a sound by its first bytes. Raises MediaError if it is none."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "audio/aiff"
    if head[4:8] == b"ftyp" and head[8:11] in (b"M4A", b"mp4", b"iso", b"M4B", b"das"):
        return "audio/mp4"
    for magic, kind in _SOUNDS:
        if head.startswith(magic):
            return kind
    if is_adts(head):
        return "audio/aac"
    if is_frame(head):
        return "audio/mpeg"
    raise MediaError(f"not a clip ({kind_of(head)})")
