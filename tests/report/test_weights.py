"""The report says what vectors are made of, as the fused items have it."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.errors import WorkspaceError
from pipeline.report import RunFiles, gather, render
from pipeline.report.weights import MAX_DISTINCT

WriteRun = Callable[..., RunFiles]


def test_shares_are_means_over_the_items_that_have_a_vector(write_run: WriteRun) -> None:
    run = write_run()
    blend = gather(run).blend
    table = ds.dataset(run.fused / "items").to_table(filter=ds.field("vector").is_valid())
    assert blend.overall.items == len(table) == 47
    for name, share in blend.overall.shares:
        assert share == pytest.approx(sum(table[name].to_pylist()) / len(table), abs=1e-6)
    assert sum(share for _, share in blend.overall.shares) == pytest.approx(1, abs=1e-6)


def test_a_column_is_weighed_value_by_value_the_most_frequent_first(write_run: WriteRun) -> None:
    genres = ["folk" if number % 6 == 5 else "dub" for number in range(48)]
    ((name, rows),) = gather(write_run(columns={"genre": genres})).blend.columns
    assert name == "genre"
    assert [(row.value, row.items) for row in rows] == [("dub", 39), ("folk", 8)]
    # Every sixth item has no picture.
    assert dict(rows[1].shares) == pytest.approx({"text": 1, "image": 0})
    assert dict(rows[0].shares) == pytest.approx({"text": 0.5, "image": 0.5})


def test_years_become_decades_in_their_order_and_what_is_not_given_is_last(write_run: WriteRun) -> None:
    years = [None if number < 12 else 1960 + number % 30 for number in range(48)]
    columns = dict(gather(write_run(columns={"year": years})).blend.columns)
    assert [row.value for row in columns["year"]] == ["1960s", "1970s", "1980s", "not given"]
    assert sum(row.items for row in columns["year"]) == 47


def test_a_column_of_one_value_or_of_many_is_left_out(write_run: WriteRun) -> None:
    many = [f"value {number}" for number in range(MAX_DISTINCT + 80)]
    run = write_run(items=len(many), columns={"mood": many, "maker": ["x"] * len(many)})
    assert [name for name, _ in gather(run).blend.columns] == ["genre"]


def test_a_learned_fusion_is_shown_with_its_held_out_score_and_that_before(write_run: WriteRun) -> None:
    learned = {"epoch": 7, "score": 0.4321, "co_choice": 0.3111, "agreement": 0.5222}
    run = write_run(fused={"kind": "dnn", "learned": learned, "before": 0.2109})
    page = " ".join(render(gather(run)).split())
    assert "fusion: dnn" in page
    assert "a score of <b>0.4321</b>, against 0.2109 before the first epoch; epoch 7 was kept" in page
    assert "By an item chosen with them 0.3111, by one modality for another 0.5222." in page


def test_a_fusion_that_learns_nothing_has_no_score(write_run: WriteRun) -> None:
    assert not gather(write_run()).blend.learned


def test_users_without_a_vector_are_said_where_users_are_counted(write_run: WriteRun) -> None:
    run = write_run(fused={"kind": "linear", "users_without_vector": {"no interaction": 3, "no item has one": 1}})
    assert gather(run).without_vector == {"no interaction": 3, "no item has one": 1}
    assert "3\u00a0users (no interaction), 1\u00a0user (no item has one)." in render(gather(run))


def test_fused_items_of_another_snapshot_are_one_sentence(write_run: WriteRun) -> None:
    run = write_run()
    path = run.fused / "items" / "bucket-00001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(WorkspaceError, match="not those of its snapshot"):
        gather(run)
