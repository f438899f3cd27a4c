"""What is read of a snapshot without reading it whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.staged import Staged
from pipeline.errors import ShardCorrupt


def write(folder: Path, days: list[int]) -> Staged:
    times = pa.array([datetime(2025, 1, day, tzinfo=UTC) for day in days], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"ts": times}), folder / "interactions.parquet", row_group_size=2)
    return Staged(folder)


@pytest.mark.parametrize("days", [[9, 1, 2, 3], [1, 2, 9, 3], [1, 2, 3, 9]])
def test_the_newest_choice_is_found_wherever_it_stands(tmp_path: Path, days: list[int]) -> None:
    assert write(tmp_path, days).newest_choice() == datetime(2025, 1, 9, tzinfo=UTC)


def test_an_empty_log_has_no_newest_choice(tmp_path: Path) -> None:
    assert write(tmp_path, []).newest_choice() is None


def test_a_log_that_is_gone_or_cut_is_named(tmp_path: Path) -> None:
    staged = write(tmp_path, [1])
    path = tmp_path / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ShardCorrupt, match=r"interactions\.parquet"):
        staged.newest_choice()
    path.unlink()
    with pytest.raises(ShardCorrupt, match=r"interactions\.parquet"):
        staged.newest_choice()
