"""An inverted file of FAISS that is written to disk a block of vectors at a time, and searched there.

FAISS fills one in memory only, where it takes as much as all vectors, and up to twice that while lists grow. Here every
vector is written to its place: the file is what `faiss.write_index` writes of the same index, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config.kinds import Lazy
from pipeline.interactions import Floats, Int64s

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

LABEL_BYTES = 8
# What FAISS writes last of an index without vectors: that lists follow, how many, bytes a code, and that none is full.
LISTS, SPARSE, FULL = b"ilar", b"sprs", b"full"
NO_LISTS_BYTES = 32


class InvertedFile:
    """The index in a file: what is not in lists is in memory, and may be changed and saved; the lists are mapped."""

    def __init__(
        self, index: faiss.IndexIVF, path: Path, cell: Int64s, blocks: Iterable[tuple[Floats, Int64s]]
    ) -> None:
        """Writes the file.

        index: trained, and empty. cell: (n,) int64, of each vector. blocks: all vectors in order, (b, d) float32, and
        their labels, (b,) int64.
        """
        index.ntotal = len(cell)
        self.path, self.index = path, index
        self._sizes = np.bincount(cell, minlength=index.nlist)
        with path.open("wb") as file:
            file.write(self._head())
            file.flush()
            self._write_lists(file.fileno(), cell, blocks)
        mapped = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        assert isinstance(mapped, faiss.IndexIVF)
        mapped.own_invlists = False
        self._search(mapped.invlists)

    def save(self) -> None:
        """Writes again what is not in lists."""
        with self.path.open("r+b") as file:
            file.write(self._head())

    def _search(self, lists: faiss.InvertedLists | None) -> None:
        """Makes lists the index's own."""
        assert lists is not None
        self.index.replace_invlists(lists, True)

    def _head(self) -> bytes:
        """All that comes before the first vector."""
        index, lists = self.index, self.index.invlists
        empty = faiss.ArrayInvertedLists(index.nlist, index.code_size)
        index.own_invlists = False
        index.replace_invlists(empty, False)
        written = faiss.serialize_index(index).tobytes()
        self._search(lists)
        assert written[-NO_LISTS_BYTES:].startswith(LISTS)
        occupied = np.flatnonzero(self._sizes)
        if len(occupied) > len(self._sizes) // 2:
            kind, numbers = FULL, self._sizes
        else:
            kind, numbers = SPARSE, np.stack([occupied, self._sizes[occupied]], axis=1).ravel()
        counted = np.concatenate([[len(numbers)], numbers]).astype("<u8")
        return written[: -NO_LISTS_BYTES + 20] + kind + counted.tobytes()

    def _write_lists(self, file: int, cell: Int64s, blocks: Iterable[tuple[Floats, Int64s]]) -> None:
        code_size = int(self.index.code_size)
        sizes = self._sizes * (code_size + LABEL_BYTES)
        codes_at = os.fstat(file).st_size + np.cumsum(sizes) - sizes
        labels_at = codes_at + self._sizes * code_size
        # All room is taken first: where a disk is full, nothing is mapped that is not there.
        if sizes.any():
            os.posix_fallocate(file, 0, int(codes_at[-1] + sizes[-1]))
        start = 0
        for vectors, labels in blocks:
            own = cell[start : start + len(labels)]
            start += len(labels)
            order = np.argsort(own, kind="stable")
            codes, ordered = self._codes(vectors[order]), labels[order].astype("<i8")
            cells, first = np.unique(own[order], return_index=True)
            for one, low, high in zip(cells.tolist(), first.tolist(), [*first[1:].tolist(), len(own)], strict=True):
                _write(file, codes[low:high], int(codes_at[one]))
                _write(file, ordered[low:high], int(labels_at[one]))
            counts = np.diff(first, append=len(own))
            codes_at[cells] += counts * code_size
            labels_at[cells] += counts * LABEL_BYTES

    def _codes(self, vectors: Floats) -> npt.NDArray[np.uint8]:
        """(b, bytes) of vectors as the lists hold them."""
        vectors = np.ascontiguousarray(vectors)
        if isinstance(self.index, faiss.IndexIVFFlat):
            return vectors.view(np.uint8)
        assert isinstance(self.index, faiss.IndexIVFScalarQuantizer)
        return np.asarray(self.index.sq.compute_codes(vectors))


def _write(file: int, array: npt.NDArray[Any], at: int) -> None:
    """Writes all of an array: one call may write a part."""
    rest = array.reshape(-1).view(np.uint8).data
    while len(rest):
        count = os.pwrite(file, rest, at)
        rest, at = rest[count:], at + count
