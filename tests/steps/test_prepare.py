from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.encoders.image.kinds.timm import TimmImage
from pipeline.encoders.weights import locate
from tests.conftest import AS_OF, ROOT, CsvRow, Shop, edit, manifest, medley

OFF = ("-s", "extract.text=null", "-s", "extract.image=null", "-s", "extract.audio=null")
TFIDF = (*OFF, "-s", "extract.text={encoder: tfidf, width: 8}")
AUDIO = (*OFF, "-s", "extract.audio={encoder: mfcc}")


def items(shop: Shop) -> list[CsvRow]:
    with (shop.folder / "items.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def step(shop: Shop, verb: str, run_id: str, *more: str) -> dict[str, Any]:
    """One step of a run by the command line, in this process, and the JSON it prints."""
    as_of = ("--as-of", AS_OF) if verb == "ingest" else ()
    done = CliRunner().invoke(app, [verb, "-c", str(shop.config), "--run-id", run_id, "--json", "-q", *as_of, *more])
    assert done.exit_code == 0, f"{done.output}\n{done.exception}"
    return json.loads(done.stdout)


def receipt(shop: Shop, run_id: str, name: str) -> dict[str, Any]:
    return json.loads((shop.workspace / "runs" / run_id / "steps" / f"{name}.json").read_text())


def shards_of(workspace: Path) -> dict[str, bytes]:
    """Every shard by its path in the workspace."""
    files = [*workspace.glob("embeddings/*/*/*.parquet"), *workspace.glob("shared/*/*/*.parquet")]
    return {str(path.relative_to(workspace)): path.read_bytes() for path in files}


@pytest.fixture
def fresh(shop: Shop, tmp_path: Path) -> Shop:
    """A copy of the shop that no night has run on."""
    return shop.copy(tmp_path / "shop")


def test_a_second_night_takes_what_was_prepared_and_full_makes_it_again(fresh: Shop) -> None:
    def night(run_id: str, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
        step(fresh, "ingest", run_id, *TFIDF)
        extracted = step(fresh, "extract", run_id, *TFIDF, *more)
        return receipt(fresh, run_id, "extract.text.prepare"), extracted

    first, _ = night("first")
    edit(fresh, lambda rows: [{**rows[0], "blurb": "Words that no other sleeve has: zinc, quokka, zinc."}, *rows[1:]])
    second, extracted = night("second")
    assert (first["skipped"], second["skipped"]) == (False, True)
    assert second["path"] == first["path"]
    assert extracted["encoded_rows"] == 1
    third, extracted = night("third", "--full")
    assert not third["skipped"]
    assert third["path"] != first["path"]
    assert extracted["encoded_rows"] == extracted["rows"] - extracted["missing_rows"] > 70


def test_buckets_side_by_side_after_prepare_give_the_shards_of_one_extract(fresh: Shop, tmp_path: Path) -> None:
    chosen = (*TFIDF, "-s", "extract.image={encoder: timm}", "-s", "extract.audio={encoder: mfcc}")
    apart = fresh.copy(tmp_path / "apart")
    step(fresh, "ingest", "one", *chosen)
    step(fresh, "extract", "one", *chosen)
    step(apart, "ingest", "many", *chosen)
    planned = step(apart, "extract", "many", "--prepare", *chosen)
    assert [task["name"] for task in planned["tasks"]] == ["text 0-3", "image 0-3", "audio 0-3"]
    command = (sys.executable, "-m", "pipeline.cli", "extract", "-c", str(apart.config), "--run-id", "many", *chosen)
    beside = subprocess.Popen(
        [*command, "--bucket", "3", "--bucket", "0"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    step(apart, "extract", "many", "--bucket", "1", "--bucket", "2", *chosen)
    _, said = beside.communicate(timeout=300)
    assert beside.returncode == 0, said.decode()
    whole, parts = shards_of(fresh.workspace), shards_of(apart.workspace)
    assert {path.split("/")[1] for path in whole} == {"text", "image", "audio"}
    assert sum("bucket-" in path for path in whole) == 3 * 4
    assert parts == whole


IDS = [
    "..",
    "../up",
    "a/b",
    "a.b",
    "a b",
    "A B",
    "ünïcode",
    "u\u0308nicode",
    "唱片",
    "x" * 200,
    "a\\b",
    "%2e",
    "'; drop",
]


@pytest.fixture(scope="module")
def odd(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A night, in many buckets, of a shop whose ids are hard on file names and whose clips are shared by many items."""
    copy = shop.copy(tmp_path_factory.mktemp("odd") / "shop")

    def change(rows: list[CsvRow]) -> list[CsvRow]:
        for row in rows[20:45]:
            row["clip"] = rows[10 + int(row["record_id"][-1]) % 2]["clip"]
        return rows

    edit(copy, change)
    ids = {row["record_id"]: wanted for row, wanted in zip(items(copy), IDS, strict=False)}
    for name in ("items.csv", "purchases.csv"):
        edit(
            copy, lambda rows: [{**row, "record_id": ids.get(row["record_id"], row["record_id"])} for row in rows], name
        )
    copy.run("odd", *AUDIO, "-s", "ingest.rows_per_bucket=8")
    return copy


def audio_of(shop: Shop) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in shop.workspace.glob("embeddings/audio/*/*.parquet")])


def test_what_lies_in_several_buckets_is_encoded_once(odd: Shop) -> None:
    table = audio_of(odd)
    hashes = [value for value in table["content_hash"].to_pylist() if value]
    assert len(hashes) - len(set(hashes)) > 20
    assert manifest(odd.workspace, "odd")["steps"]["extract.audio"]["encoded_rows"] == len(set(hashes))
    by_hash: dict[bytes, set[bytes]] = {}
    for value, vector in zip(table["content_hash"].to_pylist(), table["vector"].to_pylist(), strict=True):
        if value and vector:
            by_hash.setdefault(value, set()).add(json.dumps(vector).encode())
    assert {len(vectors) for vectors in by_hash.values()} == {1}


def test_ids_of_any_kind_stay_apart_and_name_no_file(odd: Shop) -> None:
    found = audio_of(odd)["item_id"].to_pylist()
    assert len(found) == len(set(found))
    assert set(IDS) <= set(found)
    clips = {row["record_id"]: row["clip"] for row in items(odd)}
    for item_id, value in zip(found, audio_of(odd)["content_hash"].to_pylist(), strict=True):
        if value:
            assert value == hashlib.sha256((odd.folder / clips[item_id]).read_bytes()).digest(), item_id
    outside = {path.name for path in odd.folder.iterdir()}
    assert outside == {
        "items.csv",
        "purchases.csv",
        "buyers.csv",
        "shown.csv",
        "medley.yaml",
        "sleeves",
        "clips",
        "README.txt",
        "workspace",
    }
    named = {path.name for path in odd.workspace.rglob("*") if "report" not in str(path)}
    assert all(name.isascii() and " " not in name and len(name) < 120 for name in named)


def test_an_item_of_any_id_is_found_again(odd: Shop) -> None:
    for wanted in ("a/b", "u\u0308nicode"):
        answer = json.loads(medley("lookup", "-w", odd.workspace, "--item", wanted, "--json").stdout)
        assert answer["query"] == {"item": wanted}
        assert len(answer["hits"]) == 10
        assert wanted not in [hit["item_id"] for hit in answer["hits"]]


def test_where_the_weights_lie_changes_neither_where_output_goes_nor_its_bytes(fresh: Shop, tmp_path: Path) -> None:
    weights, moved = fresh.folder / "weights", tmp_path / "elsewhere" / "net"
    for folder in (weights, moved):
        folder.mkdir(parents=True)
        shutil.copyfile(locate(TimmImage().weights), folder / "net.pth")
    found = []
    for name, path in (("absolute", weights), ("relative", Path(os.path.relpath(moved, ROOT)))):
        workspace = tmp_path / name
        image = f"extract.image={{encoder: timm, weights: 'path:{path}'}}"
        place = (*OFF, "-s", image, "-s", f"workspace={workspace}")
        step(fresh, "ingest", name, *place)
        step(fresh, "extract", name, *place)
        found.append(shards_of(workspace))
    assert sum("bucket-" in path for path in found[0]) == 4
    assert found[0].keys() == found[1].keys()
    for path in found[0]:
        assert pq.read_table(tmp_path / "absolute" / path).equals(pq.read_table(tmp_path / "relative" / path))
    files = {"items.csv", "purchases.csv", "buyers.csv", "shown.csv", "medley.yaml", "README.txt"}
    assert {path.name for path in fresh.folder.iterdir()} == files | {"sleeves", "clips", "weights"}
    assert [path.name for folder in (weights, moved) for path in folder.iterdir()] == ["net.pth"] * 2


@pytest.mark.parametrize(
    ("modality", "settings", "said"),
    [
        ("image", "{encoder: timm, weights: path:/nowhere/net.pth}", "/nowhere/net.pth does not exist"),
        ("text", "{encoder: transformer, weights: path:/nowhere/bert}", "/nowhere/bert does not exist"),
        ("text", "{encoder: transformer, weights: package:no_such_package}", "no_such_package is not installed"),
    ],
)
def test_a_configured_modality_that_cannot_run_ends_the_night(
    fresh: Shop, modality: str, settings: str, said: str
) -> None:
    chosen = (*AUDIO, "-s", f"extract.{modality}={settings}")
    done = fresh.run("broken", *chosen, status=1)
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("medley:")]
    assert said in sentence
    assert "Traceback" not in done.stderr
    assert not (fresh.workspace / "CURRENT.json").exists()
    # Nor where they are gone after ingest.
    medley("ingest", "-c", fresh.config, "--run-id", "later", *AUDIO)
    done = medley("extract", "-c", fresh.config, "--run-id", "later", "--modality", modality, *chosen, status=1)
    assert said in done.stderr


def test_modalities_are_paired_by_id_whatever_the_order_of_the_source(fresh: Shop, tmp_path: Path) -> None:
    chosen = (*TFIDF, "-s", "extract.image={encoder: timm}")
    # The shop holds one record twice: which of the two counts may follow the order, so one is left out.
    edit(fresh, lambda rows: list({row["record_id"]: row for row in rows}.values()))
    turned = fresh.copy(tmp_path / "turned")
    edit(turned, lambda rows: [*rows[40:], *rows[39::-1]])
    for shop in (fresh, turned):
        for verb in ("ingest", "extract", "fuse"):
            step(shop, verb, "paired", *chosen)
    assert shards_of(fresh.workspace) == shards_of(turned.workspace)
    assert receipt(fresh, "paired", "fuse")["digest"] == receipt(turned, "paired", "fuse")["digest"]
    by_id = {row["record_id"]: row for row in items(turned)}
    seen: dict[str, list[str]] = {}
    for modality in ("text", "image"):
        files = sorted((turned.workspace / "embeddings" / modality).rglob("*.parquet"))
        table = pa.concat_tables([pq.read_table(file) for file in files])
        seen[modality] = table["item_id"].to_pylist()
        for item_id, value in zip(seen[modality], table["content_hash"].to_pylist(), strict=True):
            row = by_id[item_id]
            if value and modality == "image":
                assert value == hashlib.sha256((turned.folder / row["sleeve"]).read_bytes()).digest()
            elif value:
                read = f"{row['title']}. {row['blurb']}" if row["blurb"] else row["title"]
                assert value == hashlib.sha256(read.encode()).digest()
    assert seen["text"] == seen["image"]
    assert sorted(seen["text"]) == sorted(by_id)
