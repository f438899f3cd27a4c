"""Catalogues as people have them: pictures as bytes, titles alone, ids alone, a modality that hardly anything has."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import steps
from pipeline.artefacts.published import CURRENT
from pipeline.artefacts.runs import receipts_of
from pipeline.artefacts.shards import thin_modalities
from pipeline.config import load
from pipeline.errors import CheckFailed, SourceError, WorkspaceError
from pipeline.night import Night, begin
from pipeline.steps.room import ITEM_BYTES
from pipeline.steps.sweep import sweep
from tests.conftest import ANY_QUALITY, AS_OF, medley, options

ITEMS = [{"item_id": f"i{number:02d}", "title": f"Title {number}"} for number in range(40)]
LOG = [
    {
        "user_id": f"u{user:02d}",
        "item_id": f"i{(user * 7 + day) % 40:02d}",
        "ts": f"2024-01-{day + 1:02d} 00:{user:02d}",
    }
    for user in range(30)
    for day in range(20)
]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a source of two Parquet files and its medley.yaml, text alone unless told otherwise."""

    def written(items: list[dict[str, Any]] = ITEMS, log: list[dict[str, Any]] = LOG, extract: str = "") -> Path:
        pq.write_table(pa.Table.from_pylist(items), tmp_path / "items.parquet")
        pq.write_table(pa.Table.from_pylist(log), tmp_path / "log.parquet")
        extract = extract or f"{{{TEXTS}, image: null, audio: null}}"
        (tmp_path / "medley.yaml").write_text(
            f"source:\n  items: from read_parquet('{tmp_path}/items.parquet')\n"
            f"  interactions: from read_parquet('{tmp_path}/log.parquet')\nextract: {extract}\n"
        )
        return tmp_path / "medley.yaml"

    return written


TEXTS = "text: {encoder: bow, words: 64, width: 16}"


def opened(config: Path, *settings: str, run_id: str = "first") -> Night:
    return begin(load(config, settings), AS_OF, run_id)


def perform(night: Night, *names: str) -> Night:
    for name in names:
        steps.perform(night, name)
    return night


def shard_rows(night: Night, modality: str) -> dict[str, dict[str, Any]]:
    receipts = [receipt for receipt in night.receipts() if f"{modality}.bucket" in receipt.step]
    tables = [pq.read_table(night.workspace.path(receipt.path)) for receipt in receipts]
    return {row["item_id"]: row for table in tables for row in table.to_pylist()}


def picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_as_bytes_are_hashed_kept_once_and_encoded_like_files(make: Make) -> None:
    pictures = [picture((number % 3 * 80, 9, 9)) for number in range(39)]
    items = [{**row, "image": data} for row, data in zip(ITEMS, [*pictures, None], strict=True)]
    items[5]["image"], items[6]["image"] = b"no picture", b"x" * 100_001
    config = make(items, extract="{text: null, audio: null, image: {max_bytes: 100000, max_error_rate: 0.1}}")
    night = perform(opened(config), "ingest", "extract")
    stored = [path for path in night.workspace.path("media").rglob("*") if path.is_file()]
    assert len(stored) == 4
    rows = shard_rows(night, "image")
    assert rows["i00"]["vector"] == rows["i03"]["vector"] != rows["i01"]["vector"]
    assert {item: row["error"] for item, row in rows.items() if row["error"]} == {
        "i05": rows["i05"]["error"],
        "i06": "100001 bytes, over the limit of 100000: bytes of the source",
        "i39": "no image",
    }
    assert "picture" in rows["i05"]["error"]
    staged = pq.read_table(night.folder_of("ingest") / "items")
    assert "image_bytes" not in staged.column_names
    assert set(staged["image"].to_pylist()) == {None, *(f"stored:{path.name}" for path in stored)}


RED, BLUE = picture((200, 9, 9)), picture((9, 9, 200))


@pytest.mark.parametrize("kind", ["paths", "bytes", "structs"])
def test_the_vectors_of_a_list_of_pictures_are_averaged(make: Make, tmp_path: Path, kind: str) -> None:
    files = {"red.png": RED, "blue.png": BLUE, "broken.png": b"no picture"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    forms = {
        "paths": lambda name: name,
        "bytes": lambda name: files.get(name),
        "structs": lambda name: {"path": name, "bytes": RED if name == "red.png" else None},
    }
    absent = [] if kind == "bytes" else ["gone.png"]
    named = {
        "i00": ["red.png"],
        "i01": ["blue.png"],
        "i02": ["red.png", "blue.png", "blue.png"],
        "i03": ["red.png", "broken.png", "blue.png", "blue.png", *absent],
        "i04": ["broken.png", *absent],
        "i05": ["red.png"] * 16 + ["blue.png"],
        "i06": [],
    }
    items = [
        {**row, "image": [forms[kind](name) for name in named.get(str(row["item_id"]), ["red.png"])]} for row in ITEMS
    ]
    settings = (f"source.media_root={tmp_path}", "publish.keep_runs=1")
    extract = "{text: null, audio: null, image: {lists: mean, max_error_rate: 0.5}}"
    night = perform(opened(make(items, extract=extract), *settings), "ingest", "extract")
    rows = shard_rows(night, "image")
    vectors = {item: np.asarray(row["vector"], np.float32) for item, row in rows.items() if not row["error"]}
    assert vectors.keys() == {row["item_id"] for row in ITEMS} - {"i04", "i06"}
    # A picture's last bits are those of its batch.
    np.testing.assert_allclose(vectors["i05"], vectors["i00"], atol=1e-3)
    np.testing.assert_allclose(vectors["i03"], vectors["i02"], atol=1e-3)
    # Between the two, twice as near the blue one; a vector of unit norm has lost how long the two were.
    weights = np.linalg.lstsq(np.stack([vectors["i00"], vectors["i01"]]).T, vectors["i02"], rcond=None)[0]
    assert (weights > 0.1).all()
    np.testing.assert_allclose(weights @ [vectors["i00"], vectors["i01"]], vectors["i02"], atol=2e-3)
    assert rows["i06"]["error"] == "no image"
    assert "picture" in rows["i04"]["error"]
    counts = Counter[str]()
    for receipt in night.receipts():
        counts.update(receipt.details.get("counts", {}))
    # i03 leaves out the broken picture; what was not there was never of its content.
    assert counts["files left out of a list"] == (1 if kind == "bytes" else 2)
    sweep(night.workspace, night.config, night.run_id)
    assert perform(opened(make(items, extract=extract), *settings, run_id="next"), "ingest").receipts()
    first = perform(opened(make(items, extract="{text: null, audio: null}"), *settings, run_id="third"), "ingest")
    names = dict(pq.read_table(first.folder_of("ingest") / "items").select(["item_id", "image"]).to_pandas().values)
    assert names["i02"] == names["i00"]
    assert "\x1f" not in names["i02"]


def test_a_sweep_keeps_every_picture_of_a_list(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{**row, "image": [RED, BLUE]} for row in ITEMS]
    night = perform(opened(make(items, extract="{text: null, audio: null, image: {lists: mean}}")), "ingest")
    monkeypatch.setattr("pipeline.steps.sweep.GRACE_SECONDS", -60)
    sweep(night.workspace, night.config, night.run_id)
    assert len([path for path in night.workspace.path("media").rglob("*") if path.is_file()]) == 2


def test_a_sweep_keeps_the_media_of_kept_runs_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = "{text: null, audio: null}"
    for number, colour in enumerate([(1, 2, 3), (4, 5, 6)]):
        config = make([{**row, "image": picture(colour)} for row in ITEMS], extract=extract)
        settings = ("publish.keep_failed_runs=1", "nightly.timeout_seconds=1")
        night = perform(opened(config, *settings, run_id=f"run-{number}"), "ingest")
        (name,) = set(pq.read_table(night.folder_of("ingest") / "items")["image"].to_pylist())
    sweep(night.workspace, night.config, night.run_id)
    assert len([path for path in night.workspace.path("media").rglob("*") if path.is_file()]) == 2
    monkeypatch.setattr("pipeline.steps.sweep.GRACE_SECONDS", -60)
    sweep(night.workspace, night.config, night.run_id)
    (left,) = [path.name for path in night.workspace.path("media").rglob("*") if path.is_file()]
    assert name == f"stored:{left}"


def test_a_title_is_encoded_where_it_is_all_there_is(make: Make) -> None:
    items = [{**row, "text": "words to read" if number == 1 else None} for number, row in enumerate(ITEMS)]
    items[2]["title"] = " "
    rows = shard_rows(perform(opened(make(items)), "ingest", "extract"), "text")
    assert [item for item, row in rows.items() if row["error"]] == ["i02"]
    assert rows["i02"]["error"] == "no text"


def test_a_night_of_ids_alone_publishes_what_users_chose_and_says_so(make: Make) -> None:
    config = make(extract="{text: null, image: null, audio: null}")
    quick = ["train.model=svd", "evaluate.baselines=[{model: popularity}]", "evaluate.bootstrap_samples=20"]
    medley("run", "-c", config, "--as-of", AS_OF, *options(*quick, *ANY_QUALITY))
    workspace = config.parent / "workspace"
    hits = json.loads(medley("lookup", "-w", workspace, "--user", "u03", "--json").stdout)["hits"]
    assert len(hits) == 10
    warning = "extract: no modality is configured, so that the night goes by what users chose alone"
    standing = json.loads(medley("status", "-w", workspace, "--json").stdout)
    assert standing["warnings"] == [warning]
    assert warning in Path(standing["report"]).read_text("utf-8")


@pytest.mark.parametrize(("texts", "warned"), [(1, True), (2, False), (40, False)])
def test_a_modality_that_hardly_any_item_has_is_said(make: Make, texts: int, warned: bool) -> None:
    texts_of = [f"words {number}" if number < texts else None for number in range(len(ITEMS))]
    items = [{**row, "title": "", "text": text} for row, text in zip(ITEMS, texts_of, strict=True)]
    hashed = "{text: {encoder: bow, vocabulary: hashed, words: 64, width: 16}, image: null, audio: null}"
    night = perform(opened(make(items, extract=hashed)), "ingest", "extract")
    sentences = thin_modalities(receipts_of(night.workspace.path(night.folder)))
    assert len(sentences) == warned
    if warned:
        (sentence,) = sentences
        assert sentence.startswith(f"extract.text: {texts} of 40 items have a vector; of {40 - texts} others: no text;")
        assert sentence.endswith("leave the modality out with extract.text: null")


def test_files_without_a_media_folder_are_one_sentence_and_no_files_need_none(make: Make) -> None:
    perform(opened(make(ITEMS, extract="{text: {encoder: bow, words: 64, width: 16}}")), "ingest")
    named = make([{**row, "image": "a.jpg"} for row in ITEMS], extract="{text: {encoder: bow, words: 64, width: 16}}")
    with pytest.raises(
        SourceError, match=r"image names files such as a.jpg, .*source.media_root .*extract.image: null"
    ):
        perform(opened(named, run_id="second"), "ingest")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ts": "31/12/2024"}, r"time, such as 31/12/2024 \(strptime\(ts, '%d/%m/%Y'"),
        ({"ts": "01/02/2024"}, r"'%d/%m/%Y'\) as ts or strptime\(ts, '%m/%d/%Y'\) as ts in the query reads it"),
        ({"ts": "gestern\n"}, r"600 of 600 interactions: no readable time, such as gestern\\n\. Mend"),
        ({"weight": None}, "600 of 600 interactions: weight is not a positive number, such as null"),
        ({"item_id": "1.0"}, r"\(1.0 and the catalogue's 1 differ in type alone: cast\(item_id as bigint\) in both"),
        ({"item_id": "ART-1"}, r"\(ART-1 and the catalogue's art-1 differ in capitals alone: lower\(item_id\)"),
        ({"item_id": "zz"}, r"600 of 600 interactions: item_id is not in the catalogue, such as zz\. Mend"),
    ],
)  # fmt: skip
def test_a_check_that_stops_a_night_says_why_rows_went(make: Make, change: dict[str, Any], said: str) -> None:
    items = [*ITEMS, {"item_id": "1", "title": "one"}, {"item_id": "art-1", "title": "art"}]
    with pytest.raises(CheckFailed, match=said) as caught:
        perform(opened(make(items, [{**row, **change} for row in LOG])), "ingest")
    assert "\n" not in str(caught.value)


def test_what_a_few_rows_lack_is_not_why_a_check_failed(make: Make) -> None:
    log = [{**row, "ts": "2024-01-01", "item_id": row["item_id"] if n else "zz"} for n, row in enumerate(LOG)]
    log = [row for number, row in enumerate(log) if number < 20 or number % 20 == 0]
    with pytest.raises(CheckFailed, match="every choice bears the time 2024-01-01 00:00:00") as caught:
        perform(opened(make(ITEMS, log)), "ingest")
    assert "not in the catalogue" not in str(caught.value)


def test_the_same_content_on_both_sides_of_the_cold_split_is_counted_and_said(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def checks(texts: list[str | None], share: float) -> dict[str, int]:
        config = make([{**row, "text": text} for row, text in zip(ITEMS, texts, strict=True)])
        night = perform(opened(config, f"ingest.cold_item_share={share}"), "ingest")
        outcomes = json.loads((night.folder_of("ingest") / "split.json").read_text())["checks"]
        return {entry["name"]: entry["rows"] for entry in outcomes if entry["name"].startswith("cold_items_share_no")}

    assert checks([str(number) for number in range(40)], 0.3) == {"cold_items_share_no_text": 0}
    assert checks([None] * 40, 0.3) == {"cold_items_share_no_text": 0}
    assert caplog.records == []
    shared = checks(["one for all"] * 40, 0.3)["cold_items_share_no_text"]
    assert 0 < shared < 40
    assert f"check cold_items_share_no_text: {shared} items, such as that of i" in caplog.text


def test_a_first_night_stops_at_once_where_the_disk_has_no_room(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage: Any = shutil.disk_usage("/")
    free = len(ITEMS) * ITEM_BYTES
    config = make()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=free - 1))
    with pytest.raises(WorkspaceError, match="GB are free, and a night of 40 items"):
        perform(opened(config), "ingest")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=free))
    night = perform(opened(config), "ingest")
    # A later night leaves less than the first.
    moment = "2024-02-01T00:00:00Z"
    current = {"index": "index/1", "digest": "1", "run_id": "first", "as_of": moment, "published_at": moment}
    night.workspace.write_json(CURRENT, current)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=free - 1))
    perform(opened(make([*ITEMS[:39], {**ITEMS[39], "title": "Another"}]), run_id="second"), "ingest")
    assert "make room" in caplog.text
