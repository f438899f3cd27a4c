"""What `medley check` says before a night, and what ingest stops at before anything is encoded."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load
from pipeline.errors import ConfigError, SourceError, WeightsError
from pipeline.night import begin, parse_time
from pipeline.steps import ingest, preflight
from pipeline.steps.preflight import Finding
from pipeline.steps.room import ITEM_BYTES
from tests.conftest import AS_OF, Shop, medley
from tests.media_files import photo, saved

SUBJECTS = ["source", "checks", "extract.text", "extract.image", "extract.audio", "workspace"]


def findings(shop: Shop, *settings: str) -> dict[str, Finding]:
    """Of the shop, without its dearer encoders."""
    cheap = ["extract.text={encoder: bow}", "extract.image=null", "extract.audio=null"]
    config = load(shop.config, (*cheap, *settings))
    return {finding.subject: finding for finding in preflight.preflight(config, parse_time(AS_OF))}


def test_a_shop_that_can_run_is_found_so_and_nothing_is_written(shop: Shop) -> None:
    before = sorted(shop.folder.rglob("*"))
    document = json.loads(medley("check", "-c", shop.config, "--as-of", AS_OF, "--json").stdout)
    assert [(entry["subject"], entry["level"]) for entry in document["findings"]] == [(name, "ok") for name in SUBJECTS]
    assert sorted(shop.folder.rglob("*")) == before


def test_what_fails_is_said_beside_what_does_not_and_the_exit_status_tells(shop: Shop) -> None:
    done = medley("check", "-c", shop.config, "-s", "source.media_root=/", "--as-of", AS_OF, "--json", status=1)
    levels = {entry["subject"]: entry["level"] for entry in json.loads(done.stdout)["findings"]}
    assert [subject for subject, level in levels.items() if level == "error"] == ["extract.image", "extract.audio"]
    assert done.stderr.splitlines()[-1] == "medley: extract.image, extract.audio would stop a night"


@pytest.mark.parametrize(
    ("setting", "subject", "said"),
    [
        (
            "source.interactions=select 1 as user_id",
            "source",
            "source.interactions: the query returns no column item_id",
        ),
        ("ingest.validation_share=0", "checks", "assert_split_has_every_part: 1 rows, the first empty_part=validation"),
        (
            "extract.text={encoder: bow, template: '{nothing}'}",
            "extract.text",
            "names 'nothing', which is no column of",
        ),
        ("extract.image={weights: 'path:/none'}", "extract.image", "weights path:/none: .*/none does not exist"),
        ("extract.image={encoder: array, file: none.npy}", "extract.image", "given vectors none.npy: file not found"),
    ],
)
def test_each_finding_names_what_would_stop_a_night(shop: Shop, setting: str, subject: str, said: str) -> None:
    found = findings(shop, setting)
    finding = found[subject]
    assert finding.level == "error"
    assert re.search(said, finding.sentence)
    if subject == "source":
        assert list(found) == ["source"]
    else:
        assert {each.level for name, each in found.items() if name != subject} == {"ok"}


def test_a_modality_that_hardly_any_item_has_is_a_warning(shop: Shop) -> None:
    items = "select record_id as item_id, title from read_csv(getvariable('root') || '/items.csv', all_varchar = true)"
    finding = findings(shop, f"source.items={items}", "extract.image={}")["extract.image"]
    assert finding.level == "warning"
    assert finding.sentence.endswith("extract.image: null leaves the modality out")


def test_of_a_long_log_a_sample_of_users_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = findings(shop)["source"].sentence
    monkeypatch.setattr(preflight, "LOG_ROWS", 500)
    sampled = findings(shop, "ingest.min_item_interactions=40")
    items, rows = (int(sampled["source"].sentence.split()[place]) for place in (0, 3))
    assert whole.split()[0] == str(items)
    assert 200 < rows < 1000 < int(whole.split()[3])
    assert sampled["checks"].level == "ok", "a sample does not tell how often an item was chosen"


def test_a_disk_without_room_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=60 * ITEM_BYTES - 1))
    finding = findings(shop)["workspace"]
    assert finding.level == "error"
    assert "GB are free, and a night of" in finding.sentence
    assert "make room" in finding.sentence


@pytest.mark.parametrize(
    ("setting", "error", "said"),
    [
        ("extract.text.template='{nothing}'", ConfigError, "names 'nothing', which is no column of items"),
        ("extract.image.weights=path:/none", WeightsError, "weights path:/none"),
        (
            "source.media_root=/",
            SourceError,
            "no (image|audio) of the [0-9]+ that items name is below /, such as that",
        ),
    ],
)
def test_ingest_stops_at_what_encoding_would_stop_at(
    shop: Shop, tmp_path: Path, setting: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ingest.run(begin(load(shop.config, (f"workspace={tmp_path}", setting)), AS_OF, None))
    assert not list(tmp_path.glob("staged/*/*"))


def pictures(folder: Path, broken: int) -> tuple[str, ...]:
    """Settings of a shop whose items have one of 40 pictures, of which some are no pictures."""
    for number in range(40):
        data = b"no picture" if number < broken else saved(photo(), "PNG")
        (folder / f"{number}.png").write_bytes(data + bytes([number]))
    items = "select record_id as item_id, title, '' as text, (row_number() over ()) % 40 || '.png' as image"
    items += " from read_csv(getvariable('root') || '/items.csv', all_varchar = true)"
    return f"source.items={items}", f"source.media_root={folder}", "extract.text=null", "extract.audio=null"


@pytest.mark.parametrize(("broken", "limit", "level"), [(4, 0.01, "error"), (4, 0.09, "warning"), (4, 0.11, "ok")])
def test_how_many_of_a_sample_cannot_be_decoded_tells_whether_a_night_would_stop(
    shop: Shop, tmp_path: Path, broken: int, limit: float, level: str
) -> None:
    finding = findings(shop, *pictures(tmp_path, broken), f"extract.image={{max_error_rate: {limit}}}")["extract.image"]
    assert finding.level == level, finding.sentence
    assert "that were decoded cannot be used, such as: not a readable picture" in finding.sentence
    assert (f"stops a night above {limit:.0%}" in finding.sentence) == (level != "ok")
