"""What a scheduler maps extraction over: tasks cut by seconds, and none for what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import load
from pipeline.night import Night, begin
from pipeline.steps import extract, ingest
from pipeline.steps.extract import Plan, plan, tasks
from tests.conftest import AS_OF

YAML = """
source:
  params: {root: .}
  items: select i::varchar as item_id, 'Item ' || i as title, i::varchar as image, null as text from range(64) t(i)
  interactions: select 'u' || u as user_id, ((u * 7 + i * 3) % 64)::varchar as item_id,
    timestamp '2024-01-01' + to_seconds(i) as ts from range(40) a(u), range(6) b(i)
extract: {text: {encoder: tfidf, width: 4}, image: {encoder: array, file: pictures.npy}, audio: null}
"""


def planned(seconds: dict[int, float]) -> Plan:
    return Plan(None, {}, seconds)  # type: ignore[arg-type]


def of(groups: list[dict[str, Any]], modality: str) -> list[list[int]]:
    """The buckets of each group of a modality, by the options of the verb."""
    own = (group["options"][2:] for group in groups if group["options"][:2] == ["--modality", modality])
    assert all(set(options[::2]) == {"--bucket"} for group in groups for options in [group["options"][2:]])
    return [[int(bucket) for bucket in options[1::2]] for options in own]


@pytest.mark.parametrize(
    ("seconds_each", "buckets", "number"),
    [
        (0.001, 300, 1),  # less than a process's start is worth no second process
        (0.1, 300, 3),  # no task is shorter than ten seconds where there could be fewer
        (1, 160, 8),  # eight at least
        (10, 160, 27),  # of a minute
        (1000, 160, 160),  # a bucket is not cut
        (60, 1000, 199),  # two hundred at most
    ],
)
def test_a_task_takes_about_a_minute_and_there_are_eight_to_two_hundred(
    seconds_each: float, buckets: int, number: int
) -> None:
    groups = tasks({"image": planned(dict.fromkeys(range(buckets), seconds_each))}, 60)
    assert len(groups) == number
    assert [bucket for group in of(groups, "image") for bucket in group] == list(range(buckets))
    sizes = [len(group) for group in of(groups, "image")]
    assert max(sizes) <= min(sizes) + 1


def test_modalities_share_the_limits_and_long_buckets_have_tasks_of_their_own() -> None:
    many = {name: planned(dict.fromkeys(range(400), 100.0)) for name in ("text", "image", "audio")}
    assert 150 < len(tasks(many, 60)) <= 200
    uneven = tasks({"text": planned({3: 1.0, 5: 200.0, 8: 1.0, 9: 1.0}), "image": planned({0: 1.0})}, 60)
    assert of(uneven, "text") == [[3], [5], [8, 9]]
    assert of(uneven, "image") == [[0]]
    assert tasks({"text": planned({}), "image": planned({})}, 60) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "pictures.npy", np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32))
    (tmp_path / "medley.yaml").write_text(YAML)
    return tmp_path


def opened(folder: Path, run_id: str, full: bool = False) -> Night:
    night = begin(load(folder / "medley.yaml"), AS_OF, run_id, full)
    ingest.run(night)
    return night


def test_planning_leaves_receipts_of_what_is_there_and_maps_over_the_rest(folder: Path) -> None:
    first = opened(folder, "first")
    before = plan(first, "image")
    assert (list(before.receipts), list(before.seconds)) == ([], [0, 1, 2, 3])
    for buckets in of(tasks({"image": before}, 60), "image"):
        extract.run(first, "image", buckets)
    everything = plan(opened(folder, "second"), "image")
    assert (list(everything.receipts), list(everything.seconds)) == ([0, 1, 2, 3], [])
    assert all(receipt.skipped for receipt in everything.receipts.values())
    assert tasks({"image": everything}, 60) == []
    pictures = np.load(folder / "pictures.npy")
    pictures[0] += 1
    np.save(folder / "pictures.npy", pictures)
    third = opened(folder, "third")
    changed = plan(third, "image")
    (bucket,) = changed.seconds
    assert sorted([*changed.receipts, bucket]) == [0, 1, 2, 3]
    assert extract.run(third, "image", [bucket])[0].encoded_rows == 1
    assert len(extract.summarise(third, "image")) == 4
    again = plan(opened(folder, "full", full=True), "image")
    assert (list(again.receipts), list(again.seconds)) == ([], [0, 1, 2, 3])


def test_what_a_row_takes_is_what_it_took_on_the_night_that_encoded_most(folder: Path) -> None:
    first = opened(folder, "first")
    guessed = plan(first, "image").seconds
    rows = ingest.staged_of(first).summary.bucket_rows
    for bucket, seconds in guessed.items():
        assert seconds == pytest.approx((rows[bucket] + 1 + rows[bucket]) * 1e-5)
    for bucket, receipt in enumerate(extract.run(first, "image")):
        path = f"runs/first/steps/extract.image.bucket-{bucket:05d}.json"
        document = first.workspace.read_json(path)
        assert document is not None
        first.workspace.write_json(path, {**document, "seconds": 2.0 * receipt.encoded_rows})
    full = plan(opened(folder, "full", full=True), "image").seconds
    for bucket, seconds in full.items():
        assert seconds == pytest.approx(2 * rows[bucket], rel=1e-3)
    pictures = np.load(folder / "pictures.npy")
    pictures[:3] += 1
    np.save(folder / "pictures.npy", pictures)
    assert sum(plan(opened(folder, "next"), "image").seconds.values()) == pytest.approx(2 * 3, rel=1e-3)


def test_a_run_that_is_staged_again_is_planned_again(folder: Path) -> None:
    extract.run(opened(folder, "one"), "image")
    np.save(folder / "pictures.npy", np.load(folder / "pictures.npy") + 1)
    night = opened(folder, "one")
    assert list(plan(night, "image").seconds) == [0, 1, 2, 3]
