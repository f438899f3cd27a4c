"""Columns of vectors: what is written is read again, at any offset, with and without missing rows, in either type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.read import read_json, read_table
from pipeline.artefacts.vectors import matrix, read_vectors, vector_column, write_vectors
from pipeline.errors import ShardCorrupt

VECTORS = np.arange(24, dtype=np.float32).reshape(8, 3)
MISSING = np.array([False, True, False, False, True, False, False, False])
EXPECTED = np.where(MISSING[:, None], np.nan, VECTORS)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_column_is_read_as_it_was_written(dtype: type, tmp_path: Path) -> None:
    column = vector_column(EXPECTED.astype(dtype), MISSING)
    assert column.type.value_type == pa.from_numpy_dtype(dtype)
    for start, stop in [(0, 8), (1, 5), (4, 8), (3, 3)]:
        np.testing.assert_array_equal(matrix(column[start:stop]), EXPECTED[start:stop])
    chunks = pa.chunked_array([column[:3], column[2:2], column[3:]])
    np.testing.assert_array_equal(matrix(chunks), EXPECTED)
    write_vectors(tmp_path / "a.parquet", "item_id", list("abcdefgh"), EXPECTED.astype(dtype), MISSING)
    ids, vectors = read_vectors(tmp_path / "a.parquet", "item_id")
    assert ids == list("abcdefgh")
    np.testing.assert_array_equal(vectors, EXPECTED)
    vectors += 1  # it is the caller's own


def test_a_column_of_sliced_numbers_or_of_nulls_alone() -> None:
    numbers = pa.array(VECTORS.ravel())[6:18]
    np.testing.assert_array_equal(matrix(pa.FixedSizeListArray.from_arrays(numbers, 3)), VECTORS[2:6])
    assert np.isnan(matrix(pa.nulls(2, pa.list_(pa.float32(), 3)))).all()


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name, rows in (("bucket-1", slice(4, 8)), ("bucket-0", slice(0, 4))):
        write_vectors(tmp_path / f"{name}.parquet", "item_id", list("abcdefgh")[rows], VECTORS[rows])
    ids, vectors = read_vectors(tmp_path, "item_id")
    assert ids == list("abcdefgh")
    np.testing.assert_array_equal(vectors, VECTORS)


def test_a_file_is_read_group_by_group_also_where_there_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.artefacts.vectors.ROWS_PER_GROUP", 3)
    for name, rows in (("bucket-0", slice(0, 0)), ("bucket-1", slice(0, 5)), ("bucket-2", slice(5, 8))):
        write_vectors(tmp_path / f"{name}.parquet", "item_id", list("abcdefgh")[rows], VECTORS[rows], MISSING[rows])
    assert pq.ParquetFile(tmp_path / "bucket-1.parquet").num_row_groups == 2
    ids, vectors = read_vectors(tmp_path, "item_id")
    assert ids == list("abcdefgh")
    np.testing.assert_array_equal(vectors, EXPECTED)
    ids, vectors = read_vectors(tmp_path / "bucket-0.parquet", "item_id")
    assert (ids, vectors.shape) == ([], (0, 3))


def test_what_cannot_be_read_names_file_cause_and_way_out(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    for content in (None, b"no Parquet", b"PAR1"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ShardCorrupt, match=r"a\.parquet: cannot be read \(.+\); run the night again"):
            read_table(file)
    pq.write_table(pa.table({"item_id": ["a"]}), file)
    with pytest.raises(ShardCorrupt, match=r"vector.*--full"):
        read_vectors(file, "item_id")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ShardCorrupt, match="no JSON object"):
        read_json(tmp_path / "a.json")
