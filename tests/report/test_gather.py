"""The report says what the run's files say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Config
from pipeline.errors import ShardCorrupt, WorkspaceError
from pipeline.report import Report, RunFiles, gather
from pipeline.report.item_map import project
from pipeline.report.render import largest
from tests.report.vectors import LISTED

WriteRun = Callable[..., RunFiles]


def test_intake_names_every_reason_largest_first(write_run: WriteRun) -> None:
    report = gather(write_run())
    interactions = report.source.intake[1]
    assert (interactions.read, interactions.kept) == (80, 70)
    assert largest(interactions.dropped) == [("unknown item", 6), ("after as_of", 4)]
    assert report.interactions == 70


def test_a_modality_sums_its_buckets_and_tells_absent_from_unusable(write_run: WriteRun) -> None:
    (image,) = gather(write_run()).modalities
    assert (image.modality, image.rows, image.encoded, image.missing) == ("image", 48, 40, 8)
    assert (image.absent, image.unusable) == (7, 1)
    assert [(reason.text, reason.rows) for reason in image.reasons] == [("no image", 7), ("file not found", 1)]
    assert image.reasons[1].examples[0].title == "Record 30"
    assert image.reasons[1].examples[0].reason == "file not found: 30.jpg"


@pytest.mark.parametrize(("image", "readable"), [("0.jpg", True), ("2.jpg", False), (None, False)])
def test_an_example_shows_its_picture_where_that_can_be_read_anyway(
    write_run: WriteRun, image: str | None, readable: bool
) -> None:
    (example,) = gather(write_run(columns={"image": [image] * 48})).modalities[0].reasons[1].examples
    assert example.picture.startswith("data:image/jpeg;base64,") == readable
    assert bool(example.picture) == readable


def test_steps_come_in_the_order_of_the_night_with_buckets_as_one_line(write_run: WriteRun) -> None:
    steps = gather(write_run()).steps
    assert [step.step for step in steps] == ["ingest", "extract.image", "fuse", "train"]
    assert steps[1].seconds == 2.5
    assert steps[1].peak_rss_bytes == 500_000_000
    assert (steps[1].encoded_rows, steps[1].missing_rows, steps[3].encoded_rows) == (40, 8, 0)


def test_headline_compares_the_trained_model_with_popularity_and_als(write_run: WriteRun) -> None:
    headline = gather(write_run()).headline
    assert headline is not None
    assert (headline.model, headline.score.mean) == ("two_tower", 0.2)
    ratios = [(comparison.baseline, round(comparison.ratio or 0, 4)) for comparison in headline.comparisons]
    assert ratios == [("popularity", 2.0), ("als", 1.3333)]


def test_metrics_put_the_trained_model_first_and_random_last(write_run: WriteRun) -> None:
    view = gather(write_run()).metrics[1]
    assert view.metric == "ndcg@10"
    assert [panel.segment for panel in view.panels] == ["all", "cold"]
    assert [score.model for score in view.panels[0].scores] == ["two_tower", "als", "content", "popularity", "random"]
    assert view.panels[0].top >= max(score.score.high or 0 for score in view.panels[0].scores)


def test_shelves_show_the_head_of_the_list_that_goes_out(write_run: WriteRun) -> None:
    run = write_run()
    path = run.index / "recommendations.parquet"
    table = pq.read_table(path)
    # The order of the file, and of nothing else: the best come last.
    turned = pa.array(LISTED + 1 - table["rank"].to_numpy(), pa.int32())
    pq.write_table(table.set_column(1, "rank", turned), path)
    report = gather(run)
    assert len(report.shelves) == 10
    rows = sorted(pq.read_table(path).to_pylist(), key=lambda row: row["rank"])
    seen = dict(zip(*pq.read_table(run.index / "users.parquet").to_pydict().values(), strict=True))
    for shelf in report.shelves:
        listed = [row for row in rows if row["user_id"] == shelf.user_id][:8]
        assert [card.item_id for card in shelf.recommended] == [row["item_id"] for row in listed]
        assert [card.score.score for card in shelf.recommended if card.score] == [row["score"] for row in listed]
        assert {card.item_id for card in shelf.history} == set(seen[shelf.user_id])


def test_the_same_run_gives_the_same_report(write_run: WriteRun) -> None:
    run = write_run()
    assert gather(run) == gather(run)


def test_the_map_leaves_out_items_without_a_vector_and_colours_by_genre(write_run: WriteRun) -> None:
    item_map = gather(write_run()).map
    assert len(item_map.points) == item_map.mappable == 47
    assert [colouring.name for colouring in item_map.colourings] == ["genre", "modalities"]
    assert set(item_map.colourings[0].values) == {"ambient", "dub & bass", "folk"}
    assert all(abs(point.x) <= 1 and abs(point.y) <= 1 for point in item_map.points)


def test_years_become_decades_to_colour_the_map(write_run: WriteRun) -> None:
    years = [1960 + number % 30 for number in range(48)]
    colourings = {c.name: c.values for c in gather(write_run(columns={"year": years})).map.colourings}
    assert set(colourings["year"]) == {"1960s", "1970s", "1980s"}


def test_a_category_of_many_values_is_coloured_by_the_most_frequent_and_the_others_as_one(write_run: WriteRun) -> None:
    # c00 stands eight times, c01 to c10 thrice, c11 to c14 once or twice; two items have none.
    values = ["c00"] * 8 + [f"c{n:02d}" for n in range(1, 11)] * 3 + ["c11", "c12"] * 2 + ["c13", "c14", "c14", None]
    values += [None] * (48 - len(values))
    item_map = gather(write_run(columns={"label": values})).map
    assert [colouring.name for colouring in item_map.colourings] == ["genre", "label", "modalities"]
    legend = item_map.colourings[1].values
    assert legend == (*(f"c{n:02d}" for n in range(11)), "other", "not given")
    by_id = {f"r{n:04d}": value for n, value in enumerate(values)}
    for point in item_map.points:
        value = by_id[point.item.item_id]
        expected = "not given" if value is None else value if value <= "c10" else "other"
        assert legend[point.groups[1]] == expected


def test_twelve_values_have_a_colour_each_and_names_are_no_category(write_run: WriteRun) -> None:
    twelve = [f"c{n % 12:02d}" for n in range(48)]
    names = [f"n{n}" for n in range(48)]
    colourings = {c.name: c.values for c in gather(write_run(columns={"label": twelve, "maker": names})).map.colourings}
    assert set(colourings["label"]) == set(twelve)
    assert "maker" not in colourings


def test_a_card_leaves_out_what_is_the_same_on_every_card(write_run: WriteRun) -> None:
    shelf = gather(write_run(columns={"label": ["Blue"] * 48})).shelves[0]
    assert {card.caption for card in shelf.recommended} <= {"ambient", "dub & bass", "folk"}


def test_an_item_without_a_readable_picture_gets_a_placeholder(write_run: WriteRun) -> None:
    points = {point.item.item_id: point.tile for point in gather(write_run(titles={5: "The Blue Hour"})).map.points}
    assert points["r0000"].picture.startswith("data:image/jpeg;base64,")
    assert points["r0002"].picture == ""
    assert (points["r0005"].picture, points["r0005"].initials) == ("", "TB")


def test_a_picture_outside_the_media_folder_is_not_read(write_run: WriteRun) -> None:
    outside = ["../secret.jpg"] * 48
    run = write_run(columns={"image": outside})
    (run.workspace / "media" / "0.jpg").rename(run.workspace / "secret.jpg")
    assert not any(point.tile.picture for point in gather(run).map.points)


def test_a_page_needs_no_media_folder(write_run: WriteRun) -> None:
    run = write_run()
    without = RunFiles(**{**{f.name: getattr(run, f.name) for f in fields(run)}, "media_root": None})
    assert not any(card.tile.picture for shelf in gather(without).shelves for card in shelf.recommended)


def test_a_metric_that_is_not_a_number_is_left_out(write_run: WriteRun) -> None:
    run = write_run()
    path = run.folder / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["all"]["als"]["ndcg@10"]["mean"] = math.nan
    metrics["test"]["all"]["random"]["ndcg@10"]["low"] = math.inf
    path.write_text(json.dumps(metrics))
    report = gather(run)
    panel = report.metrics[1].panels[0]
    assert [score.model for score in panel.scores] == ["two_tower", "content", "popularity", "random"]
    assert panel.scores[-1].score.low is None
    assert _finite(report)


@pytest.mark.parametrize("missing", ["metrics.json", "curves.json", "split.json", "recommendations.parquet"])
def test_a_missing_file_is_one_clear_sentence(write_run: WriteRun, missing: str) -> None:
    run = write_run()
    next(run.workspace.rglob(missing)).unlink()
    with pytest.raises((WorkspaceError, ShardCorrupt), match=missing):
        gather(run)


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 40])
def test_a_map_of_any_number_of_items_is_finite(rows: int) -> None:
    places, _ = project(np.random.default_rng(0).normal(size=(rows, 16)).astype(np.float32), 0)
    assert places.shape == (rows, 2)
    assert np.isfinite(places).all()


@pytest.mark.parametrize("noise", [0, 1e-30, 1e-7, 1e-5])
def test_items_that_are_all_alike_still_make_a_map(noise: float) -> None:
    vectors = 1 / 4 + noise * np.random.default_rng(0).normal(size=(80, 16))
    places, _ = project(vectors.astype(np.float32), 0)
    assert np.isfinite(places).all()


def test_equal_vectors_share_a_place_on_the_map() -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32), 2, axis=0)
    places, method = project(vectors, 0)
    assert method == "t-SNE"
    assert np.array_equal(places[::2], places[1::2])


def test_a_catalogue_without_users_makes_a_report_without_shelves(write_run: WriteRun) -> None:
    report = gather(write_run(users=0))
    assert report.shelves == ()


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (tuple, list)):
        return all(map(_finite, value))
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if is_dataclass(value):
        return all(_finite(getattr(value, f.name)) for f in fields(value))
    return isinstance(value, (str, int, Path, Config, Report, type(None)))
