from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import AS_OF, ROOT, Shop, medley


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed verb says to its user: one line, and no traceback."""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("medley:")]
    return line


@pytest.mark.parametrize(
    ("override", "status", "sentence"),
    [
        ("extract.image.batchrows=3", 2, "unknown key extract.image.batchrows; allowed here: "),
        ("train.model=magic", 2, "train.model: no model is called 'magic': there are als, auto, blend, bpr, content, "),
        ("ingest.split=sometimes", 2, "ingest.split: Input should be 'time', 'leave_last_out' or 'given'"),
        ("source.media_root=/no/such/folder", 1, "media folder /no/such/folder does not exist; set source.media_root"),
        ("source.items=nowhere.sql", 2, "no such query nowhere.sql; give a path relative to the YAML file"),
        ("source.items=select 1 as id", 1, "source.items: the query returns no column item_id, title; it returns id"),
        ("source.items=selekt", 1, "source.items: "),
        ("source.params.root=/no/such/folder", 1, "source.items: "),
        ("source.engine=postgresql", 2, "set MEDLEY_SOURCE_URI to postgresql://"),
        ("workspace=/proc/nowhere", 1, "workspace /proc/nowhere: "),
        ("workspace=hdfs://bucket/prefix", 1, "no store of this kind is known"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_its_exit_status(
    shop: Shop, tmp_path: Path, override: str, status: int, sentence: str
) -> None:
    workspace = () if override.startswith("workspace") else ("-s", f"workspace={tmp_path}")
    env = {key: value for key, value in os.environ.items() if key != "MEDLEY_SOURCE_URI"}
    arguments = ["ingest", "-c", str(shop.config), "--as-of", AS_OF, *workspace, "-s", override]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert sentence in said(done)
    assert not list(tmp_path.glob("staged/*/receipt.json"))


def test_an_empty_catalogue_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "medley.yaml").write_text(
        "source: {items: \"select '1' as item_id, 't' as title where false\","
        " interactions: \"select 'u' as user_id, '1' as item_id, now() as ts where false\"}\n"
        "extract: {image: null, audio: null}\n"
    )
    assert "assert_catalogue_is_not_empty" in said(medley("run", "-c", tmp_path / "medley.yaml", status=1))


def test_a_step_before_its_turn_says_what_to_run(shop: Shop, tmp_path: Path) -> None:
    common = ("-c", shop.config, "-s", f"workspace={tmp_path}")
    assert "begin one with `medley ingest`" in said(medley("fuse", *common, status=1))
    medley("ingest", "--as-of", AS_OF, *common)
    assert "run `medley extract` with this run id first" in said(medley("fuse", *common, status=1))
    assert "this workspace has buckets 0 to 3" in said(
        medley("extract", *common, "--modality", "text", "--bucket", 9, status=1)
    )
    turned_off = medley("extract", *common, "-s", "extract.audio=null", "--modality", "audio", status=1)
    assert "modality audio is not configured" in said(turned_off)


@pytest.mark.parametrize(
    "arguments", [("run",), ("nosuchverb",), ("lookup", "-k", "0", "-w", "."), ("extract", "--modality", "smell")]
)
def test_bad_usage_exits_with_two(arguments: tuple[str, ...]) -> None:
    done = medley(*arguments, status=2)
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [("--as-of", "tomorrow", "write an ISO time"), ("--run-id", "../x", "use letters, digits")],
)
def test_a_wrong_time_or_run_id_is_one_sentence(
    shop: Shop, tmp_path: Path, flag: str, value: str, sentence: str
) -> None:
    assert sentence in said(medley("ingest", "-c", shop.config, "-s", f"workspace={tmp_path}", flag, value, status=2))


@pytest.mark.parametrize("verb", ["run", "ingest", "index", "tune"])
def test_torchrun_starts_the_fit_alone(shop: Shop, tmp_path: Path, verb: str) -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "1"}
    done = medley(verb, "-c", shop.config, "-s", f"workspace={tmp_path}", status=2, env=torchrun)
    assert done.stderr.startswith("medley: torchrun starts `medley train` alone; ")
    assert not list(tmp_path.iterdir())


def test_standard_output_is_one_json_document_and_the_log_is_elsewhere(shop: Shop, tmp_path: Path) -> None:
    done = medley("ingest", "--json", "-c", shop.config, "-s", f"workspace={tmp_path}", "--as-of", AS_OF)
    assert json.loads(done.stdout)["step"] == "ingest"
    assert "ingest" in done.stderr
    assert (
        "ingest"
        not in medley("ingest", "-q", "-c", shop.config, "-s", f"workspace={tmp_path}", "--as-of", AS_OF).stderr
    )


def test_sample_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    assert str(tmp_path) in said(medley("sample", tmp_path, "--items", 50, "--users", 30, status=2))
    assert (tmp_path / "precious.txt").read_text() == "mine"
