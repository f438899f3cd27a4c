"""Projected modalities of a catalogue, by the items' codes: in memory, in a file, or made from the shards when asked.

A projected modality is a modality's vectors brought to the fused width, unit norm; see `pipeline.fusion.base`.
Shapes: n items, m modalities, w the fused width.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.fusion.moments import Vectors
from pipeline.interactions import Int64s

if TYPE_CHECKING:
    from pipeline.artefacts.shards import Shards
    from pipeline.fusion.base import Frontend

Mask = npt.NDArray[np.bool_]
BUCKETS_IN_MEMORY = 8


class Projected(Protocol):
    """Where projected modalities are read from."""

    def read(self, codes: Int64s) -> tuple[Vectors, Mask]:
        """Vectors (n, m, w) float32, zero where missing, and mask (n, m) of those items, the caller's to change."""


class InMemory:
    """Projected modalities given as arrays (n, m, w) and (n, m)."""

    def __init__(self, vectors: Vectors, mask: Mask) -> None:
        self.vectors, self.mask = vectors, mask

    def read(self, codes: Int64s) -> tuple[Vectors, Mask]:
        """See Projected."""
        return self.vectors[codes], self.mask[codes]


class InFile:
    """A file of n × m × w: the operating system keeps in memory what is read, and drops it when it must."""

    def __init__(self, path: Path, items: int, modalities: int, width: int, dtype: npt.DTypeLike = np.float16) -> None:
        self.path = path
        self.mask = np.zeros((items, modalities), dtype=bool)
        self._file = np.lib.format.open_memmap(path, "w+", dtype, (items, modalities, width))

    def __len__(self) -> int:
        return len(self.mask)

    def write(self, start: int, vectors: Vectors, mask: Mask) -> None:
        """Puts the vectors and the mask of consecutive items at their place."""
        self._file[start : start + len(vectors)] = vectors
        self.mask[start : start + len(vectors)] = mask

    def read(self, codes: Int64s) -> tuple[Vectors, Mask]:
        """See Projected."""
        return self._file[codes].astype(np.float32), self.mask[codes]

    def beside(self, name: str) -> InFile:
        """A file of the same items in the same folder, float32, that is still to be written."""
        items, modalities, width = self._file.shape
        return InFile(self.path.with_name(name), items, modalities, width, np.float32)


class FromShards:
    """Single items read from their shards and projected; the last few buckets stay in memory."""

    def __init__(self, shards: Shards, frontend: Frontend) -> None:
        self.shards, self.frontend = shards, frontend
        self._buckets: dict[int, tuple[Vectors, Mask]] = {}

    def read(self, codes: Int64s) -> tuple[Vectors, Mask]:
        """See Projected. Raises ShardCorrupt if a shard cannot be read."""
        buckets = np.searchsorted(self.shards.starts, codes, side="right") - 1
        shape = (len(codes), len(self.frontend.modalities))
        vectors, mask = np.zeros((*shape, self.frontend.width), np.float32), np.zeros(shape, bool)
        for bucket in np.unique(buckets):
            here = buckets == bucket
            rows = codes[here] - self.shards.starts[bucket]
            bucket_vectors, bucket_mask = self._bucket(int(bucket))
            vectors[here], mask[here] = bucket_vectors[rows], bucket_mask[rows]
        return vectors, mask

    def _bucket(self, bucket: int) -> tuple[Vectors, Mask]:
        if bucket not in self._buckets:
            while len(self._buckets) >= BUCKETS_IN_MEMORY:
                self._buckets.pop(next(iter(self._buckets)))
            self._buckets[bucket] = self.frontend.project(self.shards.read(bucket)[1])
        return self._buckets[bucket]
