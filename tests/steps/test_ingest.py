from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.config import load
from pipeline.errors import CheckFailed, ConfigError, SourceError
from pipeline.night import Night, begin
from pipeline.steps import ingest
from tests.conftest import AS_OF, ROOT, Shop

Make = Callable[..., Night]
ITEMS = [{"item_id": str(i), "title": f"t{i}", "text": "words"} for i in range(200)]
LOG = [
    {"user_id": f"u{u}", "item_id": str((u * 7 + i) % 200), "ts": f"2024-01-{i + 1:02d} 00:{u:02d}:00"}
    for u in range(40)
    for i in range(9)
]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a source of two JSON files and opens a night on it."""

    def opened(items: Any = ITEMS, log: Any = LOG, *overrides: str, as_of: str = AS_OF) -> Night:
        (tmp_path / "items.json").write_text(json.dumps(items))
        (tmp_path / "log.json").write_text(json.dumps(log))
        (tmp_path / "medley.yaml").write_text(
            "source: {params: {root: .}, items: \"from read_json(getvariable('root') || '/items.json')\","
            " interactions: \"from read_json(getvariable('root') || '/log.json')\"}\n"
            "extract: {image: null, audio: null}\n"
        )
        return begin(load(tmp_path / "medley.yaml", overrides), as_of, None)

    return opened


def staged(night: Night) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Items by id, interactions, and what split.json says."""
    receipt = ingest.run(night)
    folder = night.workspace.path(receipt.path)
    items = {row["item_id"]: row for p in sorted((folder / "items").iterdir()) for row in pq.read_table(p).to_pylist()}
    return (
        items,
        pq.read_table(folder / "interactions.parquet").to_pylist(),
        json.loads((folder / "split.json").read_text()),
    )


def dropped(split: dict[str, Any], table: str) -> dict[str, int]:
    return next(entry["dropped"] for entry in split["intake"] if entry["table"] == table)


def test_every_dropped_row_is_counted_with_its_reason(make: Make) -> None:
    good = LOG[0]
    bad = [
        {**good, "user_id": None},
        {**good, "user_id": " "},
        {**good, "item_id": "unknown"},
        {**good, "ts": "yesterday"},
        {**good, "ts": "1900-01-01"},
        {**good, "ts": "2099-01-01"},
        dict(good),
    ]
    log = [{**row, "weight": 1} for row in [*LOG, *bad]] + [{**LOG[1], "weight": -1}, {**LOG[1], "weight": 0}]
    _, interactions, split = staged(
        make([*ITEMS, {**ITEMS[0], "title": "again"}, {"item_id": "", "title": "none"}], log)
    )
    assert dropped(split, "items") == {"item_id seen before": 1, "no item_id": 1}
    assert dropped(split, "interactions") == {
        "item_id is not in the catalogue": 1,
        "no readable time": 1,
        "no user_id": 2,
        "same user, item and time seen before": 1,
        "time at or after the night's as-of": 1,
        "time before 1990": 1,
        "weight is not a positive number": 2,
    }
    assert len(interactions) == len(LOG)


def test_an_item_stays_in_its_bucket_whatever_rows_come_and_go(make: Make) -> None:
    def buckets(night: Night) -> dict[str, str]:
        folder = night.workspace.path(ingest.run(night).path, "items")
        return {i: p.name for p in folder.iterdir() for i in pq.read_table(p)["item_id"].to_pylist()}

    before = buckets(make())
    after = buckets(
        make([row for row in ITEMS if row["item_id"] != "7"] + [{"item_id": "new", "title": "n", "text": "x"}])
    )
    assert {i: b for i, b in after.items() if i != "new"} == {i: b for i, b in before.items() if i != "7"}


def test_the_time_split_trains_on_the_past_alone(make: Make) -> None:
    items, interactions, split = staged(make(ITEMS, LOG, "ingest.split=time"))
    newest = max(row["ts"] for row in interactions if row["part"] == "train")
    assert newest < min(row["ts"] for row in interactions if row["part"] == "validation")
    oldest_test = min(row["ts"] for row in interactions if row["part"] == "test")
    assert all(row["ts"] < oldest_test for row in interactions if row["part"] != "test")
    assert split["test_cut"] is not None
    assert 0.05 < sum(row["part"] == "test" for row in interactions) / len(interactions) < 0.25
    assert not any(items[row["item_id"]]["cold"] for row in interactions if row["part"] in ("train", "validation"))


def test_leave_last_out_tests_each_users_last_and_breaks_ties_by_seed(make: Make) -> None:
    same_moment = [{**row, "ts": "2024-01-01"} for row in LOG]
    _, one, _ = staged(make(ITEMS, same_moment, "ingest.split=leave_last_out", "ingest.cold_item_share=0"))
    _, two, _ = staged(make(ITEMS, same_moment, "ingest.split=leave_last_out", "ingest.cold_item_share=0", "seed=1"))
    for rows in (one, two):
        assert sorted(row["user_id"] for row in rows if row["part"] == "test") == sorted(
            {row["user_id"] for row in LOG}
        )
        assert sum(row["part"] == "validation" for row in rows) == 40
    assert one != two
    _, ordered, _ = staged(make(ITEMS, LOG, "ingest.split=leave_last_out", "ingest.cold_item_share=0"))
    assert {row["ts"].day for row in ordered if row["part"] == "test"} == {9}


GIVEN = [{**row, "part": "train" if i % 9 < 6 else "valid" if i % 9 == 6 else " Test "} for i, row in enumerate(LOG)]


def test_a_given_split_is_taken_as_it_is_and_what_is_never_in_train_is_cold(make: Make) -> None:
    again = {**GIVEN[0], "part": "test"}
    newest_first = [{**row, "ts": "2024-02-01" if row["part"] == "train" else row["ts"]} for row in GIVEN]
    items, interactions, split = staged(make(ITEMS, [*newest_first, again], "ingest.split=given"))
    assert split["parts"] == {"test": 81, "train": 240, "validation": 40}
    assert (split["kind"], split["validation_cut"], split["test_cut"]) == ("given", None, None)
    trained = {row["item_id"] for row in interactions if row["part"] == "train"}
    assert {item_id for item_id, row in items.items() if row["cold"]} == set(items) - trained
    assert split["cold_items"] == len(items) - len(trained) > 0
    assert any(items[row["item_id"]]["cold"] for row in interactions if row["part"] == "validation")
    kept = {(row["user_id"], row["item_id"], row["part"]) for row in interactions}
    assert {(again["user_id"], again["item_id"], part) for part in ("train", "test")} <= kept


@pytest.mark.parametrize(
    ("log", "error", "said"),
    [
        (LOG, SourceError, r"returns no column part; it returns user_id, item_id, ts; name the column with `as part`"),
        (
            [*GIVEN, {**GIVEN[0], "part": "dev"}, {**GIVEN[1], "part": None}],
            CheckFailed,
            "assert_given_parts_are_known: 2 rows, the first user_id=u0, item_id=0, part=dev",
        ),
        (
            [row for row in GIVEN if row["part"] != "valid"],
            CheckFailed,
            "assert_split_has_every_part: 1 rows, the first empty_part=validation, way_out=let the query return such",
        ),
    ],
)
def test_a_wrong_given_split_is_one_sentence(make: Make, log: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        ingest.run(make(ITEMS, log, "ingest.split=given"))
    assert "\n" not in str(caught.value)


def test_rows_of_an_unknown_part_can_be_left_out_instead(make: Make) -> None:
    log = [*GIVEN, {**GIVEN[0], "part": "dev"}]
    warned = make(ITEMS, log, "ingest.split=given", "ingest.warn_only=[assert_given_parts_are_known]")
    _, interactions, split = staged(warned)
    assert dropped(split, "interactions") == {"part is not train, validation or test": 1}
    assert len(interactions) == len(GIVEN)


def test_a_column_called_part_means_nothing_to_another_split(make: Make) -> None:
    assert ingest.run(make(ITEMS, GIVEN)).digest == ingest.run(make(ITEMS, LOG)).digest


def test_every_earlier_interaction_of_a_held_out_item_leaves_the_training(make: Make) -> None:
    items, interactions, split = staged(make(ITEMS, LOG, "ingest.cold_item_share=0.3"))
    cold = {item_id for item_id, row in items.items() if row["cold"]}
    assert split["cold_items"] == len(cold)
    assert 0.15 < len(cold) / len(items) < 0.45
    assert {row["part"] for row in interactions if row["item_id"] in cold} == {"held_out", "test"}


def test_as_of_hides_what_came_later_and_the_same_content_is_the_same_snapshot(make: Make) -> None:
    _, early, _ = staged(make(ITEMS, LOG, as_of="2024-01-05T00:00:00Z"))
    assert max(row["ts"].day for row in early) == 4
    assert ingest.run(make(ITEMS, LOG)).path == ingest.run(make(ITEMS, LOG, as_of="2026-06-01")).path


def test_the_k_core_holds_for_users_and_items_at_once(make: Make) -> None:
    log = [*LOG, {"user_id": "once", "item_id": "3", "ts": "2024-01-03"}]
    _, interactions, split = staged(
        make(ITEMS, log, "ingest.min_user_interactions=2", "ingest.min_item_interactions=2")
    )
    counts = [
        sum(row[key] == value for row in interactions)
        for key in ("user_id", "item_id")
        for value in {r[key] for r in interactions}
    ]
    assert min(counts) >= 2
    assert "once" not in {row["user_id"] for row in interactions}
    assert "user or item with too few interactions (k-core)" in dropped(split, "interactions")


@pytest.mark.parametrize(
    ("items", "log", "error", "said"),
    [
        (
            [{"id": "1", "title": "t"}],
            LOG,
            SourceError,
            r"source\.items: .* no column item_id; it returns id, title.*`as item_id`",
        ),
        (ITEMS, [{"user": "1"}], SourceError, r"source\.interactions: .* no column user_id, item_id, ts"),
        ([{**ITEMS[0], "bucket": 1}], LOG, SourceError, "column bucket is Medley's own"),
        (ITEMS, [{**row, "item_id": "x"} for row in LOG], CheckFailed, "assert_log_is_not_empty: .*Mend the source"),
    ],
)
def test_a_wrong_source_is_one_sentence(make: Make, items: Any, log: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        ingest.run(make(items, log))
    assert "\n" not in str(caught.value)


def test_a_check_can_be_told_to_warn(make: Make) -> None:
    log = [*LOG, *({**row, "item_id": f"gone-{i}"} for i, row in enumerate([*LOG, *LOG]))]
    with pytest.raises(CheckFailed, match="assert_most_rows_survive"):
        ingest.run(make(ITEMS, log))
    _, _, split = staged(make(ITEMS, log, "ingest.warn_only=[assert_most_rows_survive]"))
    offending = [check["name"] for check in split["checks"] if check["rows"]]
    assert [name for name in offending if name.startswith("assert_")] == ["assert_most_rows_survive"]


def test_the_sample_drops_exactly_its_planted_rows(shop: Shop, tmp_path: Path) -> None:
    night = begin(load(shop.config, (f"workspace={tmp_path / 'w'}",)), AS_OF, None)
    items, _, split = staged(night)
    planted = shop.summary.planted
    assert sum(dropped(split, "items").values()) >= 1
    reasons = dropped(split, "interactions")
    for reason in (
        "time at or after the night's as-of",
        "time before 1990",
        "item_id is not in the catalogue",
        "no user_id",
    ):
        assert reasons[reason] >= 1
    problems = {i: row["image_problem"] for i, row in items.items() if row["image_problem"]}
    assert any("leaves the media root" in problem for problem in problems.values()), planted
    assert any("file not found" in problem for problem in problems.values())
    assert dropped(split, "users") == {"user_id seen before": len(planted["profile_twice"])}


PEOPLE = [
    {"user_id": "u2", "profile": "likes  words ", "age": 30},
    {"user_id": "u1", "profile": " ", "age": 31},
    {"user_id": "u2", "profile": "again", "age": 32},
    {"user_id": " ", "profile": "nobody", "age": 33},
    {"user_id": "never seen", "profile": None, "age": 34},
]


def with_users(make: Make, tmp_path: Path, people: Any = PEOPLE) -> Night:
    (tmp_path / "people.json").write_text(json.dumps(people))
    return make(ITEMS, LOG, "source.users=from read_json(getvariable('root') || '/people.json')")


def test_users_are_cleaned_sorted_and_counted_and_keep_their_further_columns(make: Make, tmp_path: Path) -> None:
    night = with_users(make, tmp_path)
    _, _, split = staged(night)
    users = pq.read_table(night.workspace.path(night.receipt("ingest").path, "users.parquet")).to_pylist()
    assert users == [
        {"user_id": "never seen", "profile": None, "age": 34},
        {"user_id": "u1", "profile": None, "age": 31},
        {"user_id": "u2", "profile": "likes  words", "age": 30},
    ]
    assert dropped(split, "users") == {"no user_id": 1, "user_id seen before": 1}
    assert next(table for table in split["intake"] if table["table"] == "users")["kept"] == 3


def test_users_belong_to_the_snapshot_and_a_source_without_them_has_no_such_file(make: Make, tmp_path: Path) -> None:
    without = make()
    ingest.run(without)
    assert not without.workspace.path(without.receipt("ingest").path, "users.parquet").exists()
    assert [table["table"] for table in staged(without)[2]["intake"]] == ["items", "interactions"]
    one, same = (ingest.run(with_users(make, tmp_path)).digest for _ in range(2))
    other = ingest.run(with_users(make, tmp_path, [{**PEOPLE[0], "profile": "else"}, *PEOPLE[1:3]])).digest
    assert one == same
    assert len({without.receipt("ingest").digest, one, other}) == 3


def test_users_without_a_profile_column_or_nearly_all_dropped_stop_the_night(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"source\.users: the query returns no column profile; it returns user_id"):
        ingest.run(with_users(make, tmp_path, [{"user_id": "u1"}]))
    with pytest.raises(CheckFailed, match=r"assert_most_rows_survive: .*source_table=users"):
        ingest.run(with_users(make, tmp_path, [{"user_id": "", "profile": "x"}] * 3))


PAGES = [
    {"user_id": row["user_id"], "item_id": str((int(str(row["item_id"])) + other) % 200), "ts": row["ts"]}
    for row in LOG
    for other in (0, 50)
]


def with_shown(make: Make, tmp_path: Path, shown: Any = PAGES, *overrides: str, log: Any = LOG) -> Night:
    (tmp_path / "shown.json").write_text(json.dumps(shown))
    return make(ITEMS, log, "source.shown=from read_json(getvariable('root') || '/shown.json')", *overrides)


def pages_of(night: Night) -> list[dict[str, Any]]:
    return pq.read_table(night.workspace.path(night.receipt("ingest").path, "shown.parquet")).to_pylist()


def test_what_was_shown_is_cleaned_as_the_log_is_and_every_dropped_row_counted(make: Make, tmp_path: Path) -> None:
    good = PAGES[0]
    bad = [
        {**good, "user_id": " "},
        {**good, "item_id": None},
        {**good, "item_id": "unknown"},
        {**good, "ts": "yesterday"},
        {**good, "ts": "1900-01-01"},
        {**good, "ts": "2099-01-01"},
        {**good, "user_id": "only looked"},
        dict(good),
    ]
    night = with_shown(make, tmp_path, [*PAGES, *bad])
    _, interactions, split = staged(night)
    assert dropped(split, "shown") == {
        "item_id is not in the catalogue": 1,
        "no item_id": 1,
        "no readable time": 1,
        "no user_id": 1,
        "same user, item and time seen before": 1,
        "time at or after the night's as-of": 1,
        "time before 1990": 1,
        "user_id is not in the log": 1,
    }
    assert len(pages_of(night)) == len(PAGES)
    assert interactions == staged(make())[1], "it changes nothing of the log"


def test_what_was_shown_is_cut_where_the_log_is(make: Make, tmp_path: Path) -> None:
    night = with_shown(make, tmp_path, PAGES, "ingest.cold_item_share=0.3")
    items, interactions, split = staged(night)
    part = {(row["user_id"], row["item_id"], row["ts"]): row["part"] for row in interactions}
    cuts = {name: datetime.fromisoformat(split[f"{name}_cut"]) for name in ("validation", "test")}
    for row in pages_of(night):
        expected = "train" if row["ts"] < cuts["validation"] else "validation"
        expected = "test" if row["ts"] >= cuts["test"] else expected
        cold = items[row["item_id"]]["cold"] and expected != "test"
        assert row["part"] == ("held_out" if cold else expected)
        assert part.get((row["user_id"], row["item_id"], row["ts"]), row["part"]) == row["part"]
    assert {row["part"] for row in pages_of(night)} == {"train", "validation", "test", "held_out"}


def test_with_leave_last_out_a_showing_belongs_to_the_choice_that_it_led_to(make: Make, tmp_path: Path) -> None:
    shown = [{**row, "ts": row["ts"].replace(" 00:", " 00:00:")[:19]} for row in LOG]
    night = with_shown(make, tmp_path, shown, "ingest.split=leave_last_out", "ingest.cold_item_share=0")
    ingest.run(night)
    found = {(row["user_id"], row["ts"].day): row["part"] for row in pages_of(night)}
    assert len(found) == len(shown)
    assert all(part == {9: "test", 8: "validation"}.get(day, "train") for (_, day), part in found.items())


def test_an_empty_query_for_what_was_shown_is_no_fault_and_belongs_to_the_snapshot(make: Make, tmp_path: Path) -> None:
    nothing = make(ITEMS, LOG, "source.shown=select '' as user_id, '' as item_id, '' as ts where false")
    assert next(table for table in staged(nothing)[2]["intake"] if table["table"] == "shown")["read"] == 0
    assert pages_of(nothing) == []
    one, same = (ingest.run(with_shown(make, tmp_path)).digest for _ in range(2))
    assert one == same
    assert len({one, ingest.run(nothing).digest, ingest.run(make()).digest}) == 3
    assert not make().workspace.path(ingest.run(make()).path, "shown.parquet").exists()


def test_a_wrong_query_for_what_was_shown_is_one_sentence(make: Make, tmp_path: Path) -> None:
    said = r"source\.shown: the query returns no column ts; it returns user_id, item_id; name the column with `as ts`"
    with pytest.raises(SourceError, match=said):
        ingest.run(with_shown(make, tmp_path, [{"user_id": "u1", "item_id": "1"}]))
    with pytest.raises(CheckFailed, match=r"assert_most_rows_survive: .*source_table=shown"):
        ingest.run(with_shown(make, tmp_path, [{**PAGES[0], "item_id": "gone"}] * 3))
    with pytest.raises(ConfigError, match=r"source\.shown: a given split has no cut times.*set ingest\.split to time"):
        ingest.run(with_shown(make, tmp_path, PAGES, "ingest.split=given", log=GIVEN))


PICTURES, PICTURE_BYTES = 40, 100_000


def with_pictures(make: Make, tmp_path: Path, content: bytes, *overrides: str, full: bool = False) -> Night:
    """A night whose items have files of one size and one time of change, whatever they hold."""
    for number in range(PICTURES):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(content * (PICTURE_BYTES // len(content)))
        os.utime(path, ns=(10**18, 10**18))
    items = [{**row, "image": f"{i}.jpg"} if i < PICTURES else row for i, row in enumerate(ITEMS)]
    night = make(items, LOG, "extract.image={encoder: timm}", *overrides)
    return replace(night, full=full)


def picture_hashes(night: Night) -> set[bytes]:
    items, _, _ = staged(night)
    return {row["image_hash"] for row in items.values() if row["image_hash"]}


def test_a_file_with_its_size_and_time_kept_is_read_again_by_full_or_where_times_are_not_trusted(
    make: Make, tmp_path: Path
) -> None:
    before, after = (hashlib.sha256(one * PICTURE_BYTES).digest() for one in (b"a", b"b"))
    assert picture_hashes(with_pictures(make, tmp_path, b"a")) == {before}
    assert picture_hashes(with_pictures(make, tmp_path, b"b")) == {before}, "no file was read"
    assert picture_hashes(with_pictures(make, tmp_path, b"b", "ingest.trust_times=false")) == {after}
    assert picture_hashes(with_pictures(make, tmp_path, b"a", full=True)) == {before}
    assert picture_hashes(with_pictures(make, tmp_path, b"b")) == {before}, "full leaves what it has read as known"


def bytes_read() -> int:
    """What this process has asked files for, since it began."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel does not count bytes read")
def test_a_second_night_reads_nothing_of_pictures_that_are_as_they_were(make: Make, tmp_path: Path) -> None:
    night = with_pictures(make, tmp_path, b"a")
    counts = [bytes_read()]
    for _ in range(2):
        ingest.run(night)
        counts.append(bytes_read())
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert first >= PICTURES * PICTURE_BYTES
    assert second < PICTURES * PICTURE_BYTES / 10, "what is left are queries and the index of known files"


@pytest.mark.parametrize(
    ("name", "source", "items", "kept"), [("movies", "movielens", 9125, 62106), ("creatures", "creatures", 1025, 6614)]
)
def test_the_real_sets_are_staged_by_their_sql_alone(
    data_folder: Path, tmp_path: Path, name: str, source: str, items: int, kept: int
) -> None:
    overrides = (f"source.params.root={data_folder / name}", f"workspace={tmp_path}")
    found, interactions, _ = staged(begin(load(ROOT / f"sql/sources/{source}/medley.yaml", overrides), None, None))
    assert (len(found), len(interactions)) == (items, kept)


@pytest.mark.parametrize(
    ("name", "items", "cold", "parts"),
    [
        ("tiktok", 6710, 465, {"train": 59541, "validation": 3051, "test": 6130}),
        ("lastfm", 1425, 0, {"train": 44327, "validation": 4799, "test": 7219}),
        ("gowalla", 40981, 2, {"train": 719081, "validation": 91047, "test": 217242}),
        ("beauty", 12101, 0, {"train": 153776, "validation": 22363, "test": 22363}),
    ],
)
def test_published_splits_are_staged_as_they_are_published(
    data_folder: Path, tmp_path: Path, name: str, items: int, cold: int, parts: dict[str, int]
) -> None:
    folder = data_folder / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    overrides = (f"source.params.root={folder}", f"workspace={tmp_path}")
    night = begin(load(ROOT / f"sql/sources/{name}/medley.yaml", overrides), None, None)
    receipt = ingest.run(night)
    split = receipt.details
    assert (split["items"], split["cold_items"], split["parts"]) == (items, cold, parts)
    assert all(not check["rows"] for check in split["checks"])
    assert all(not table["dropped"] for table in split["intake"])
    log = pq.read_table(night.workspace.path(receipt.path, "interactions.parquet"), columns=["user_id", "ts"])
    assert log.group_by(["user_id", "ts"]).aggregate([]).num_rows == log.num_rows, "a user's choices are in one order"
