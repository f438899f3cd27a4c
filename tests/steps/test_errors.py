"""Rows without a vector: named by reason, and tried again where that is asked for, without touching what is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artefacts.shards import kind_of
from pipeline.config import load
from pipeline.errors import ConfigError, StepFailed
from pipeline.night import Night, begin
from pipeline.steps import extract, ingest
from pipeline.steps.errors import document, failures
from tests.conftest import AS_OF, Shop, medley
from tests.test_cli import said

# Texts that fail by their content as long as the file of those to be refused names them, one without content, and
# four that are alike and lie in several buckets.
YAML = """
source:
  items: select 'i' || i as item_id, 'Item ' || i as title, case when i > 0 then 'word ' || least(i, 60) end as text
    from range(64) t(i)
  interactions: select 'u' || u as user_id, 'i' || ((u * 7 + i * 3) % 64) as item_id,
    timestamp '2024-01-01' + to_seconds(i) as ts from range(40) a(u), range(6) b(i)
extract:
  text: {encoder: own, entry_point: picky, template: "{text}", max_error_rate: 1, options: {refused: REFUSED}}
  image: null
  audio: null
"""
PICKY = """
from pathlib import Path
import numpy as np
from pipeline.encoders import Encoder
from pipeline.errors import MediaError

class Picky(Encoder):
    model = "picky"
    width = batch_cost = window = 4

    def __init__(self, settings):
        super().__init__()
        self.refused, self.identity = Path(settings.options["refused"]), "picky"

    def render(self, raw):
        if not raw.columns["text"]:
            raise MediaError("no text")
        return raw.columns["text"]

    def load(self): ...

    def decode(self, raw):
        text = self.render(raw)
        if text in self.refused.read_text().splitlines():
            raise MediaError(f"not a word: {text}")
        return [np.full(4, len(text), np.float32)]
"""
REFUSED = [f"word {i}" for i in (1, 2, 3, 4, 5, 6, 7, 60)]


@pytest.fixture
def folder(tmp_path: Path, install: Callable[..., Path]) -> Path:
    install("picky_encoder", PICKY, "[medley.encoders]\npicky = picky_encoder:Picky\n")
    (tmp_path / "medley.yaml").write_text(YAML.replace("REFUSED", str(tmp_path / "refused.txt")))
    refuse(tmp_path, REFUSED)
    return tmp_path


def refuse(folder: Path, texts: list[str]) -> None:
    (folder / "refused.txt").write_text("\n".join(texts))


def night(folder: Path, run_id: str) -> tuple[Night, int]:
    """A night up to extraction, and how many rows it encoded."""
    opened = begin(load(folder / "medley.yaml"), AS_OF, run_id)
    ingest.run(opened)
    planned = extract.plan(opened, "text")
    if planned.seconds:
        extract.run(opened, "text", list(planned.seconds))
    encoded = sum(receipt.encoded_rows for receipt in opened.receipts())
    assert planned.fresh == encoded
    return opened, encoded


def shards(opened: Night) -> list[str]:
    return extract.shard_paths(opened)


def ids(folder: Path, run_id: str | None = None, reason: str | None = None) -> set[str]:
    return {row.item_id for row in failures(folder / "workspace", run_id, None, reason).rows}


def test_reasons_that_differ_by_what_they_quote_are_one_and_missing_is_told_apart(folder: Path) -> None:
    night(folder, "first")
    listed = failures(folder / "workspace", None, None, None)
    absent, refused = sorted(listed.kinds(), key=lambda kind: int(kind["rows"]))
    assert absent == {
        "modality": "text",
        "reason": "no text",
        "missing": True,
        "rows": 1,
        "share": round(1 / 64, 6),
        "examples": [{"item_id": "i0", "reason": "no text"}],
    }
    assert (refused["reason"], refused["missing"], refused["rows"]) == ("not a word", False, 11)
    assert refused["share"] == round(11 / 64, 6)
    assert len(refused["examples"]) == 5


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("file not found: a.jpg", "file not found"),
        ("not a readable clip (it holds no sound)", "not a readable clip"),
        ("91 bytes, over the limit of 80: b.png", "N bytes, over the limit of N"),
        ("no clip2", "no clip2"),
    ],
)
def test_a_kind_of_reason_quotes_nothing(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind == kind_of(kind)


def test_rows_are_chosen_by_run_and_reason(folder: Path) -> None:
    night(folder, "first")
    refuse(folder, [])
    failures(folder / "workspace", None, None, "word 60").retry()
    night(folder, "second")
    assert ids(folder, "first", "word 60") == {"i60", "i61", "i62", "i63"}
    assert ids(folder, None, "word") == {f"i{i}" for i in range(1, 8)}
    assert ids(folder, None, "sword") == set()
    with pytest.raises(StepFailed, match="has no run third: begin one"):
        failures(folder / "workspace", "third", None, None)
    with pytest.raises(ConfigError, match="--modality image: run second has text"):
        failures(folder / "workspace", None, "image", None)
    begin(load(folder / "medley.yaml"), AS_OF, "third")
    with pytest.raises(StepFailed, match="run third has extracted nothing yet"):
        ids(folder)


def test_a_retry_tries_the_chosen_rows_once_and_leaves_what_is_there_as_it_was(folder: Path) -> None:
    first, encoded = night(folder, "first")
    assert encoded == 60  # those that are alike are encoded once
    before = {path: path.read_bytes() for path in first.workspace.root.glob("embeddings/**/*") if path.is_file()}
    refuse(folder, [])
    unasked, encoded = night(folder, "unasked")
    assert (encoded, shards(unasked)) == (0, shards(first))
    assert failures(folder / "workspace", None, None, "word 60").retry() == {"text": 4}
    mended, encoded = night(folder, "mended")
    assert encoded == 1
    assert ids(folder) == {f"i{i}" for i in range(8)}
    assert set(shards(mended)) != set(shards(first))
    assert all(path.read_bytes() == data for path, data in before.items())
    again, encoded = night(folder, "again")
    assert (encoded, shards(again)) == (0, shards(mended))
    # Of the first run's rows four have a vector since, which stays.
    assert failures(folder / "workspace", "first", None, None).retry() == {"text": 11}
    assert night(folder, "all")[1] == 7
    assert ids(folder) == {"i0"}


def test_a_retry_in_vain_is_made_once_and_changes_nothing_that_follows(folder: Path) -> None:
    first, _ = night(folder, "first")
    for attempt in ("one", "two"):
        failures(folder / "workspace", None, None, None).retry()
        tried, encoded = night(folder, attempt)
        assert encoded == 8
        assert shards(tried) == shards(first)
        after, encoded = night(folder, f"after {attempt}".replace(" ", "-"))
        assert (encoded, shards(after)) == (0, shards(first))
        assert all(receipt.skipped for receipt in extract.summarise(after, "text"))


def test_what_was_asked_for_outlives_a_changed_bucket(folder: Path) -> None:
    night(folder, "first")
    failures(folder / "workspace", None, None, None).retry()
    night(folder, "tried")
    yaml = folder / "medley.yaml"
    yaml.write_text(yaml.read_text().replace("range(64) t(i)", "range(65) t(i)"))
    assert night(folder, "larger")[1] == 0  # the new item's text is that of others


def test_nothing_is_asked_of_rows_that_are_tried_every_night(night: Shop) -> None:
    picture = "not a readable picture"
    done = json.loads(medley("errors", "-w", night.workspace, "--retry", "--json").stdout)
    counts: dict[str, Any] = {(kind["modality"], kind["reason"]): kind["rows"] for kind in done["reasons"]}
    assert done["retried"]["image"] == counts["image", picture]
    assert done["retried"].keys() <= {"text", "image", "audio"}
    missing = json.loads(medley("errors", "-w", night.workspace, "--reason", "no image", "--retry", "--json").stdout)
    assert missing["retried"] == {}
    assert {row["reason"] for row in missing["rows"]} == {"no image"}
    assert [kind["missing"] for kind in missing["reasons"]] == [True]


def test_the_verb_is_a_table_for_people_cut_to_the_width(night: Shop) -> None:
    lines = medley("errors", "-w", night.workspace, "--modality", "image").stdout.splitlines()
    assert lines[0] == "run first, rows: image 80"
    assert lines[1].split() == ["modality", "rows", "share", "reason", "such", "as"]
    assert all(line.startswith("image ") and len(line) <= 160 for line in lines[2:])
    assert "has no run" in said(medley("errors", "-w", night.folder / "elsewhere", status=1))
    assert not (night.folder / "elsewhere").exists()


def test_a_shard_that_is_gone_is_one_sentence(night: Shop) -> None:
    shutil.rmtree(night.workspace / "embeddings/image")
    assert "run the night again" in said(medley("errors", "-w", night.workspace, status=1))


def test_the_document_lists_rows_only_where_a_reason_is_asked_for(folder: Path) -> None:
    night(folder, "first")
    listed = failures(folder / "workspace", None, None, "word 60")
    rows = document(listed, listed=True, asked=None)["rows"]
    assert {tuple(row.values()) for row in rows} == {("text", f"i{i}", "not a word: word 60") for i in (60, 61, 62, 63)}
    assert "rows" not in document(listed, listed=False, asked=None)
