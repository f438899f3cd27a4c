"""Contents that are to be encoded again, although it is known why they have no vector: `retries/<modality>/`.

Each `medley errors --retry` leaves one Parquet file, named by its time, with one column: `content_hash`, 32 bytes. It
is an input like any other: what names a shard is also the newest request for one of its contents, so that nothing that
is there is written over or removed; and what a shard made before says of a content that failed no longer counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artefacts.encoded import HASH, Hashes, hash_column, hashes_of
from pipeline.artefacts.read import read_table
from pipeline.artefacts.write import write_table
from pipeline.config import Modality
from pipeline.interactions import Mask
from pipeline.storage.documents import Json
from pipeline.workspace import Workspace

FOLDER, COLUMN = "retries", "content_hash"
# (n,) text: the names of requests; a later one is the greater.
Names: TypeAlias = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Retries:
    """Every request for a modality. hashes: (n,), the contents, each once. newest: the last request for each."""

    hashes: Hashes = field(default_factory=lambda: np.zeros(0, HASH))
    newest: Names = field(default_factory=lambda: np.zeros(0, np.str_))

    @classmethod
    def read(cls, workspace: Workspace, modality: Modality) -> Retries:
        """All that was asked for so far. Raises ShardCorrupt if a request cannot be read."""
        asked: dict[bytes, str] = {}
        for path in map(workspace.path, sorted(workspace.changed(f"{FOLDER}/{modality}/*.parquet"))):
            asked |= dict.fromkeys(hashes_of(read_table(path, [COLUMN])[COLUMN]).tolist(), path.stem)
        return cls(np.array(list(asked), HASH), np.array(list(asked.values()), np.str_))

    def last(self, hashes: Hashes) -> str:
        """The newest request for any of some contents, empty if there is none."""
        return str(max(self.newest[np.isin(self.hashes, hashes)], default=""))

    def since(self, hashes: Hashes, request: str) -> Mask:
        """(n,) bool, which contents were asked for after a request."""
        return np.isin(hashes, self.hashes[self.newest > request])


def ask(workspace: Workspace, modality: Modality, hashes: Hashes) -> None:
    """Leaves a request for some contents."""

    def write(path: Path) -> Json:
        write_table(pa.table({COLUMN: hash_column(np.unique(hashes))}), path)
        return {"rows": len(hashes)}

    workspace.commit_file(f"{FOLDER}/{modality}/{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.parquet", write)
