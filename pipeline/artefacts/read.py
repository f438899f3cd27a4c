"""The one way from a file that cannot be read, or is not what it should be, to a named error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from safetensors import SafetensorError

from pipeline.errors import ShardCorrupt

AGAIN = "run the night again"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, pa.ArrowException)


@contextmanager
def readable(path: Path, fault: str = "cannot be read", hint: str = AGAIN) -> Iterator[None]:
    """Around the reading of a file: what a damaged one makes libraries raise becomes ShardCorrupt.

    fault: what the file is then said to be, such as "no graph". hint: the way out.
    """
    try:
        yield
    except UNREADABLE as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ShardCorrupt(f"{path}: {fault} ({cause}); {hint}") from None


def read_table(
    path: Path, columns: Sequence[str] | None = None, where: ds.Expression | None = None, hint: str = AGAIN
) -> pa.Table:
    """A Parquet file, or a folder's in the order of their names; of them the columns and rows that are asked for.

    Raises ShardCorrupt if a file is not Parquet with these columns.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    with readable(path, hint=hint):
        dataset = ds.dataset([str(file) for file in files], format="parquet")
        return dataset.to_table(columns=None if columns is None else list(columns), filter=where)


def among(column: str, ids: Iterable[str] | None) -> ds.Expression | None:
    """For `read_table`: the rows whose text in a column is one of some, all rows for None."""
    return None if ids is None else ds.field(column).isin(pa.array(sorted(set(ids)), pa.string()))


def schema_of(path: Path) -> pa.Schema:
    """The columns of what `read_table` reads. Raises as it does."""
    return read_table(path, where=ds.scalar(False)).schema


def read_json(path: Path, hint: str = AGAIN) -> dict[str, object]:
    """A file that holds one JSON object. Raises ShardCorrupt if it does not."""
    with readable(path, "no JSON object", hint):
        return dict(json.loads(path.read_text("utf-8")))
