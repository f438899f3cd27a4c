"""A plan says what the night that follows it computes, row by row and step by step, and leaves everything as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.config import load
from pipeline.night import begin
from pipeline.steps import STEPS, fuse, perform, train
from pipeline.steps.errors import failures
from pipeline.steps.plan import run as planned
from pipeline.steps.plan_changes import Changes, Difference, _changed
from tests.conftest import ANY_QUALITY, AS_OF, QUICK_MODEL, CsvRow, Shop, edit, manifest, medley, options

QUICK = options("evaluate.bootstrap_samples=50", *ANY_QUALITY, *QUICK_MODEL)
AFTER_FUSE = {"train", "rerank", "evaluate", "index"}


def texts(shop: Shop) -> None:
    def change(rows: list[CsvRow]) -> list[CsvRow]:
        return [
            {**row, "blurb": row["blurb"] + " A new pressing."} if 3 <= i < 6 else row for i, row in enumerate(rows)
        ]

    edit(shop, change)


def picture(shop: Shop) -> None:
    Image.new("RGB", (64, 64), (9, 200, 77)).save(shop.folder / "sleeves/rec-0005.jpg")


def choices(shop: Shop) -> None:
    new = {"record_id": "rec-0007", "bought_at": "2025-12-30T10:00:00Z", "quantity": "1"}
    edit(shop, lambda rows: [*rows, *({"buyer_id": f"buyer-000{n}", **new} for n in range(1, 8))], "purchases.csv")


def nothing(shop: Shop) -> None: ...


@pytest.mark.parametrize(
    ("change", "setting", "encoded", "reasons"),
    [
        (nothing, "", {}, {}),
        (
            texts,
            "",
            {"text": 3},
            {"extract.text": ["catalogue: 3 changed texts"], "fuse": ["extract.text is computed again"]},
        ),
        (picture, "", {"image": 1}, {"extract.image": ["catalogue: 1 changed picture"]}),
        (choices, "", {}, {"fuse": ["log: 7 choices more"]}),
        (
            nothing,
            "extract.audio.max_seconds=5",
            {"audio": ...},
            {
                "extract.audio": ["settings changed: extract.audio.max_seconds"],
                "fuse": ["extract.audio is computed again"],
            },
        ),
        (nothing, "train.max_epochs=5", {}, {"train": ["settings changed: train.max_epochs"]}),
    ],
)
def test_a_plan_is_the_night_that_follows(
    night: Shop, change: Callable[[Shop], None], setting: str, encoded: Mapping[str, Any], reasons: Mapping[str, Any]
) -> None:
    change(night)
    own = options(setting) if setting else []
    before = files(night.workspace)
    done = medley("plan", "--json", "-c", night.config, "--as-of", AS_OF, *QUICK, *own)
    assert files(night.workspace) == before
    plan = json.loads(done.stdout)
    night.run("second", *own)
    steps = manifest(night.workspace, "second")["steps"]
    assert {name: step["skipped"] for name, step in plan["steps"].items()} == {
        name: step["skipped"] for name, step in steps.items()
    }
    rows = {name: counts["encoded_rows"] for name, counts in plan["modalities"].items()}
    assert rows == {name: steps[f"extract.{name}"]["encoded_rows"] for name in rows}
    assert {name for name, count in rows.items() if count} == set(encoded)
    assert all(rows[name] == count for name, count in encoded.items() if count is not ...)
    assert {name: plan["steps"][name]["why"] for name in reasons} == reasons
    computed = {name for name, step in plan["steps"].items() if not step["skipped"]} - {"ingest", "publish"}
    assert computed == (set(reasons) | ({"fuse"} if encoded else set()) | (AFTER_FUSE if reasons else set()))


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder, with its size and time of change."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (folder, *folder.rglob("*"))}


YAML = """
workspace: workspace
source:
  items: select 'i' || i as item_id, 'Item ' || i as title, 'word ' || i || ' of ' || i % 7 as text, i % 3 as genre
    from range(64) t(i)
  interactions: select 'u' || u as user_id, 'i' || ((u * 7 + i * 3) % 64) as item_id,
    timestamp '2024-01-01' + to_seconds(i) as ts from range(40) a(u), range(9) b(i)
extract: {text: {encoder: tfidf, width: 4, template: "{text}"}, image: null, audio: null}
train: {model: svd, widths: [4]}
rerank: {enabled: false}
evaluate: {baselines: [{model: popularity}], ablation: "off", bootstrap_samples: 10}
publish: {gate: {min_ratio: 0, min_published_ratio: 0}}
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small source's YAML beside the workspace of its one night."""
    yaml = tmp_path_factory.mktemp("small") / "medley.yaml"
    yaml.write_text(YAML)
    run(yaml, "first")
    return yaml


@pytest.fixture
def small(first: Path, tmp_path: Path) -> Path:
    """A small source with its YAML, on which one night has run."""
    return shutil.copytree(first.parent, tmp_path / "small") / first.name


def run(yaml: Path, run_id: str, until: str = "publish") -> None:
    night = begin(load(yaml), AS_OF, run_id)
    for step in STEPS:
        perform(night, step.name)
        if step.name == until:
            return


def plan(yaml: Path, *settings: str, full: bool = False) -> dict[str, Any]:
    return planned(load(yaml, settings), AS_OF, full)


def why(document: dict[str, Any]) -> dict[str, list[str]]:
    """By step that is computed, the reasons; but for those of every night."""
    return {name: step["why"] for name, step in document["steps"].items() if step["why"] not in ([], ["every night"])}


def test_before_the_first_night_everything_is_to_be_made_and_no_workspace_is(tmp_path: Path) -> None:
    yaml = tmp_path / "medley.yaml"
    yaml.write_text(YAML)
    document = plan(yaml)
    assert set(why(document)) == {"extract.text", "fuse", "train", "rerank", "evaluate", "index"}
    assert {reason for reasons in why(document).values() for reason in reasons} == {"no night before"}
    assert document["modalities"] == {"text": {"rows": 64, "encoded_rows": 64}}
    assert (document["compared_with"], document["seconds"]) == (None, None)
    assert not (tmp_path / "workspace").exists()


def test_a_full_night_computes_everything_and_its_plan_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a model that reads the log alone the name is known, and it is there.
    small.write_text(small.read_text().replace("{model: svd, widths: [4]}", "{model: als}"))
    run(small, "second")
    monkeypatch.setattr(train, "_fitted", None)
    document = plan(small, full=True)
    assert set(map(tuple, why(document).values())) == {("--full",)}
    assert document["modalities"]["text"]["encoded_rows"] == 64
    assert not any(step["skipped"] for step in document["steps"].values())
    assert document["seconds"] > 0


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("extract.text.width=5", {"extract.text", "index"}),
        ("fuse.width=3", {"fuse"}),
        ("train.model=als", {"train"}),
        ("evaluate.users=7", {"evaluate"}),
        ("seed=1", {"extract.text", "fuse", "train", "evaluate", "index"}),
        ("extract.text.max_error_rate=0.5", set()),
    ],
)
def test_a_changed_setting_is_named_where_it_counts(small: Path, setting: str, named: set[str]) -> None:
    said = why(plan(small, setting))
    name = setting.partition("=")[0]
    assert {step for step, reasons in said.items() if f"settings changed: {name}" in reasons} == named
    assert not any("another version" in reason for reasons in said.values() for reason in reasons)


def test_a_modality_that_is_turned_on_is_its_setting_and_all_its_rows(small: Path) -> None:
    np.save(small.parent / "cries.npy", np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32))
    small.write_text(small.read_text().replace("i % 3 as genre", "i as audio"))
    run(small, "second")
    root, audio = f"source.media_root={small.parent}", "extract.audio={encoder: array, file: cries.npy}"
    document = plan(small, root, audio)
    assert why(document)["extract.audio"] == ["settings changed: extract.audio"]
    assert "settings changed: extract.audio" in why(document)["fuse"]
    assert document["modalities"] == {
        "text": {"rows": 64, "encoded_rows": 0},
        "audio": {"rows": 64, "encoded_rows": 64},
    }


def test_what_is_new_changed_and_gone_is_counted(small: Path) -> None:
    text = small.read_text().replace("range(64) t(i)", "range(2, 65) t(i)").replace("i % 3 as genre", "i % 2 as genre")
    small.write_text(text.replace("'word ' || i", "'word ' || greatest(i, 5)"))
    document = plan(small)
    changes = document["changes"]
    assert changes["items"] == {"new": 1, "gone": 2}
    assert changes["changed"] == {"genre": sum(i % 3 != i % 2 for i in range(2, 64)), "text": 3}
    assert changes["users"] == {"new": 0, "gone": 0}
    gone = sum((u * 7 + i * 3) % 64 < 2 for u in range(40) for i in range(9))
    assert changes["choices"] == {"new": 0, "gone": gone}
    run(small, "second", "extract")
    receipts = [
        json.loads(path.read_text()) for path in small.parent.glob("workspace/runs/second/steps/extract.*.json")
    ]
    assert document["modalities"]["text"]["encoded_rows"] == sum(receipt["encoded_rows"] for receipt in receipts) == 4


def test_what_is_asked_for_again_is_a_reason(small: Path) -> None:
    small.write_text(small.read_text().replace("'word ' || i ||", "case when i = 9 then '?' else 'word ' || i end ||"))
    small.write_text(small.read_text().replace("' of ' || i % 7", "case when i = 9 then '' else ' of ' || i % 7 end"))
    run(small, "second")
    assert failures(small.parent / "workspace", None, None, None).retry() == {"text": 1}
    document = plan(small)
    assert why(document)["extract.text"] == ["rows that `medley errors --retry` asked for"]
    assert document["modalities"]["text"]["encoded_rows"] == 1
    run(small, "third")
    assert why(plan(small)) == {}


def test_another_version_and_what_is_gone_are_told_apart(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why(plan(small)) == {}
    folder = small.parent / "workspace/fused"
    shutil.move(folder, small.parent / "fused")
    assert why(plan(small)) == {"fuse": ["what an earlier night made is gone, or of another version of Medley"]}
    shutil.move(small.parent / "fused", folder)
    monkeypatch.setattr(fuse, "VERSION", fuse.VERSION + 1)
    assert why(plan(small))["fuse"] == ["another version of Medley"]


def test_seconds_are_those_of_past_nights_and_grow_with_the_log(small: Path) -> None:
    path = small.parent / "workspace/runs/first/steps/train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 100.0}))
    small.write_text(small.read_text().replace("range(9) b(i)", "range(18) b(i)"))
    assert plan(small)["steps"]["train"]["seconds"] == pytest.approx(200, rel=0.02)


def test_what_an_encoder_takes_that_no_night_has_had_is_unknown(small: Path) -> None:
    known, other = plan(small, "extract.text.width=5"), plan(small, "extract.text.encoder=bow")
    assert known["steps"]["extract.text"]["seconds"] > 0
    assert (other["steps"]["extract.text"]["seconds"], other["seconds"]) == (None, None)


def test_a_file_changes_by_its_content_and_null_is_a_value() -> None:
    ids = {"item_id": ["a", "b", "c", "d"], "cold": [True] * 4}
    old = {"text": ["x", None, None, "y"], "image": ["1", "2", "3", "4"], "image_hash": [b"1", b"2", None, b"4"]}
    now = {"text": ["x", None, "x", None], "image": ["9", "2", "3", "4"], "image_hash": [b"1", b"7", None, b"4"]}
    lists = pa.array([["p"], [], ["q"], None])
    before = pa.table({**ids, **old, "tags": lists, "image_problem": ["no"] * 4})
    after = pa.table({**ids, **now, "tags": pa.array([["p"], ["q"], ["q"], None]), "new": ["n", None, None, None]})
    assert _changed(before, after) == {"text": 2, "image": 1, "tags": 1, "new": 1}


def test_changes_are_said_in_words() -> None:
    changes = Changes(Difference(12, 1), {"genre": 2, "text": 3}, Difference(1, 0), Difference(402, 0))
    assert changes.catalogue() == "catalogue: 12 items new, 1 item gone, 2 changed genres, 3 changed texts"
    assert changes.catalogue(lambda name: name == "text") == "catalogue: 12 items new, 1 item gone, 3 changed texts"
    assert changes.log == "log: 402 choices more, 1 user new"
    assert (Changes().catalogue(), Changes().log) == ("", "")
