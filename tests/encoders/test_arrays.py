"""Vectors given as arrays: looked up by row, and a night made of them alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.vectors import vector_column
from pipeline.config import Config, load
from pipeline.encoders import make
from pipeline.encoders.base import Encoder, Text
from pipeline.encoders.kinds.array import ArrayEncoder
from pipeline.encoders.text.kinds.array import ArrayTextEncoder
from pipeline.errors import MediaError, SourceError, StepFailed
from pipeline.night import Night, StepReceipt, begin
from pipeline.steps import extract, ingest
from pipeline.steps.extract import modality_vectors
from pipeline.steps.ingest import staged_of
from tests.conftest import AS_OF, medley

WIDTH = 5


def given(folder: Path, file: str, modality: str = "image") -> Encoder:
    document = {"source": {"media_root": str(folder)}, "extract": {modality: {"encoder": "array", "file": file}}}
    return make(Config.model_validate(document), modality)  # type: ignore[arg-type]


def rows(count: int = 10) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
def test_a_row_is_found_by_its_number_in_an_array_of_any_numbers(tmp_path: Path, dtype: str) -> None:
    array = (8 * rows()).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    encoder = given(tmp_path, "a.npy")
    encoder.load()
    found = encoder.embed([encoder.decode(str(i).encode()) for i in (3, 0, 9)])
    assert (found.dtype, encoder.width) == (np.float32, WIDTH)
    np.testing.assert_array_equal(found, array[[3, 0, 9]].astype(np.float32))


def test_a_row_of_parquet_is_found_by_its_item_id(tmp_path: Path) -> None:
    names = [f"sku-{i}" for i in range(10)]
    pq.write_table(pa.table({"item_id": names, "vector": vector_column(rows())}), tmp_path / "a.parquet")
    encoder = given(tmp_path, "a.parquet")
    encoder.load()
    np.testing.assert_array_equal(encoder.embed([encoder.decode(b"sku-7")])[0], rows()[7])
    with pytest.raises(MediaError, match="no such row: sku-10 is no item_id of the file"):
        encoder.decode(b"sku-10")


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int8(), WIDTH)])
@pytest.mark.parametrize(("column", "setting"), [("vector", ""), ("embedding", ""), ("mine", "mine")])
def test_lists_of_any_kind_are_vectors_and_a_null_or_empty_one_is_none(
    tmp_path: Path, kind: pa.DataType, column: str, setting: str
) -> None:
    vectors = np.arange(10_000 * WIDTH).reshape(-1, WIDTH) % 100
    lists: list[list[int | None] | None] = vectors.tolist()
    lists[0] = lists[5000] = None
    lists[1] = None if pa.types.is_fixed_size_list(kind) else []
    lists[2] = [1, None, 1, 1, 1]
    names = [f"sku-{i}" for i in range(len(lists))]
    pq.write_table(pa.table({"item_id": names, column: pa.array(lists, kind)}), tmp_path / "a.parquet")
    settings = {"encoder": "array", "file": "a.parquet", "column": setting}
    document = {"source": {"media_root": str(tmp_path)}, "extract": {"image": settings}}
    encoder = make(Config.model_validate(document), "image")
    assert isinstance(encoder, ArrayEncoder)
    places, problems = encoder.find(pa.array(names))
    assert np.flatnonzero(places < 0).tolist() == [0, 1, 5000]
    assert not any(problems)
    there = np.flatnonzero(places > 2)
    np.testing.assert_array_equal(encoder.read(places[there]), vectors[there])
    assert np.isnan(encoder.read(places[2:3])).any()
    with pytest.raises(MediaError, match="its vector is null"):
        encoder.decode(b"sku-0")


@pytest.mark.parametrize("name", ["10", "-1", "1.0", "two", "²", "9" * 30])
def test_a_name_of_no_row_is_a_reason(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "a.npy", rows())
    encoder = given(tmp_path, "a.npy")
    encoder.load()
    with pytest.raises(MediaError, match=r"no such row: .* is not a number from 0 to 9"):
        encoder.decode(name.encode())


def test_the_key_is_the_width_as_each_row_has_its_own_hash(tmp_path: Path) -> None:
    for name, array in (("a.npy", rows()), ("b.npy", rows(11)), ("c.npy", rows()[:, :4])):
        np.save(tmp_path / name, array)
    keys = [given(tmp_path, name).key for name in ("a.npy", "b.npy", "c.npy")]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("ids", "names", "expected"),
    [
        (["b", "a", None, None, "é"], ["a", " b ", "c", None, "é", "", "zz"], [1, 0, -1, -1, 4, -1, -1]),
        ([7, 30, 4], ["4", "30", "3", "07"], [2, 1, -1, -1]),
        (None, ["0", " 4", "5", "-1", "004", "4.0", "9" * 30, "0" * 30 + "3", None], [0, 4, -1, -1, 4, -1, -1, 3, -1]),
    ],
)
def test_many_names_are_found_at_once(
    tmp_path: Path, ids: list[object] | None, names: list[str | None], expected: list[int]
) -> None:
    if ids is None:
        np.save(tmp_path / "a.npy", rows(5))
    else:
        pq.write_table(pa.table({"item_id": ids, "vector": vector_column(rows(len(ids)))}), tmp_path / "a.parquet")
    encoder = given(tmp_path, "a.npy" if ids is None else "a.parquet")
    assert isinstance(encoder, ArrayEncoder)
    places, problems = encoder.find(pa.array(names, pa.string()))
    assert places.tolist() == expected
    assert [bool(problem) for problem in problems] == [p < 0 and bool(n) for p, n in zip(expected, names, strict=True)]


@pytest.mark.parametrize("template", ["{text}", "{text}{none}", "{text:>3}"])
def test_a_template_names_rows_column_by_column_or_one_by_one(tmp_path: Path, template: str) -> None:
    np.save(tmp_path / "a.npy", rows())
    document = {"encoder": "array", "file": "a.npy", "template": template}
    config = Config.model_validate({"source": {"media_root": str(tmp_path)}, "extract": {"text": document}})
    encoder = make(config, "text")
    assert isinstance(encoder, ArrayTextEncoder)
    items = pa.table({"item_id": ["a", "b", "c"], "text": [" 4 ", None, " "], "none": [None, None, ""]})
    assert encoder.find(encoder.names(items))[0].tolist() == [4, -1, -1]


def test_text_vectors_are_found_by_the_template_and_nothing_is_made_of_a_query(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rows())
    encoder = given(tmp_path, "a.npy", "text")
    encoder.load()
    columns = Text({"item_id": "x", "title": "t", "text": " 4 "})
    assert encoder.render(columns) == "4"
    np.testing.assert_array_equal(encoder.decode(columns)[0], rows()[4])
    with pytest.raises(MediaError, match="no text"):
        encoder.render(Text({"title": "t", "text": ""}))
    with pytest.raises(MediaError, match="vectors are given"):
        encoder.render(Text({"text": "a quiet record"}, query=True))


def broken(folder: Path) -> dict[str, str]:
    """Files that are no table of numbers, and what is said of each."""
    np.save(folder / "objects.npy", np.array([{"a": 1}, None], object), allow_pickle=True)
    np.save(folder / "flat.npy", rows()[0])
    np.save(folder / "empty.npy", np.zeros((0, WIDTH), np.float32))
    np.save(folder / "words.npy", np.array([["a"], ["b"]]))
    np.save(folder / "short.npy", rows())
    (folder / "short.npy").write_bytes((folder / "short.npy").read_bytes()[:-20])
    (folder / "text.npy").write_text("not an array")
    for file, columns in {
        "ids.parquet": {"item_id": ["a"]},
        "nobody.parquet": {"vector": [[1.0]]},
        "one.parquet": {"item_id": ["a"], "vector": [1.0]},
        "names.parquet": {"item_id": ["a"], "vector": [["x"]]},
        "widths.parquet": {"item_id": ["a", "b", "c"], "vector": [None, [1.0, 2.0], [1.0, 2.0, 3.0]]},
        "nulls.parquet": {"item_id": ["a", "b"], "vector": pa.array([None, []], pa.list_(pa.float32()))},
        "twice.parquet": {"item_id": ["b", "a", None, None, "b"], "vector": [[1.0]] * 5},
    }.items():
        pq.write_table(pa.table(columns), folder / file)
    return {
        "objects.npy": "cannot be read .*",
        "flat.npy": r"needs rows of numbers, found shape \(5,\) of float32",
        "empty.npy": r"needs rows of numbers, found shape \(0, 5\)",
        "words.npy": "needs rows of numbers, .* of <U1",
        "short.npy": "cannot be read .*",
        "text.npy": "cannot be read .*",
        "ids.parquet": "needs item_id and a column of vectors, and has no vector or embedding; it has item_id; name",
        "nobody.parquet": ".* has no item_id; it has vector",
        "one.parquet": "its column vector is double; needs lists of numbers",
        "names.parquet": "needs rows of numbers, .* of object",
        "widths.parquet": "the vector of item_id c has 3 numbers, and those before it 2; give vectors of one width",
        "nulls.parquet": r"needs rows of numbers, found shape \(2, 0\)",
        "twice.parquet": "item_id b stands twice; give each item one vector",
    }


def test_a_file_that_is_no_table_of_numbers_is_one_sentence(tmp_path: Path) -> None:
    for file, said in broken(tmp_path).items():
        with pytest.raises(SourceError, match=f"given vectors {file}: {said}") as caught:
            given(tmp_path, file).load()
        assert "\n" not in str(caught.value)


def test_a_file_is_looked_for_below_the_media_folder_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", rows())
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "link.npy").symlink_to(tmp_path / "secret.npy")
    for file, said in (("../secret.npy", "leaves the media root"), ("link.npy", "leaves"), ("none.npy", "not found")):
        with pytest.raises(SourceError, match=f"{said}.*; set source.media_root to its folder"):
            given(tmp_path / "media", file)
    with pytest.raises(SourceError, match=r"media folder .* does not exist"):
        given(tmp_path / "nowhere", "secret.npy", "text")


YAML = """
source:
  params: {root: .}
  items: select i::varchar as item_id, 'Item ' || i as title, if(i < 60, i::varchar, null) as image,
    (i % 50)::varchar as text from range(64) t(i)
  interactions: select 'u' || u as user_id, ((u * 7 + i * 3) % 64)::varchar as item_id, timestamp '2024-01-01' +
    to_seconds(i) as ts, ['train', 'train', 'train', 'train', 'validation', 'test'][i + 1] as part
    from range(40) a(u), range(6) b(i)
ingest: {split: given}
extract: {text: {encoder: array, file: words.npy}, image: {encoder: array, file: pictures.npy, max_error_rate: 0.2},
  audio: null}
train: {model: elsa, max_epochs: 2}
evaluate: {bootstrap_samples: 20}
publish: {gate: {min_ratio: 0, min_published_ratio: 0}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source of arrays: of 64 items, 4 have no picture, one of a row of zeros, one of NaN, two of no row."""
    pictures = rows(58).astype(np.float16)
    pictures[3], pictures[5] = 0, np.nan
    np.save(tmp_path / "pictures.npy", pictures)
    np.save(tmp_path / "words.npy", rows(50))
    (tmp_path / "medley.yaml").write_text(YAML)
    return tmp_path


def opened(folder: Path, *overrides: str) -> Night:
    night = begin(load(folder / "medley.yaml", overrides), AS_OF, None)
    ingest.run(night)
    return night


def test_vectors_reach_the_shards_with_unit_norm_and_what_is_no_direction_is_missing(folder: Path) -> None:
    night = opened(folder)
    receipts = extract.run(night, "image") + extract.run(night, "text")
    ids = staged_of(night).items(["item_id"])["item_id"].to_pylist()
    found = dict(modality_vectors(night))
    expected = np.load(folder / "pictures.npy").astype(np.float32)
    for item_id, vector in zip(ids, found["image"], strict=True):
        if int(item_id) in (3, 5) or int(item_id) >= 58:
            assert np.isnan(vector).all()
        else:
            row = expected[int(item_id)]
            np.testing.assert_allclose(vector, row / np.linalg.norm(row), atol=1e-3)
    reasons: dict[str, int] = {}
    for receipt in receipts:
        for reason, count in receipt.details["errors"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    assert reasons == {"no image": 4, "no such row": 2, "the vector is not finite": 1, "the vector is zero": 1}
    with pytest.raises(StepFailed, match=r"over extract.image.max_error_rate"):
        extract.run(opened(folder, "extract.image.max_error_rate=0.01"), "image")


def test_an_item_whose_list_is_null_has_no_such_modality(folder: Path) -> None:
    lists = [None if i in (2, 3) else vector for i, vector in enumerate(rows(64).tolist())]
    pq.write_table(pa.table({"item_id": [str(i) for i in range(64)], "embedding": lists}), folder / "p.parquet")
    receipts = extract.run(opened(folder, "extract.image.file=p.parquet"), "image")
    assert sum(receipt.details["errors"].pop("no image", 0) for receipt in receipts) == 6
    assert not any(receipt.details["errors"] for receipt in receipts)


def test_a_changed_vector_changes_its_own_row_alone(folder: Path) -> None:
    def shards(receipts: list[StepReceipt]) -> dict[str, int]:
        return {receipt.path: receipt.encoded_rows for receipt in receipts}

    before = shards(extract.run(opened(folder), "image"))
    assert sum(before.values()) == 58
    pictures = np.load(folder / "pictures.npy")
    pictures[7] += 1
    np.save(folder / "pictures.npy", np.concatenate([pictures, rows(3).astype(np.float16)])[:58])
    night = opened(folder)
    after = shards(extract.run(night, "image"))
    extract.run(night, "text")
    assert len(after.keys() - before.keys()) == 1
    assert sum(after.values()) == 1
    ids = staged_of(night).items(["item_id"])["item_id"].to_pylist()
    (found,) = (vectors for modality, vectors in modality_vectors(night) if modality == "image")
    row = pictures[7].astype(np.float32)
    np.testing.assert_allclose(found[ids.index("7")], row / np.linalg.norm(row), atol=1e-3)


def test_vectors_that_several_buckets_share_are_taken_once(folder: Path) -> None:
    np.save(folder / "words.npy", np.repeat(rows(10), 5, axis=0))
    night = opened(folder)
    extract.run(night, "image")
    receipts = extract.run(night, "text")
    assert night.receipt("extract.text.shared").encoded_rows == 10
    assert sum(receipt.encoded_rows for receipt in receipts) == 0
    ids = staged_of(night).items(["item_id"])["item_id"].to_pylist()
    (found,) = (vectors for modality, vectors in modality_vectors(night) if modality == "text")
    for item_id, vector in zip(ids, found, strict=True):
        row = rows(10)[int(item_id) % 50 // 5]
        np.testing.assert_allclose(vector, row / np.linalg.norm(row), atol=1e-3)


def test_a_night_of_arrays_publishes_and_a_query_is_refused_in_one_sentence(folder: Path) -> None:
    medley("run", "-c", folder / "medley.yaml")
    hits = json.loads(medley("lookup", "-w", folder / "workspace", "--item", "7", "--json").stdout)["hits"]
    assert len(hits) == 10
    assert json.loads(medley("lookup", "-w", folder / "workspace", "--user", "u3", "--json").stdout)["hits"]
    refused = medley("lookup", "-w", folder / "workspace", "--text", "a quiet record", status=2).stderr
    assert "--text: the published index has its vectors from words.npy" in refused
    assert "ask by item or user" in refused
    assert "Traceback" not in refused
