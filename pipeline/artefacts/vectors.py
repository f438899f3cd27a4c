"""Vectors in Parquet files: columns of FixedSizeList<float32 or float16>[d], null where an item or a user has none."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artefacts.read import FULL, read_blocks, read_some, readable, schema_of
from pipeline.artefacts.write import writer
from pipeline.errors import ShardCorrupt, StepFailed
from pipeline.interactions import Floats, Int64s, Mask

ROWS_PER_GROUP = 16_384
# How far a norm may be from 1, which float16 leaves it nearer than.
UNIT = 1e-2
Ids: TypeAlias = list[str] | pa.Array | pa.ChunkedArray


def vector_column(vectors: npt.NDArray[np.floating], missing: Mask | None = None) -> pa.FixedSizeListArray:
    """Vectors of shape (n, d) as a column of their own type, float16 or float32; null where missing.

    What is not finite in a missing row is written as 0.
    """
    mask = None if missing is None else pa.array(missing, pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(np.nan_to_num(vectors).ravel()), vectors.shape[1], mask=mask)


def write_vectors(
    path: Path, key: str, ids: Ids, vectors: Floats, missing: Mask | None = None, **further: pa.Array
) -> None:
    """Writes what `read_vectors` reads, and further columns. vectors: (n, d), null where missing."""
    column = pa.array(ids, pa.string()) if isinstance(ids, list) else ids
    blocks = (slice(start, start + ROWS_PER_GROUP) for start in range(0, max(len(vectors), 1), ROWS_PER_GROUP))
    write_groups(
        path,
        (
            pa.table(
                {
                    key: column[rows],
                    "vector": vector_column(vectors[rows], None if missing is None else missing[rows]),
                    **{name: values[rows] for name, values in further.items()},
                }
            )
            for rows in blocks
        ),
    )


def write_groups(path: Path, tables: Iterable[pa.Table]) -> None:
    """Writes tables of one schema, at least one, as groups of rows of a file; no more than one is in memory.

    Parquet's dictionary and statistics only cost time in a column of vectors.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    groups = iter(tables)
    table = next(groups)
    plain = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    with writer(path, table.schema, use_dictionary=plain, write_statistics=plain) as file:
        for group in chain([table], groups):
            file.write_table(group)


def matrix(column: pa.ChunkedArray | pa.Array) -> Floats:
    """A column of vectors as (n, d) float32, NaN rows where null: one copy, that may be written to."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    vectors = np.empty((len(column), column.type.list_size), np.float32)
    start = 0
    for chunk in chunks:
        _copy(chunk, vectors[start : start + len(chunk)])
        start += len(chunk)
    return vectors


def _copy(chunk: pa.Array, rows: Floats) -> None:
    rows[:] = _view(chunk)
    if chunk.null_count:
        rows[np.asarray(chunk.is_null())] = np.nan


def _view(chunk: pa.Array) -> npt.NDArray[np.floating]:
    """The numbers below a chunk as (n, d), not copied; null rows hold anything."""
    width, numbers = chunk.type.list_size, chunk.values
    _, data = numbers.buffers()
    if data is None:
        return np.zeros((len(chunk), width), np.float32)
    dtype = numbers.type.to_pandas_dtype()
    start = numbers.offset + chunk.offset * width
    flat = np.frombuffer(data, dtype, len(chunk) * width, start * np.dtype(dtype).itemsize)
    return flat.reshape(len(chunk), width)


def read_vectors(path: Path, key: str) -> tuple[list[str], Floats]:
    """The ids and vectors, (n, d) float32 with NaN rows where null, of a file or of a folder in its names' order.

    Raises ShardCorrupt if a file is not Parquet with those columns.
    """
    ids: list[str] = []
    vectors = np.empty((0, width_of(path)), np.float32)
    with readable(path, hint=FULL):
        # Not all at once: beside the vectors, a table of them would be as large again.
        for rows, block in read_blocks(path, [key, "vector"], FULL):
            if not len(vectors):
                vectors = np.empty((rows, vectors.shape[1]), np.float32)
            _copy(block["vector"], vectors[len(ids) : len(ids) + len(block)])
            ids += block[key].to_pylist()
    return ids, vectors


def read_rows(path: Path, rows: Int64s) -> Floats:
    """The vectors of some rows, sorted, of what `read_vectors` reads: (len(rows), d) float32. Raises as it does."""
    vectors = np.empty((len(rows), width_of(path)), np.float32)
    start = 0
    for block in read_some(path, ["vector"], rows, FULL):
        vectors[start : start + len(block)] = matrix(block["vector"])
        start += len(block)
    if start < len(rows):
        raise ShardCorrupt(f"{path}: has fewer rows than {rows[-1] + 1}; {FULL}")
    return vectors


def width_of(path: Path) -> int:
    """The d of what `read_vectors` reads. Raises as it does."""
    with readable(path, hint=FULL):
        return int(schema_of(path, FULL).field("vector").type.list_size)


def check_vectors(what: str, vectors: object, rows: int, width: int | None = None, unit: bool = False) -> None:
    """Raises StepFailed unless a kind of anybody's making gave (rows, width) finite numbers. what: the kind's name.

    width: any above 0 if None. unit: the rows must be of unit norm, or NaN where there is no vector.
    """
    matrix = np.asarray(vectors)
    shape = f"{rows} rows of {'some' if width is None else width} numbers"
    if matrix.ndim != 2 or len(matrix) != rows or matrix.shape[1] != (width or max(1, matrix.shape[1])):
        raise StepFailed(f"{what} gave shape {matrix.shape}; it must give {shape}")
    if matrix.dtype.kind not in "fiu":
        raise StepFailed(f"{what} gave {matrix.dtype}; it must give {shape}")
    present = matrix[~np.isnan(matrix).all(axis=1)] if unit else matrix
    faults = np.flatnonzero(~np.isfinite(present).all(axis=1))
    if len(faults):
        raise StepFailed(f"{what} gave {len(faults)} of {rows} rows that are not finite numbers throughout")
    norms = np.linalg.norm(present.astype(np.float32), axis=1) if unit else np.zeros(0)
    if len(norms) and np.abs(norms - 1).max() > UNIT:
        furthest = norms[np.abs(norms - 1).argmax()]
        raise StepFailed(f"{what} gave a vector of norm {furthest:.3g}; its vectors must be of unit norm")
