"""A night of five modalities: text, image, audio, one of given vectors, and one that a package's encoder reads."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.vectors import vector_column
from tests.conftest import ANY_QUALITY, Shop, manifest, medley, options
from tests.packages import write_package

FIVE = ("text", "image", "audio", "sensor", "video")
ENCODERS = '''
import os
import numpy as np
from pipeline.encoders import Encoder
from pipeline.errors import MachineError

class Counts(Encoder):
    """How often each byte occurs."""
    identity, model, width, batch_cost, window = "counts", "byte counts", 256, 64, 64
    def __init__(self, settings):
        super().__init__()
    def load(self): pass
    def decode(self, raw):
        if raw == os.environ.get("OUT_OF_REACH"):
            raise MachineError("the meter's store does not answer")
        data = raw.encode() if isinstance(raw, str) else raw
        return [np.bincount(np.frombuffer(data, np.uint8), minlength=256)]
    def encode(self, parts): return np.stack(parts).astype(np.float32)
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which a package with an encoder is installed."""
    folder = tmp_path_factory.mktemp("site")
    write_package(folder, "acme", ENCODERS, "[medley.encoders]\nacme_counts = acme:Counts\n")
    return {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}


@pytest.fixture(scope="module")
def five(shop: Shop, site: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop with the five, not run yet."""
    copy = shop.copy(tmp_path_factory.mktemp("five") / "shop")
    ids = sorted({row.split(",")[0] for row in (copy.folder / "items.csv").read_text().splitlines()[1:]} - {""})
    vectors = np.random.default_rng(0).standard_normal((len(ids), 8)).astype(np.float32)
    table = pa.table({"item_id": ids, "vector": vector_column(vectors)})
    pq.write_table(table.slice(5), copy.folder / "video.parquet")
    (copy.folder / "items.sql").write_text(
        "select record_id as item_id, title, blurb as text, sleeve as image, clip as audio, genre,\n"
        "    case when record_id like '%7' then null\n"
        "        when record_id like '%3' then genre else artist || ' ' || title end as sensor\n"
        "from read_csv(getvariable('root') || '/items.csv', header = true, all_varchar = true)\n"
    )
    text = copy.config.read_text().replace("sources/sample/items.sql", "items.sql")
    text = re.sub(r"\nextract:\n(  .*\n)+", "\n", re.sub(r"\ntrain: .*\n", "\n", text))
    copy.config.write_text(
        text
        + "extract:\n"
        + "  text: {encoder: tfidf, width: 16, max_error_rate: 1}\n"
        + "  image: {encoder: acme_counts, max_error_rate: 1}\n"
        + "  audio: {encoder: mfcc, max_error_rate: 1}\n"
        + "  video: {encoder: array, file: video.parquet}\n"
        + "  sensor: {encoder: own, entry_point: acme_counts}\n"
        + "fuse: {kind: linear, width: 16, weights: {sensor: 2}}\n"
        + "train: {model: content}\n"
    )
    return copy


@pytest.fixture(scope="module")
def ran(five: Shop, site: dict[str, str]) -> Shop:
    """The same after one night."""
    run(five, site, "first")
    return five


def run(shop: Shop, env: dict[str, str], run_id: str, *more: str, status: int = 0) -> str:
    quick = options("evaluate.bootstrap_samples=20", "evaluate.ablation=inference", *ANY_QUALITY)
    command = ("run", "-c", shop.config, "--run-id", run_id, "--as-of", "2026-01-01T00:00:00Z", *quick, *more)
    return medley(*command, status=status, env=env).stderr


def shard_rows(shop: Shop, modality: str, run_id: str) -> dict[str, dict[str, Any]]:
    names = [
        name for name in manifest(shop.workspace, run_id)["artefacts"] if name.startswith(f"embeddings/{modality}/")
    ]
    return {row["item_id"]: row for name in names for row in pq.read_table(shop.workspace / name).to_pylist()}


def test_every_modality_has_shards_and_what_an_item_lacks_is_no_fault(ran: Shop) -> None:
    for modality in FIVE:
        rows = shard_rows(ran, modality, "first")
        assert any(row["vector"] is not None for row in rows.values()), modality
    assert {row["error"] for row in shard_rows(ran, "video", "first").values()} == {None, "no video"}
    sensor = shard_rows(ran, "sensor", "first")
    assert {row["error"] for row in sensor.values()} == {None, "no sensor"}
    assert all((row["error"] is None) != item.endswith("7") for item, row in sensor.items())


def test_fusion_ablation_explanation_report_and_lookup_have_all_five(ran: Shop) -> None:
    current = json.loads((ran.workspace / "CURRENT.json").read_text())
    fused, *_ = (ran.workspace / "fused").iterdir()
    shares = pq.read_table(fused / "items").select(FIVE).to_pandas()
    whole = shares[(shares > 0).all(axis=1)]
    assert len(whole)
    np.testing.assert_allclose(whole["sensor"] / whole["video"], 2, rtol=0.3)
    metrics = json.loads((ran.workspace / "runs" / "first" / "metrics.json").read_text())
    ablated = json.dumps(metrics["ablation"])
    report = (ran.workspace / "runs" / "first" / "report.html").read_text()
    assert all(f'"{modality}"' in ablated and modality in report for modality in FIVE)
    user = "buyer-0001"
    item = pq.read_table(fused / "items")["item_id"][int(whole.index[0])].as_py()
    asked = ("-w", ran.workspace, "--user", user, "--item", item, "--json")
    explained = json.loads(medley("explain", *asked).stdout)
    assert set(explained["first_stage"]["contributions"]) == set(FIVE)
    assert explained["reranked"] is None or set(FIVE) <= set(explained["reranked"]["contributions"])
    hits = json.loads(medley("lookup", "-w", ran.workspace, "--item", item, "--json").stdout)["hits"]
    assert len(hits) == 10
    assert set(json.loads((ran.workspace / current["index"] / "encoders.json").read_text())) == set(FIVE)


def test_a_row_that_failed_for_a_reason_of_the_machine_alone_is_encoded_the_next_night(
    ran: Shop, site: dict[str, str], tmp_path: Path
) -> None:
    copy = ran.copy(tmp_path / "shop")
    staged = pq.read_table(next((copy.workspace / "staged").glob("*/items")), columns=["item_id", "sensor"])
    values = dict(zip(*staged.to_pydict().values(), strict=True))
    times = Counter(values.values())
    item, chosen = next((item, value) for item, value in values.items() if value and times[value] == 1)
    other = ("-s", "extract.sensor.options={again: 1}")  # another encoder, which has encoded nothing yet

    def extract(run_id: str, **env: str) -> dict[str, Any]:
        begin = ("-c", copy.config, "--run-id", run_id)
        medley("ingest", *begin, "--as-of", "2026-01-01T00:00:00Z", *other, env=site)
        medley("extract", *begin, "--modality", "sensor", *other, env=site | env)
        steps = sorted((copy.workspace / "runs" / run_id / "steps").glob("extract.sensor.bucket-*.json"))
        receipts = [json.loads(path.read_text()) for path in steps]
        rows = [row for receipt in receipts for row in pq.read_table(copy.workspace / receipt["path"]).to_pylist()]
        return {
            "encoded": sum(receipt["encoded_rows"] for receipt in receipts),
            "transient": sum(receipt["details"]["transient_rows"] for receipt in receipts),
            "paths": {receipt["path"] for receipt in receipts},
            "error": {row["item_id"]: row["error"] for row in rows}[item],
        }

    first = extract("down", OUT_OF_REACH=chosen)
    assert (first["transient"], first["error"]) == (1, "the meter's store does not answer")
    still = extract("still", OUT_OF_REACH=chosen)
    assert still["paths"] == first["paths"]
    healed = extract("up")
    assert (healed["encoded"], healed["transient"], healed["error"]) == (1, 0, None)
    assert len(healed["paths"] - first["paths"]) == 1
    assert extract("again")["encoded"] == 0


def test_a_column_that_the_source_lacks_is_named(ran: Shop, site: dict[str, str]) -> None:
    said = run(ran, site, "lacking", "-s", "extract.mood={encoder: own, entry_point: acme_counts}", status=1)
    assert "source.items: the query returns no column mood" in said
