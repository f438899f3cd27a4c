"""A file that is verified by blocks: nothing is read of a block that is not what it was, and no other is hashed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts import verified
from pipeline.artefacts.mapped import MappedTable
from pipeline.artefacts.verified import BLOCKS, blocks_of, write_blocks
from pipeline.errors import ShardCorrupt

ROWS, GROUPS = 400, 4


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Groups of rows of some blocks each."""
    monkeypatch.setattr(verified, "BLOCK_BYTES", 256)
    ids = [f"i{row:04d}" for row in range(ROWS)]
    table = pa.table({"id": ids, "title": [f"The title of {one}" for one in ids], "tags": [["a", one] for one in ids]})
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=ROWS // GROUPS, compression="none")
    write_blocks(tmp_path, ["table.parquet"])
    return tmp_path / "table.parquet"


def opened(path: Path) -> MappedTable:
    return MappedTable(path, sha256=blocks_of(path.parent / BLOCKS)["table.parquet"])


def flipped(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_only_what_is_read_is_verified_and_all_of_that(path: Path) -> None:
    assert opened(path).read().equals(pq.read_table(path))
    metadata = pq.read_metadata(path)
    content = path.read_bytes()
    end = len(content) - 8 - metadata.serialized_size
    for group in range(GROUPS):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            first = chunk.dictionary_page_offset or chunk.data_page_offset
            for place in (first, first + chunk.total_compressed_size // 2, first + chunk.total_compressed_size - 1):
                flipped(path, place)
                name = metadata.schema.column(column).path.split(".")[0]
                if place // 256 >= end // 256:  # the metadata begins in that block
                    with pytest.raises(ShardCorrupt, match="its bytes are not those"):
                        opened(path)
                    path.write_bytes(content)
                    continue
                table, other = opened(path), (group + 2) % GROUPS * ROWS // GROUPS
                assert table.at([other + 50], [name]).num_rows == 1
                with pytest.raises(ShardCorrupt, match=r"table\.parquet: its bytes are not those of its receipt"):
                    table.at([group * ROWS // GROUPS + 1], [name])
                with pytest.raises(ShardCorrupt, match="its bytes are not those"):
                    opened(path).read()
                path.write_bytes(content)


@pytest.mark.parametrize("from_end", [1, 4, 8, 9, 300])
def test_a_changed_end_is_refused_before_it_is_read(path: Path, from_end: int) -> None:
    flipped(path, path.stat().st_size - from_end)
    with pytest.raises(ShardCorrupt, match="its bytes are not those"):
        opened(path)


def test_a_file_of_another_length_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for changed in (content[:-300], content + bytes(300), content[:-1], b""):
        path.write_bytes(changed)
        with pytest.raises(ShardCorrupt):
            opened(path)


def test_blocks_of_another_size_are_none(path: Path) -> None:
    place = path.parent / BLOCKS
    document = json.loads(place.read_text())
    assert set(blocks_of(place)) == {"table.parquet"}
    place.write_text(json.dumps({**document, "block_bytes": 255}))
    assert blocks_of(place) == {}
    place.write_text("[]")
    with pytest.raises(ShardCorrupt, match=BLOCKS):
        blocks_of(place)
