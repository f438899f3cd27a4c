"""What encoding makes of rows, as columns: vectors, or reasons why there are none, and both by the rows' content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.interactions import Floats, Int64s, Mask

# (n,) S32: the sha256 of each row's content, zeros where it has none.
Hashes: TypeAlias = npt.NDArray[np.bytes_]
# (n,) object: why a row has no vector, None where it has one.
Reasons: TypeAlias = npt.NDArray[Any]
HASH = "S32"
NONE = b""


@dataclass(frozen=True)
class Failure:
    """Why one row has no vector. transient: the reason lies in the machine, so that another night tries again."""

    error: str
    transient: bool = False


@dataclass(frozen=True)
class Results:
    """Encoded rows. vectors: (n, d) float16, of unit norm, finite and of no meaning where there is none.

    errors: (n,), why there is no vector, None where there is one.

    transient: (n,) bool, the reason lies in the machine, so that another night tries again.
    """

    vectors: npt.NDArray[np.float16]
    errors: Reasons
    transient: Mask

    @classmethod
    def of(cls, vectors: Floats) -> Results:
        """Vectors of any length, (n, d) float32, as ones of unit norm; zero and what is not finite have none."""
        norms = np.linalg.norm(vectors, axis=1)
        finite = np.isfinite(norms)
        errors = np.full(len(vectors), None, object)
        errors[~finite] = "the vector is not finite"
        errors[norms == 0] = "the vector is zero"
        usable = finite & (norms > 0)
        units = np.zeros(vectors.shape, np.float16)
        units[usable] = vectors[usable] / norms[usable, None]
        return cls(units, errors, np.zeros(len(vectors), bool))

    @property
    def missing(self) -> Mask:
        """(n,) bool, whether a row has no vector."""
        return self.errors.astype(bool)


@dataclass(frozen=True)
class Encoded:
    """What is known of some contents, each by its hash."""

    hashes: Hashes
    results: Results

    @cached_property
    def order(self) -> Int64s:
        """The rows in the order of their hashes, the last of equal ones last."""
        return np.argsort(self.hashes, kind="stable")


class Contents:
    """The distinct contents of some rows, and what is known of each so far."""

    def __init__(self, hashes: Hashes) -> None:
        """hashes: of each row."""
        keys, first = np.unique(hashes, return_index=True)
        there = keys != NONE
        self._hashes, self._keys, self._first = hashes, keys[there], first[there]
        count = len(self._keys)
        self._known = np.zeros(count, bool)
        self._vectors = np.zeros((count, 0), np.float16)
        self._errors: Reasons = np.full(count, None, object)
        self._transient = np.zeros(count, bool)

    def lacking(self) -> Int64s:
        """The first row of each content that nothing is known of, in the rows' order."""
        return np.sort(self._first[~self._known])

    def lacks(self, hashes: Hashes) -> bool:
        """Whether one of these contents is among those that nothing is known of."""
        return bool(np.isin(self._keys[~self._known], hashes).any())

    def learn(self, encoded: Encoded) -> None:
        """Takes what is said of contents that nothing was known of."""
        if not len(encoded.hashes):
            return
        wanted = np.flatnonzero(~self._known)
        after = np.searchsorted(encoded.hashes, self._keys[wanted], side="right", sorter=encoded.order)
        rows = encoded.order[np.maximum(after - 1, 0)]
        same = encoded.hashes[rows] == self._keys[wanted]
        wanted, rows = wanted[same], rows[same]
        said = encoded.results
        there = ~said.missing[rows]
        if there.any():
            if not self._vectors.shape[1]:
                self._vectors = np.zeros((len(self._keys), said.vectors.shape[1]), np.float16)
            self._vectors[wanted[there]] = said.vectors[rows[there]]
        self._errors[wanted], self._transient[wanted] = said.errors[rows], said.transient[rows]
        self._known[wanted] = True

    def results(self, problems: Reasons) -> Results:
        """Each row's vector or reason. problems: why rows without content have none.

        The width is 0 where no row has a vector.
        """
        rows = self._hashes != NONE
        places = np.searchsorted(self._keys, self._hashes[rows])
        vectors = np.zeros((len(rows), self._vectors.shape[1]), np.float16)
        vectors[rows] = self._vectors[places]
        errors, transient = problems.copy(), np.zeros(len(rows), bool)
        errors[rows], transient[rows] = self._errors[places], self._transient[places]
        return Results(vectors, errors, transient)


def hashes_of(column: pa.ChunkedArray | pa.Array) -> Hashes:
    """A column of 32 bytes, null where a row has no content."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    hashes = np.zeros(len(column), HASH)
    start = 0
    for chunk in chunks:
        part = hashes[start : start + len(chunk)]
        part[:] = np.frombuffer(chunk.buffers()[1] or b"", HASH)[chunk.offset : chunk.offset + len(chunk)]
        part[np.asarray(chunk.is_null())] = NONE
        start += len(chunk)
    return hashes


def hash_column(hashes: Hashes) -> pa.FixedSizeBinaryArray:
    """The column that `hashes_of` reads."""
    valid = pa.array(hashes != NONE, pa.bool_()).buffers()[1]
    data = pa.py_buffer(np.ascontiguousarray(hashes).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(hashes), [valid, data])


def sha256_of_rows(vectors: Floats) -> Hashes:
    """The sha256 of the bytes of each vector, (n, d) float32."""
    data, width = memoryview(vectors.astype("<f4").tobytes()), 4 * vectors.shape[1]
    digests = (hashlib.sha256(data[start : start + width]).digest() for start in range(0, len(data), width))
    return np.frombuffer(b"".join(digests), HASH)
