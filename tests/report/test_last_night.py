"""The report says what differs from an earlier night, and what cannot be compared; it never stops over that."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.evaluated import Evaluated
from pipeline.artefacts.published import Published
from pipeline.artefacts.runs import receipts_of
from pipeline.config import Config
from pipeline.report import RunFiles, gather, render
from pipeline.report.last_night import LastNight, MetricChange, last_night_of
from pipeline.report.scores import Interval
from tests.report.conftest import EVIL, change, dump, item_id, user_id, write, write_earlier

WriteRun = Callable[..., RunFiles]


def last_night(run: RunFiles) -> LastNight:
    found = last_night_of(run, receipts_of(run.folder), Evaluated.read(run.folder))
    assert found
    return found


def words(run: RunFiles) -> str:
    section = re.search(r'<section id="last-night">.*?</section>', render(gather(run)), re.S)
    assert section
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", section[0])).replace("\u00a0", " ").split())


def test_the_first_night_is_compared_with_none(write_run: WriteRun) -> None:
    assert gather(write_run()).last_night is None


def test_it_is_the_newest_published_one_that_began_before(write_run: WriteRun) -> None:
    run = write_run()
    write_earlier(run, "older", day=24)
    write_earlier(run, "newer", day=25)
    write_earlier(run, "refused", published=False, day=26)
    write_earlier(run, "later", day=29)
    assert last_night(run).run_id == "newer"
    assert "Compared with run newer , as of 25 Nov 2025, 02:00 UTC, which was published." in words(run)


def test_where_none_was_published_it_is_the_newest_and_that_is_said(write_run: WriteRun) -> None:
    run = write_run()
    write_earlier(run, "older", published=False, day=24)
    write_earlier(run, "newer", published=False, day=25)
    assert last_night(run).run_id == "newer"
    assert "the newest earlier one of this workspace, of which none was published" in words(run)


def test_a_night_that_did_not_come_to_its_gate_is_no_last_night(write_run: WriteRun) -> None:
    run = write_run()
    (write_earlier(run, "failed", published=False) / "steps" / "publish.json").unlink()
    assert gather(run).last_night is None


def test_a_night_that_is_the_same_differs_in_nothing(write_run: WriteRun) -> None:
    run = write_run()
    write_earlier(run)
    same = last_night(run)
    assert {count.difference for count in same.counts} == {0}
    assert {change.direction for change in same.metrics} == {""}
    assert (same.replaced, same.settings, same.not_compared) == ((), (), ())
    assert same.lists
    assert (same.lists.changed, same.lists.kept, same.lists.users, same.lists.head) == (0, 1.0, 14, 10)
    assert "Model, encoders, fusion and settings are the same." in words(run)


def test_counts_are_of_both_nights(write_run: WriteRun) -> None:
    run = write_run()
    steps = write_earlier(run) / "steps"
    change(steps / "ingest.json", lambda own: own["details"].update(items=40, users=15, parts={"train": 1000}))
    change(steps / "extract.image.bucket-00000.json", lambda own: own.update(rows=20, missing_rows=1))
    counts = {count.name: (count.before, count.now, count.difference) for count in last_night(run).counts}
    assert counts == {
        "items": (40, 48, 8),
        "users": (15, 14, -1),
        "interactions": (1000, 70, -930),
        "image vectors": (38, 40, 2),
        "without image": (6, 8, 2),
    }
    assert "interactions 1,000 70 \u2212930" in words(run)


def test_a_modality_that_one_night_lacks_has_no_difference(write_run: WriteRun) -> None:
    run = write_run()
    steps = write_earlier(run) / "steps"
    shutil.copy(steps / "extract.image.bucket-00000.json", steps / "extract.audio.bucket-00000.json")
    found = last_night(run)
    (audio,) = [count for count in found.counts if count.name == "audio vectors"]
    assert (audio.before, audio.now, audio.difference) == (21, None, None)
    assert [(part.name, part.other, part.value) for part in found.replaced] == [("encoder of audio", "lite0", "")]


def test_metrics_are_of_each_nights_own_list_with_intervals(write_run: WriteRun) -> None:
    run = write_run()
    folder = write_earlier(run)

    def other_model(metrics: dict[str, dict[str, dict[str, object]]]) -> None:
        metrics["trained"] = "als"  # type: ignore[assignment]

    change(folder / "metrics.json", other_model)
    found = last_night(run)
    assert [(own.metric, own.segment) for own in found.metrics[:3]] == [
        ("ndcg@10", "all"),
        ("recall@10", "all"),
        ("coverage@10", "all"),
    ]
    ndcg = found.metrics[0]
    assert (ndcg.before.mean, ndcg.now.mean) == (0.15, 0.2)
    assert (ndcg.before.low, ndcg.now.high) == (pytest.approx(0.125), pytest.approx(0.25))
    assert [(part.name, part.other, part.value) for part in found.replaced] == [("model", "ALS", "two-tower")]
    assert "NDCG@10 0.1500 0.1250 to 0.1875 0.2000 0.1667 to 0.2500 +0.0500" in words(run)


@pytest.mark.parametrize(
    ("before", "now", "direction"),
    [
        ((0.1, 0.09, 0.11), (0.2, 0.19, 0.21), "above"),
        ((0.2, 0.19, 0.21), (0.1, 0.09, 0.11), "below"),
        ((0.1, 0.09, 0.11), (0.2, 0.11, 0.31), ""),
        ((0.1, None, None), (0.2, 0.19, 0.21), ""),
    ],
)
def test_a_metric_is_coloured_where_the_intervals_do_not_meet(
    before: tuple[float, float, float], now: tuple[float, float, float], direction: str
) -> None:
    assert MetricChange("ndcg@10", "all", Interval(*before), Interval(*now)).direction == direction


def test_other_settings_model_fusion_and_re_ranker_are_named(write_run: WriteRun) -> None:
    run = write_run()
    folder = write_earlier(run)
    config = {"fuse": {"width": 3}, "note": EVIL, "source": {"params": {"uri": "postgresql://me:hidden@host/db"}}}
    whole = Config.model_validate(config).model_dump(mode="json")
    change(folder / "run.json", lambda opened: opened.update(config=whole | {"name": "Test shop", "seed": 7}))
    change(folder / "steps" / "fuse.json", lambda own: own["details"].update(kind="concat"))
    tries = {"als": {"weight": 0.25}, "svd": {"weight": 0.75}, "bpr": {"weight": 0.0}, "chosen": {"weight": 1.0}}
    change(folder / "steps" / "train.json", lambda own: own["details"].update(tries=tries))
    change(folder / "metrics.json", lambda metrics: metrics["ranker"].update(used=False))
    found = last_night(run)
    assert {(setting.name, setting.other, setting.value) for setting in found.settings} == {
        ("fuse.width", "3", str(run.config.fuse.width)),
        ("note", EVIL, "Synthetic data."),
        ("source.params.uri", "postgresql://***@host/db", ""),
    }
    assert {(part.name, part.other, part.value) for part in found.replaced} == {
        ("fusion", "concat", "linear"),
        ("model", "two-tower: SVD 75%, ALS 25%", "two-tower"),
        ("re-ranker", "not used", "used"),
    }
    page = render(gather(run))
    assert "hidden@host" not in page
    assert "<script>alert" not in page


def lists(run: RunFiles, rows: Callable[[pa.Table], pa.Table], index: str = "of-night-0") -> None:
    path = run.index.with_name(index) / "recommendations.parquet"
    write(path, rows(pq.read_table(path)))


def test_users_with_other_first_items_are_counted(write_run: WriteRun) -> None:
    run = write_run()
    write_earlier(run)

    def first_user_had_others(table: pa.Table) -> pa.Table:
        """Of one user a first item is another, of another user the first two are turned, a third one had no list."""
        for_first = pc.and_(pc.equal(table["user_id"], user_id(0)), pc.equal(table["rank"], 1))
        items = pc.if_else(for_first, "gone", table["item_id"])
        second, low = pc.equal(table["user_id"], user_id(1)), pc.less_equal(table["rank"], 2)
        ranks = pc.if_else(pc.and_(second, low), pc.subtract(3, table["rank"]), table["rank"]).cast(pa.int32())
        changed = table.set_column(1, "rank", ranks).set_column(2, "item_id", items)
        return changed.filter(pc.not_equal(changed["user_id"], user_id(2)))

    lists(run, first_user_had_others)
    found = last_night(run).lists
    assert found
    assert (found.users, found.changed, found.head) == (13, 2, 10)
    assert found.kept == pytest.approx((12 + 0.9) / 13)


def test_after_a_rollback_the_night_is_compared_with_what_is_published(write_run: WriteRun) -> None:
    run = write_run()
    for name, day in (("older", 24), ("newer", 25)):
        write_earlier(run, name, day=day)
    moment = "2025-11-24T02:00:00+00:00"
    current = {"index": "index/of-older", "digest": "1", "as_of": moment, "published_at": moment}
    for published, compared in (("older", "older"), (run.run_id, "newer"), ("swept", "newer")):
        dump(run.workspace / "CURRENT.json", {**current, "run_id": published})
        assert last_night(run).run_id == compared


@pytest.mark.parametrize("is_earlier", [True, False])
def test_lists_of_another_length_are_compared_as_far_as_both_go(write_run: WriteRun, is_earlier: bool) -> None:
    run = write_run()
    write_earlier(run)
    shorter = "of-night-0" if is_earlier else run.index.name
    lists(run, lambda table: table.filter(pc.less_equal(table["rank"], 4)), shorter)
    found = last_night(run).lists
    assert found
    assert (found.changed, found.kept, found.head) == (0, 1.0, 4)


def test_so_many_users_are_drawn_and_no_more(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run()
    write_earlier(run)
    monkeypatch.setattr("pipeline.evaluation.list_changes.MAX_USERS", 5)
    read: list[int] = []
    whole = Published.lists

    def counted(index: Published, users: list[str]) -> pa.Table:
        rows = whole(index, users)
        read.append(len(rows["user_id"].unique()))
        return rows

    monkeypatch.setattr(Published, "lists", counted)
    found = last_night(run).lists
    assert found
    assert found.users == 5
    assert read == [5, 5]


def without_null(path: Path, column: str) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    write(path, table.set_column(place, column, pa.nulls(len(table), table.schema.field(column).type)))


def without_buckets(steps: Path) -> None:
    for path in steps.glob("*.bucket-*.json"):
        path.unlink()


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an empty receipt": ("steps/ingest.json", lambda path: path.write_text(""), "items, users and interactions"),
    "a receipt that is gone": ("steps/ingest.json", Path.unlink, "items, users and interactions"),
    "a receipt of other details": (
        "steps/ingest.json",
        lambda path: change(path, lambda own: own.update(details={"items": "many"})),
        "items, users and interactions",
    ),
    "a cut bucket": (
        "steps/extract.image.bucket-00001.json",
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        "image vectors",
    ),
    "no bucket": ("steps", without_buckets, "image vectors"),
    "no fusion": ("steps/fuse.json", Path.unlink, "the fusion"),
    "no model": ("steps/train.json", lambda path: path.write_text("[]"), "the model"),
    "cut metrics": ("metrics.json", lambda path: path.write_bytes(path.read_bytes()[:100]), "the model, metrics"),
    "metrics of another shape": ("metrics.json", lambda path: path.write_text('{"test": 1}'), "the model, metrics"),
    "a swept index": ("../../index/of-night-0", shutil.rmtree, "lists"),
    "cut lists": (
        "../../index/of-night-0/recommendations.parquet",
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        "lists",
    ),
    "lists of other columns": (
        "../../index/of-night-0/recommendations.parquet",
        lambda path: write(path, pa.table({"user_id": [user_id(0)], "items": [[item_id(0)]]})),
        "lists",
    ),
    "lists without ranks": (
        "../../index/of-night-0/recommendations.parquet",
        lambda path: without_null(path, "rank"),
        "lists",
    ),
    "no receipt of the index": ("steps/index.json", Path.unlink, "lists"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_of_the_earlier_night_is_named_and_the_rest_compared(write_run: WriteRun, case: str) -> None:
    run = write_run()
    name, damage, said = BROKEN[case]
    damage(write_earlier(run) / name)
    found = last_night(run)
    assert ", ".join(found.not_compared) == said
    assert found.replaced == ()
    assert f"Not compared: {said}; what that run left of it is gone or cannot be read." in words(run)


def test_a_modality_with_a_broken_bucket_is_not_counted_by_the_others(write_run: WriteRun) -> None:
    run = write_run()
    (write_earlier(run) / "steps" / "extract.image.bucket-00001.json").write_text("")
    found = last_night(run)
    assert [count.name for count in found.counts] == ["items", "users", "interactions"]
    assert found.replaced == ()


def test_an_earlier_run_that_cannot_be_read_at_all_is_passed_over(write_run: WriteRun) -> None:
    run = write_run()
    write_earlier(run, "older", day=24)
    (write_earlier(run, "newer", day=25) / "run.json").write_text("{}")
    assert last_night(run).run_id == "older"
