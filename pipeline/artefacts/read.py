"""The one way from a file that cannot be read, or is not what it should be, to a named error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ShardCorrupt, WorkspaceError
from pipeline.storage.documents import Json
from pipeline.storage.documents import read_json as read_optional

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.dataset as ds

AGAIN = "run the night again"
FULL = "run the night again with --full"
# A page of which a bit has changed is refused, not used.
VERIFIED = {"page_checksum_verification": True}


@contextmanager
def readable(path: Path, fault: str = "cannot be read", hint: str = AGAIN) -> Iterator[None]:
    """Around the reading of a file: what a damaged one makes libraries raise becomes ShardCorrupt.

    fault: what the file is then said to be, such as "no graph". hint: the way out.
    """
    try:
        yield
    except _unreadable() as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ShardCorrupt(f"{path}: {fault} ({cause}); {hint}") from None


def _unreadable() -> tuple[type[Exception], ...]:
    """What a damaged file makes the libraries raise. They are imported only where something is raised."""
    import pyarrow as pa
    from safetensors import SafetensorError

    return OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError, pa.ArrowException


def read_table(
    path: Path, columns: Sequence[str] | None = None, where: ds.Expression | None = None, hint: str = AGAIN
) -> pa.Table:
    """A Parquet file, or a folder's in the order of their names; of them the columns and rows that are asked for.

    Raises ShardCorrupt if a file is not Parquet with these columns.
    """
    import pyarrow.dataset as ds

    with readable(path, hint=hint):
        parquet = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(**VERIFIED))
        dataset = ds.dataset([str(file) for file in _files(path)], format=parquet)
        return dataset.to_table(columns=None if columns is None else list(columns), filter=where)


def read_blocks(path: Path, columns: Sequence[str], hint: str = AGAIN) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Some rows at a time, each with the number of rows of all: no more than a file's group of rows is in memory.

    Raises ShardCorrupt if a file is not Parquet with these columns.
    """
    import pyarrow.parquet as pq

    rows = rows_of(path, hint)
    with readable(path, hint=hint):
        for part in _files(path):
            with pq.ParquetFile(part, **VERIFIED) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, list(columns)).select(list(columns))
                    yield from ((rows, batch) for batch in table.to_batches())


def read_some(path: Path, columns: Sequence[str], rows: npt.NDArray[np.int64], hint: str = AGAIN) -> Iterator[pa.Table]:
    """Some rows, sorted, by their numbers in what `read_table` reads; a group of rows with none of them is not read.

    Raises ShardCorrupt if a file is not Parquet with these columns.
    """
    import pyarrow.parquet as pq

    start = 0
    with readable(path, hint=hint):
        for part in _files(path):
            with pq.ParquetFile(part, **VERIFIED) as file:
                for group in range(file.num_row_groups):
                    end = start + file.metadata.row_group(group).num_rows
                    low, high = rows.searchsorted([start, end])
                    if low < high:
                        yield file.read_row_group(group, list(columns)).take(rows[low:high] - start)
                    start = end


def rows_of(path: Path, hint: str = AGAIN) -> int:
    """The number of rows of what `read_table` reads. Raises as it does."""
    import pyarrow.parquet as pq

    with readable(path, hint=hint):
        return sum(int(pq.read_metadata(file).num_rows) for file in _files(path))


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def among(column: str, ids: Iterable[str] | None) -> ds.Expression | None:
    """For `read_table`: the rows whose text in a column is one of some, all rows for None."""
    if ids is None:
        return None
    import pyarrow as pa
    import pyarrow.dataset as ds

    return ds.field(column).isin(pa.array(sorted(set(ids)), pa.string()))


def schema_of(path: Path, hint: str = AGAIN) -> pa.Schema:
    """The columns of what `read_table` reads. Raises as it does."""
    import pyarrow.dataset as ds

    return read_table(path, where=ds.scalar(False), hint=hint).schema


def read_json(path: Path, shape: object = Json, hint: str = AGAIN) -> Json:
    """A file that holds one JSON object. shape: see `pipeline.workspace.read_json`.

    Raises ShardCorrupt if it is not there, or not that.
    """
    try:
        document = read_optional(path, shape, hint)
    except WorkspaceError as error:
        raise ShardCorrupt(str(error)) from None
    if document is None:
        raise ShardCorrupt(f"{path}: is gone; {hint}")
    return document
