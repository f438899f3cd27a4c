from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.encoded import Failure
from pipeline.config import Config
from pipeline.config.shared import EncoderSettings
from pipeline.encoders import Encoder, Input, Text, make
from pipeline.encoders.inputs import Inputs, Row
from pipeline.errors import ConfigError, StepFailed
from tests.conftest import CsvRow, Shop, edit, manifest


def shards(shop: Shop, modality: str, run_id: str) -> pa.Table:
    names = [
        name for name in manifest(shop.workspace, run_id)["artefacts"] if name.startswith(f"embeddings/{modality}/")
    ]
    return pa.concat_tables([pq.read_table(shop.workspace / name) for name in names])


def encoded(shop: Shop, run_id: str) -> dict[str, int]:
    steps = manifest(shop.workspace, run_id)["steps"]
    return {name.split(".")[1]: step["encoded_rows"] for name, step in steps.items() if name.startswith("extract.")}


def calls(work: Callable[[], object]) -> int:
    """How many functions a piece of work calls: its cost, without a clock."""
    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def test_the_work_of_planning_a_bucket_grows_with_its_rows_and_no_faster() -> None:
    encoder = make(Config.model_validate({"extract": {"text": {"encoder": "tfidf"}}}), "text")
    inputs = Inputs("text", EncoderSettings(), encoder, None)

    def table(rows: int) -> pa.Table:
        ids = [f"i{row}" for row in range(rows)]
        return pa.table({"item_id": ids, "title": ids, "text": ids})

    small, large = (calls(lambda rows=rows: inputs.rows(table(rows))) for rows in (300, 3000))
    assert large < 11 * small


def test_whatever_an_encoder_makes_of_one_row_is_a_reason_and_a_wrong_setting_is_not(tmp_path: Path) -> None:
    class Odd(Encoder):
        identity = model = "odd"
        error: Exception = ValueError("axes\nmust match")

        def load(self) -> None: ...

        def decode(self, raw: bytes | Text) -> Input:
            raise self.error

        def encode(self, parts: Sequence[np.ndarray]) -> np.ndarray:
            return np.zeros((len(parts), 1), np.float32)

    row = Row("a", b"x", None, Text({"text": "x"}))
    odd = Odd()
    inputs = Inputs("text", EncoderSettings(), odd, None)
    assert inputs.decode(row) == Failure("cannot be decoded (ValueError: axes must match)")
    odd.error = ModuleNotFoundError("no av")
    assert inputs.decode(row) == Failure("cannot be decoded (ModuleNotFoundError: no av)", transient=True)
    odd.error = ConfigError("extract.text.template names no column")
    with pytest.raises(ConfigError):
        inputs.decode(row)


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        (lambda parts: np.zeros((2 * len(parts), 3), np.float32), r"shape \(6, 3\) of float32 for 3 inputs; it must"),
        (lambda parts: np.zeros((len(parts) - 1, 3), np.float32), r"returned shape \(2, 3\) of float32 for 3 inputs"),
        (lambda parts: np.zeros(len(parts), np.float32), r"returned shape \(3,\) of float32 for 3 inputs"),
        (lambda parts: np.full((len(parts), 2), "x"), r"returned shape \(3, 2\) of <U1 for 3 inputs"),
        (lambda parts: np.zeros((len(parts), 0), np.float32), r"returned shape \(3, 0\)"),
        (lambda parts: [][0], r"encoder odd failed \(IndexError: list index out of range, at .*> test_extract\.py:\d+"),
    ],
)
def test_what_an_encoder_returns_is_checked_before_it_belongs_to_an_item(encode: Any, said: str) -> None:
    class Odd(Encoder):
        identity = model = "odd"
        width, batch_cost, window = 3, 3, 3

        def load(self) -> None: ...

        def decode(self, raw: bytes | str | Text) -> Input: ...

        def encode(self, parts: Sequence[np.ndarray]) -> np.ndarray:
            return encode(parts)

    with pytest.raises(StepFailed, match=said) as caught:
        Odd().embed([[np.zeros(1)]] * 3)
    assert "\n" not in str(caught.value)


def test_a_shard_opens_without_medley_and_is_as_documented(published: Shop) -> None:
    for modality, width in (("text", 512), ("image", 1280), ("audio", 120)):
        table = shards(published, modality, "first")
        assert table.schema.field("vector").type == pa.list_(pa.float16(), width)
        assert table.schema.field("content_hash").type == pa.binary(32)
        assert table["item_id"].to_pylist() != []
        present = table.filter(pa.compute.is_valid(table["vector"]))
        vectors = np.asarray(present["vector"].combine_chunks().flatten()).reshape(-1, width).astype(np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
        assert present["error"].null_count == len(present)
        missing = table.filter(pa.compute.is_null(table["vector"]))
        assert missing["error"].null_count == 0
    folder = next((published.workspace / "embeddings" / "text").iterdir())
    shard = next(folder.glob("*.parquet"))
    assert pq.read_schema(shard).metadata[b"encoder"].decode() == folder.name
    assert "vector" not in str(pq.ParquetFile(shard).metadata.row_group(0).column(0).path_in_schema)


def test_each_planted_dirt_is_missing_with_its_reason_and_no_item_is_lost(published: Shop) -> None:
    errors = {
        modality: dict(zip(table["item_id"].to_pylist(), table["error"].to_pylist(), strict=True))
        for modality in ("text", "image", "audio")
        for table in [shards(published, modality, "first")]
    }
    reasons = [str(error) for error in errors["image"].values() if error]
    for part in ("no image", "file not found", "leaves the media root", "not a readable picture"):
        assert any(part in reason for reason in reasons), part
    assert any("clip" in str(error) for error in errors["audio"].values() if error != "no audio")
    # A record without a blurb is encoded by its title.
    assert set(errors["text"].values()) == {None}
    items = pq.read_table(next((published.workspace / "index").iterdir()) / "items.parquet")
    assert set(items["item_id"].to_pylist()) == set(errors["text"])


def test_one_changed_text_encodes_exactly_one_row(night: Shop) -> None:
    def change(rows: list[CsvRow]) -> list[CsvRow]:
        row = next(row for row in rows if row["record_id"] == "rec-0007")
        row["blurb"] += " A new pressing."
        return rows

    edit(night, change)
    night.run("second")
    assert encoded(night, "second") == {"text": 1, "image": 0, "audio": 0}


def test_a_removed_item_is_gone_from_every_new_artefact_and_from_lookups(night: Shop) -> None:
    edit(night, lambda rows: [row for row in rows if row["record_id"] != "rec-0011"])
    night.run("second")
    assert encoded(night, "second") == {"text": 0, "image": 0, "audio": 0}
    for name in manifest(night.workspace, "second")["artefacts"]:
        if name.endswith(".parquet"):
            table = pq.read_table(night.workspace / name)
            for column in {"item_id", "seen"} & set(table.column_names):
                values = table[column].combine_chunks()
                values = values.flatten() if pa.types.is_list(values.type) else values
                assert "rec-0011" not in values.to_pylist(), name


def test_a_moved_file_with_the_same_bytes_is_not_encoded_again(night: Shop) -> None:
    shutil.copyfile(night.folder / "sleeves/rec-0005.jpg", night.folder / "sleeves/moved.jpg")

    def change(rows: list[CsvRow]) -> list[CsvRow]:
        next(row for row in rows if row["record_id"] == "rec-0005")["sleeve"] = "sleeves/moved.jpg"
        return rows

    edit(night, change)
    night.run("second")
    assert encoded(night, "second") == {"text": 0, "image": 0, "audio": 0}


def test_too_many_unreadable_rows_stop_the_night_and_leave_the_last_one_published(night: Shop) -> None:
    before = (night.workspace / "CURRENT.json").read_text()
    for path in list((night.folder / "sleeves").iterdir())[:40]:
        path.write_bytes(b"not a picture")
    done = night.run("second", "-s", "extract.image.max_error_rate=0.05", status=1)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("medley:")]
    assert "extract image:" in said
    assert "over extract.image.max_error_rate (5.0%)" in said
    assert "not a readable picture" in said
    assert (night.workspace / "CURRENT.json").read_text() == before


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_a_modality_that_is_turned_off_leaves_the_others_working(night: Shop, modality: str) -> None:
    night.run("second", "-s", f"extract.{modality}=null")
    assert modality not in encoded(night, "second")
    assert Path(night.workspace / "CURRENT.json").exists()
