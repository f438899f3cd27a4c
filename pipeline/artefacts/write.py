"""Writing Parquet: every page with a checksum, which `pipeline.artefacts.read` verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def writer(path: Path, schema: pa.Schema, **layout: Any) -> pq.ParquetWriter:
    """Writes tables one after the other, as a context. layout: see `pyarrow.parquet.ParquetWriter`."""
    return pq.ParquetWriter(path, schema, write_page_checksum=True, **layout)


def write_table(table: pa.Table, path: Path, row_group_size: int | None = None, **layout: Any) -> None:
    """Writes a table. layout: as of `writer`."""
    with writer(path, table.schema, **layout) as file:
        file.write_table(table, row_group_size)
