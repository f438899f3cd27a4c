"""Vectors and the log, between Parquet files and coded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.errors import ShardCorrupt
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.night import Night

PARTS = ("train", "validation", "test", "held_out")
MICROSECONDS_PER_DAY = 86_400e6


@dataclass(frozen=True)
class Log:
    """The staged log, coded: user and item codes are positions in `users` and in the catalogue's `items`.

    part: (n,) int8, position in PARTS. cold: (n_items,) bool, held out of the evaluated training.
    """

    users: list[str]
    items: list[str]
    cold: Mask
    interactions: Interactions
    part: np.ndarray

    def of(self, *parts: str) -> Interactions:
        """The interactions of some parts."""
        return self.interactions.subset(np.isin(self.part, [PARTS.index(part) for part in parts]))


def staged_items(night: Night, columns: Sequence[str] | None = None) -> pa.Table:
    """The catalogue in its fixed order: bucket after bucket, each sorted by item_id."""
    folder = night.workspace.path(night.receipt("ingest").path, "items")
    return pa.concat_tables(
        [pq.read_table(path, columns=columns) for path in sorted(folder.glob("bucket-*.parquet"))],
        promote_options="permissive",
    )


def read_log(night: Night) -> Log:
    """The staged log as arrays, sorted by user, then oldest first, then item."""
    catalogue = staged_items(night, ["item_id", "cold"])
    table = pq.read_table(night.workspace.path(night.receipt("ingest").path, "interactions.parquet"))
    users = pc.unique(table["user_id"]).to_pylist()
    age_us = pc.subtract(pc.max(table["ts"]).cast(pa.int64()), table["ts"].cast(pa.int64()))
    user = pc.index_in(table["user_id"], pa.array(users, pa.string())).to_numpy().astype(np.int32)
    item = pc.index_in(table["item_id"], catalogue["item_id"].combine_chunks()).to_numpy().astype(np.int32)
    age_days = age_us.to_numpy() / MICROSECONDS_PER_DAY
    weight = table["weight"].to_numpy().astype(np.float32)
    part = pc.index_in(table["part"], pa.array(PARTS)).to_numpy().astype(np.int8)
    order = np.lexsort((item, -age_days, user))
    interactions = Interactions(
        user[order], item[order], age_days[order], weight[order], len(users), catalogue.num_rows
    )
    cold = catalogue["cold"].to_numpy(zero_copy_only=False).astype(bool)
    return Log(users, catalogue["item_id"].to_pylist(), cold, interactions, part[order])


def vector_column(vectors: Floats, missing: Mask | None = None) -> pa.FixedSizeListArray:
    """Vectors of shape (n, d) as FixedSizeList<float32>[d], null where missing."""
    mask = None if missing is None else pa.array(missing, pa.bool_())
    flat = np.nan_to_num(np.ascontiguousarray(vectors, dtype=np.float32)).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1], mask=mask)


def write_vectors(path: Path, table: pa.Table) -> None:
    """Writes a table with a `vector` column; Parquet's dictionary and statistics only cost time there."""
    plain = [name for name in table.column_names if not pa.types.is_nested(table.schema.field(name).type)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=16_384, use_dictionary=plain, write_statistics=plain)


def matrix(column: pa.ChunkedArray | pa.Array) -> Floats:
    """A FixedSizeList column as shape (n, d) float32, NaN rows where null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.list_size
    flat = array.values.to_numpy(zero_copy_only=False).reshape(-1, width)
    vectors = flat[array.offset : array.offset + len(array)].astype(np.float32)
    if array.null_count:
        vectors[np.asarray(array.is_null())] = np.nan
    return vectors


def read_vectors(path: Path, key: str) -> tuple[list[str], Floats]:
    """The ids and vectors, (n, d) float32 with NaN rows where null, of a file or of a folder in its names' order.

    Raises ShardCorrupt if a file is not Parquet with those columns.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    try:
        table = ds.dataset([str(file) for file in files]).to_table(columns=[key, "vector"])
    except (pa.ArrowException, OSError) as error:
        raise ShardCorrupt(f"{path}: cannot be read ({error}); run the night again with --full") from None
    return table[key].to_pylist(), matrix(table["vector"])
