from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.mapped import MappedTable
from pipeline.artefacts.published import ITEMS, Published
from pipeline.artefacts.read import read_blocks, read_table
from pipeline.artefacts.shards import read_encoded
from pipeline.artefacts.write import write_table
from pipeline.errors import ShardCorrupt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten items in groups of three rows."""
    table = pa.table({"item_id": [f"i{9 - row}" for row in range(10)], "row": range(10)})
    pq.write_table(table, tmp_path / ITEMS, row_group_size=3)
    return tmp_path / ITEMS


@pytest.mark.parametrize("rows", [[0], [9], [2, 3], [8, 1, 5, 1], list(range(10)), []])
def test_rows_come_as_they_are_asked_for_whatever_their_groups(path: Path, rows: list[int]) -> None:
    table = MappedTable(path)
    assert (len(table), table.names) == (10, ["item_id", "row"])
    assert table.at(rows, ["row"])["row"].to_pylist() == rows
    assert table.at(rows).column_names == ["item_id", "row"]


def test_a_row_that_is_not_there_is_a_file_that_is_not_what_it_was(path: Path) -> None:
    with pytest.raises(ShardCorrupt, match="run it"):
        MappedTable(path, "run it").at([10], ["row"])
    with pytest.raises(ShardCorrupt, match="run it"):
        MappedTable(path, "run it").at([1], ["price"])


def test_rows_of_some_ids_are_read_from_the_groups_that_may_hold_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, groups = MappedTable(path), []
    read = MappedTable._groups
    monkeypatch.setattr(MappedTable, "_groups", lambda self, some, of: groups.extend(some) or read(self, some, of))
    assert table.of("item_id", ["i0", "i7", "nothing"], ["row"])["row"].to_pylist() == [2, 9]
    assert set(groups) == {0, 3}
    assert table.of("item_id", []).num_rows == 0


def test_ids_without_statistics_are_looked_for_in_every_group(tmp_path: Path) -> None:
    table = pa.table({"vector": [[1.0, 2.0]] * 9, "user_id": [f"u{row % 3}" for row in range(9)]})
    for statistics in (True, False):
        pq.write_table(table, tmp_path / "users.parquet", row_group_size=2, write_statistics=statistics)
        rows = MappedTable(tmp_path / "users.parquet").of("user_id", ["u1", "é"])
        assert rows["user_id"].to_pylist() == ["u1"] * 3


def test_a_mapped_file_is_read_on_after_its_folder_is_swept(path: Path) -> None:
    table = MappedTable(path)
    path.unlink()
    assert table.at([4], ["row"])["row"].to_pylist() == [4]
    with pytest.raises(ShardCorrupt, match=r"items\.parquet"):
        MappedTable(path)


def test_items_of_some_ids_come_in_the_order_of_rows(path: Path) -> None:
    index = Published(path.parent, "1")
    assert index.items(["item_id"], ["i0", "i7", "nothing"])["item_id"].to_pylist() == ["i7", "i0"]
    assert index.items(only=[]).num_rows == 0


def _shard(path: Path) -> None:
    rows = 64
    numbers = np.random.default_rng(0).normal(size=8 * rows).astype(np.float16)
    table = {
        "item_id": [f"i{row}" for row in range(rows)],
        "content_hash": pa.array([bytes([row]) * 32 for row in range(rows)], pa.binary(32)),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(numbers), 8),
        "error": pa.array([None] * rows, pa.string()),
    }
    write_table(pa.table(table), path, use_dictionary=False)


@pytest.mark.parametrize(
    "read",
    [
        read_encoded,
        lambda path: read_table(path, ["vector"]),
        lambda path: list(read_blocks(path, ["vector"])),
        lambda path: MappedTable(path).at([3], ["vector"]),
    ],
)
def test_a_bit_that_changed_in_a_vector_is_refused_by_the_name_of_its_file(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "shard.parquet"
    _shard(path)
    read(path)
    data = bytearray(path.read_bytes())
    vectors = pq.ParquetFile(path).metadata.row_group(0).column(2)
    data[vectors.data_page_offset + vectors.total_compressed_size - 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardCorrupt, match=r"shard\.parquet: cannot be read"):
        read(path)
