"""A night's embedding shards, bucket by bucket: the order of the catalogue, and of every item's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.read import readable
from pipeline.artefacts.vectors import matrix
from pipeline.config import Modality
from pipeline.errors import ShardCorrupt
from pipeline.fusion.moments import Vectors

# Means, deviations and axes come from the first buckets that hold so many rows: a bucket is a random part of the
# catalogue, and the error of a deviation from so many rows is .3 %.
SAMPLE_ROWS = 65_536
REMOVE = "remove it and run the night again"


class Shards:
    """The shards of every modality, one a bucket, in the same order of buckets."""

    def __init__(self, paths: Mapping[Modality, Sequence[Path]]) -> None:
        self.paths = {modality: list(found) for modality, found in paths.items()}
        first = next(iter(self.paths.values()))
        rows = [_open(path).metadata.num_rows for path in first]
        self.starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        """(buckets + 1,) int64: the code of each bucket's first item, and the number of items."""

    @property
    def modalities(self) -> list[Modality]:
        """The modalities, in their order."""
        return list(self.paths)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def items(self) -> int:
        """The number of items."""
        return int(self.starts[-1])

    def name(self, bucket: int) -> str:
        """The bucket's name, such as bucket-00007."""
        return next(iter(self.paths.values()))[bucket].name.rsplit("-", 1)[0]

    def read(self, bucket: int) -> tuple[pa.ChunkedArray, dict[Modality, Vectors]]:
        """The item ids of a bucket, and modality to (n, d) float32, NaN where missing.

        Raises ShardCorrupt if a shard cannot be read or the modalities hold different items.
        """
        tables = {m: _table(paths[bucket]) for m, paths in self.paths.items()}
        ids = next(iter(tables.values()))["item_id"]
        if any(not table["item_id"].equals(ids) for table in tables.values()):
            raise ShardCorrupt(
                f"{next(iter(self.paths.values()))[bucket]}: the modalities' shards hold different items; "
                "run with --full"
            )
        return ids, {m: matrix(table["vector"]) for m, table in tables.items()}

    def ids(self, bucket: int) -> pa.ChunkedArray:
        """The item ids of a bucket."""
        return _table(next(iter(self.paths.values()))[bucket], ["item_id"])["item_id"]

    def sampled(self) -> range:
        """The first buckets that together hold SAMPLE_ROWS items, or all."""
        return range(min(len(self), int(np.searchsorted(self.starts, SAMPLE_ROWS))))

    def present(self, modality: Modality) -> Iterator[Vectors]:
        """The vectors of a modality in the sampled buckets, (n, d), without the missing ones.

        Where these hold none, later buckets are read until one does.
        """
        any_yet, sampled = False, self.sampled()
        for bucket in range(len(self)):
            if any_yet and bucket not in sampled:
                return
            vectors = matrix(_table(self.paths[modality][bucket])["vector"])
            vectors = vectors[~np.isnan(vectors[:, 0])]
            if len(vectors):
                any_yet = True
                yield vectors


def _open(path: Path) -> pq.ParquetFile:
    with readable(path, hint=REMOVE):
        return pq.ParquetFile(path)


def _table(path: Path, columns: Sequence[str] = ("item_id", "vector")) -> pa.Table:
    with readable(path, hint=REMOVE):
        return pq.read_table(path, columns=list(columns), use_threads=False)
