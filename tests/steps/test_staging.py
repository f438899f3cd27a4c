"""What `sql/stage` and `sql/checks` do to tables of a few rows, reason by reason and limit by limit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import pytest

from pipeline.source import TABLES, execute, set_variables, sql_folder
from pipeline.source.columns import select_list

Rows = list[tuple[Any, ...]]
AS_OF = datetime(2024, 6, 1)
VARIABLES = {
    "as_of": AS_OF, "seed": "0", "buckets": 8, "split": "time", "cold_item_share": 0.0, "test_share": 0.2,
    "validation_share": 0.3, "min_user_interactions": 2, "min_item_interactions": 2,
}  # fmt: skip
LOG = "user_id varchar, item_id varchar, ts timestamp, weight double, given_part varchar"
PARTED = f"{LOG}, part varchar"
READ = "user_id varchar, item_id varchar, ts varchar, weight varchar, part varchar"


# One database for all: opening one takes longer than all that a test asks of it.
DATABASE = duckdb.connect(":memory:", config={"threads": "1"})


class Tables:
    """A database without tables, and with the variables that staging reads, VARIABLES but for those given."""

    def __init__(self, **variables: Any) -> None:
        self.connection = DATABASE
        for (name,) in self.rows("select table_name from duckdb_tables()"):
            self.connection.execute(f"drop table {name}")
        set_variables(self.connection, {**VARIABLES, **variables})

    def fill(self, name: str, columns: str, rows: Sequence[Sequence[Any]]) -> Tables:
        self.connection.execute(f"create or replace table {name} ({columns})")
        if rows:
            places = ", ".join(f"({', '.join('?' for _ in row)})" for row in rows)
            self.connection.execute(f"insert into {name} values {places}", [value for row in rows for value in row])
        return self

    def read(self, name: str, columns: str, rows: Sequence[Sequence[Any]]) -> Tables:
        """What the source makes of the rows of a query."""
        self.fill("query", columns, rows)
        required, optional = TABLES[name]
        kinds = {row[0]: row[1] for row in self.rows("describe query")}
        listed = select_list(name, kinds, required, optional, ())
        self.connection.execute(f"create or replace table {name}_read as select {listed} from query")
        return self

    def stage(self, name: str) -> Tables:
        execute(self.connection, f"stage/{name}.sql")
        return self

    def check(self, name: str) -> Rows:
        return self.rows((sql_folder() / "checks" / f"assert_{name}.sql").read_text("utf-8"))

    def rows(self, query: str) -> Rows:
        return self.connection.execute(query).fetchall()


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 1, day, hour)


def known(*names: str, cold: str = "") -> Rows:
    return [(name, name in cold) for name in names]


CATALOGUE = "item_id varchar, cold boolean"


def test_items_without_an_id_or_seen_before_are_dropped_and_the_first_stays() -> None:
    tables = Tables().fill("items_read", "item_id varchar, title varchar", [
        (" a ", "first"), ("b", "other"), ("a", "second"), (None, "none"), (" ", "blank"), ("a", "third"),
        (None, "more"),
    ]).stage("items")  # fmt: skip
    assert tables.rows("select dropped, dropped_example, count(*) from items_judged group by all order by all") == [
        ("item_id seen before", "a", 2), ("no item_id", None, 3), (None, None, 2),
    ]  # fmt: skip
    assert tables.rows("select item_id, title from items order by 1") == [("a", "first"), ("b", "other")]
    assert [column[0] for column in tables.connection.execute("from items").description or ()] == [
        "item_id", "title", "bucket", "cold",
    ]  # fmt: skip


@pytest.mark.parametrize(("seed", "share", "buckets"), [("0", 0.25, 8), ("7", 0.6, 5)])
def test_bucket_and_cold_are_the_halves_of_a_hash(seed: str, share: float, buckets: int) -> None:
    names = [f"item {number}" for number in range(60)]
    tables = Tables(seed=seed, cold_item_share=share, buckets=buckets)
    tables.fill("items_read", "item_id varchar", [(name,) for name in names]).stage("items")
    expected = []
    for name in names:
        lower = int.from_bytes(hashlib.md5(name.encode()).digest()[8:], "little")
        upper = int.from_bytes(hashlib.md5(f"{seed}:{name}".encode()).digest()[:8], "little")
        expected.append((name, lower % buckets, upper / 2**64 < share))
    assert sorted(tables.rows("select item_id, bucket, cold from items")) == sorted(expected)
    assert 0 < sum(cold for *_, cold in expected) < len(names)


def judged(rows: Rows, **variables: Any) -> Tables:
    tables = Tables(**variables).read("interactions", READ, rows).fill("items", CATALOGUE, known("a", "b"))
    return tables.stage("interactions")


@pytest.mark.parametrize(
    ("row", "example"),
    [
        (("u", "a", "2024-01-01", "1", None), None),
        ((None, "a", "2024-01-01", "1", None), "a"),
        (("u", None, "2024-01-01", "1", None), "u"),
        (("u", "c", "2024-01-01", "1", None), "c"),
        (("u", "a", None, "1", None), "null"),
        (("u", "a", "yesterday", "1", None), "yesterday"),
        (("u", "a", "1989-12-31", "1", None), "1989-12-31 00:00:00"),
        (("u", "a", "2024-06-02", "1", None), "2024-06-02 00:00:00"),
        (("u", "a", "2024-01-01", "much", None), "much"),
        (("u", "a", "2024-01-01", "-1", None), "-1.0"),
        (("u", "a", "2024-01-01", None, None), "null"),
    ],
)
def test_what_is_dropped_of_the_log_is_shown_by_what_is_wrong_with_it(
    row: tuple[Any, ...], example: str | None
) -> None:
    assert judged([row]).rows("select dropped_example from interactions_judged") == [(example,)]


@pytest.mark.parametrize(
    ("row", "dropped"),
    [
        ((" u ", " a ", "2024-01-01 00:00:00", "1", "train"), None),
        ((None, "a", "2024-01-01", "1", None), "no user_id"),
        ((" ", "a", "2024-01-01", "1", None), "no user_id"),
        (("u", None, "2024-01-01", "1", None), "no item_id"),
        (("u", " ", "2024-01-01", "1", None), "no item_id"),
        (("u", "c", "2024-01-01", "1", None), "item_id is not in the catalogue"),
        (("u", "a", None, "1", None), "no readable time"),
        (("u", "a", "yesterday", "1", None), "no readable time"),
        (("u", "a", "1989-12-31 23:59:59", "1", None), "time before 1990"),
        (("u", "a", "1990-01-01", "1", None), None),
        (("u", "a", "2024-05-31 23:59:59", "1", None), None),
        (("u", "a", "2024-06-01", "1", None), "time at or after the night's as-of"),
        (("u", "a", "2024-06-02", "1", None), "time at or after the night's as-of"),
        (("u", "a", "2024-01-01", "0.001", None), None),
        *((("u", "a", "2024-01-01", weight, None), "weight is not a positive number") for weight in
          (None, "much", "nan", "0", "-1", "inf")),
    ],
)  # fmt: skip
def test_a_row_of_the_log_is_kept_or_dropped_for_its_reason(row: tuple[Any, ...], dropped: str | None) -> None:
    tables = judged([row])
    assert tables.rows("select dropped from interactions_judged") == [(dropped,)]
    assert len(tables.rows("from log")) == (dropped is None)


def test_of_equal_rows_of_the_log_the_heaviest_stays() -> None:
    same = [("u", "a", "2024-01-01", weight, None) for weight in (None, "1", "3", "2")]
    others = [
        ("v", "a", "2024-01-01", "1", None),
        ("u", "b", "2024-01-01", "1", None),
        ("u", "a", "2024-01-02", "1", None),
    ]
    tables = judged([*same, *others])
    assert sorted(tables.rows("from log")) == [
        ("u", "a", at(1), 3.0, None), ("u", "a", at(2), 1.0, None), ("u", "b", at(1), 1.0, None),
        ("v", "a", at(1), 1.0, None),
    ]  # fmt: skip
    assert tables.rows("select weight, dropped from interactions_judged where dropped is not null order by weight") == [
        (1.0, "same user, item and time seen before"), (2.0, "same user, item and time seen before"),
        (None, "weight is not a positive number"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "given", "dropped"),
    [
        (" Train", "train", None),
        ("valid ", "validation", None),
        ("VALIDATION", "validation", None),
        ("test", "test", None),
        ("dev", "dev", "part is not train, validation or test"),
        (None, None, "part is not train, validation or test"),
    ],
)
def test_a_given_part_is_read_whatever_its_case(part: str | None, given: str | None, dropped: str | None) -> None:
    row = ("u", "a", "2024-01-01", "1", part)
    tables = judged([row], split="given")
    assert tables.rows("select given_part, dropped from interactions_judged") == [(given, dropped)]
    assert judged([row], split="time").rows("select given_part, dropped from interactions_judged") == [(None, None)]


def test_the_same_row_in_two_given_parts_is_two_rows() -> None:
    rows = [("u", "a", "2024-01-01", "1", part) for part in ("train", "test", "test")]
    assert sorted(judged(rows, split="given").rows("select given_part from log")) == [("test",), ("train",)]
    assert len(judged(rows).rows("from log")) == 1


def test_users_without_an_id_or_seen_before_are_dropped_and_a_blank_profile_is_none() -> None:
    rows = [(" u ", " likes a "), ("v", " "), ("u", "again"), (None, "x"), (" ", "y"), ("w", None)]
    tables = Tables().fill("users_read", "user_id varchar, profile varchar", rows).stage("users")
    assert sorted(tables.rows("from users")) == [("u", "likes a"), ("v", None), ("w", None)]
    assert sorted(tables.rows("select profile, dropped from users_judged where dropped is not null")) == [
        ("again", "user_id seen before"), ("x", "no user_id"), ("y", "no user_id"),
    ]  # fmt: skip


def entry(user: str, item: str, day: int, part: str = "", given: str | None = None) -> tuple[Any, ...]:
    row = (user, item, at(day), 1.0, given)
    return (*row, part) if part else row


def test_a_round_of_the_k_core_keeps_what_has_as_many_as_asked_for() -> None:
    pairs = ["ua", "ub", "uc", "va", "vb", "wa", "xd", "xd"]
    log = [entry(user, item, day) for day, (user, item) in enumerate(pairs, start=1)]
    tables = Tables(min_user_interactions=2, min_item_interactions=2).fill("log", LOG, log).stage("k_core")
    assert sorted(user + item for user, item, *_ in tables.rows("from log")) == ["ua", "ub", "va", "vb", "xd", "xd"]
    tables = Tables(min_user_interactions=3, min_item_interactions=0).fill("log", LOG, log).stage("k_core")
    assert sorted(user + item for user, item, *_ in tables.rows("from log")) == ["ua", "ub", "uc"]
    tables = Tables(min_user_interactions=1, min_item_interactions=3).fill("log", LOG, log).stage("k_core")
    assert sorted(user + item for user, item, *_ in tables.rows("from log")) == ["ua", "va", "wa"]


def parts(tables: Tables, table: str = "parted") -> list[str]:
    return [f"{row[0]}{row[1]}{row[2].day} {row[-1]}" for row in sorted(tables.rows(f"from {table}"), key=str)]


def test_the_time_split_cuts_at_the_shares() -> None:
    log = [entry("u", "a", day) for day in range(1, 21)]
    tables = Tables(test_share=0.25, validation_share=0.25).fill("log", LOG, log).stage("split_time")
    assert tables.rows("from cuts") == [(at(10), at(15))]
    expected = [f"ua{day} {'train' if day < 10 else 'validation' if day < 15 else 'test'}" for day in range(1, 21)]
    assert parts(tables) == sorted(expected)
    tables = Tables(test_share=0.1, validation_share=0.4).fill("log", LOG, log).stage("split_time")
    assert tables.rows("from cuts") == [(at(10), at(18))]


def test_leave_last_out_takes_a_users_last_two_of_at_least_three() -> None:
    log = [entry(user, item, day) for user, length in (("u", 4), ("v", 3), ("w", 2), ("x", 1))
           for day, item in enumerate("abcd"[:length], start=1)]  # fmt: skip
    tables = Tables().fill("log", LOG, log).stage("split_leave_last_out")
    assert parts(tables) == [
        "ua1 train", "ub2 train", "uc3 validation", "ud4 test", "va1 train", "vb2 validation", "vc3 test",
        "wa1 train", "wb2 train", "xa1 train",
    ]  # fmt: skip
    assert tables.rows("from cuts") == [(None, None)]


@pytest.mark.parametrize("seed", ["0", "5"])
def test_choices_of_one_moment_are_ordered_by_a_seeded_hash(seed: str) -> None:
    log = [entry(user, item, 1) for user in "uv" for item in "abcde"]
    tables = Tables(seed=seed).fill("log", LOG, log).stage("split_leave_last_out")
    expected = []
    for user in "uv":
        order = sorted("abcde", key=lambda item: hashlib.md5(f"{seed}:{user}:{item}".encode()).hexdigest())
        names = {order[0]: "test", order[1]: "validation"}
        expected += [f"{user}{item}1 {names.get(item, 'train')}" for item in "abcde"]
    assert parts(tables) == expected


def test_a_given_split_stays_and_what_is_never_in_train_is_cold() -> None:
    log = [entry("u", "a", 1, given="train"), entry("u", "b", 2, given="validation"), entry("v", "a", 3, given="test")]
    log.append(entry("w", "a", 4, given="train"))
    tables = (
        Tables().fill("log", LOG, log).fill("items", CATALOGUE, known("a", "b", "c", cold="a")).stage("split_given")
    )
    assert parts(tables) == ["ua1 train", "ub2 validation", "va3 test", "wa4 train"]
    assert sorted(tables.rows("from items")) == [("a", False), ("b", True), ("c", True)]
    assert tables.rows("from cuts") == [(None, None)]


def test_before_the_test_a_cold_item_is_held_out_but_of_a_given_split() -> None:
    log = [entry("u", item, day, part) for item in "ab" for day, part in enumerate(("train", "validation", "test"), 1)]
    for split, expected in (("time", ["held_out", "held_out", "test"]), ("given", ["train", "validation", "test"])):
        tables = Tables(split=split).fill("parted", PARTED, log).fill("items", CATALOGUE, known("a", "b", cold="a"))
        tables.stage("hold_out_cold")
        assert [row[-1] for row in tables.rows("from interactions where item_id = 'a' order by ts")] == expected
        assert [row[-1] for row in tables.rows("from interactions where item_id = 'b' order by ts")] == [
            "train", "validation", "test",
        ]  # fmt: skip


def test_users_and_items_are_coded_in_their_orders_and_parts_by_their_places() -> None:
    log = [entry("v", "b", 1, "train"), entry("u", "a", 2, "held_out"), entry("v", "c", 3, "test")]
    log += [entry("u", "c", 2, "validation")]
    tables = Tables().fill("interactions", PARTED, log).fill("shown", PARTED, log[::-1])
    # Who has chosen nothing yet comes after those who have.
    tables.fill("users", "user_id varchar, profile varchar", [("a", "likes dub"), ("v", "likes folk")])
    # Items are in the order of buckets, and of ids within one.
    tables.fill("items", f"{CATALOGUE}, bucket integer", [("a", False, 2), ("b", False, 0), ("c", False, 0)]).stage(
        "code"
    )
    assert sorted(tables.rows("select user_id, user_code from user_codes")) == [("a", 2), ("u", 0), ("v", 1)]
    assert sorted(tables.rows("from item_codes")) == [("a", 2), ("b", 0), ("c", 1)]
    micro = [int((at(day) - datetime(1970, 1, 1)).total_seconds()) * 1_000_000 for day in range(1, 4)]
    coded = [(0, 1, micro[1], 1.0, 1), (0, 2, micro[1], 1.0, 3), (1, 0, micro[0], 1.0, 0), (1, 1, micro[2], 1.0, 2)]
    assert sorted(tables.rows("select user, item, ts, weight, part from interactions_coded")) == coded
    assert sorted(tables.rows("select user, item, ts, weight, part from shown_coded")) == coded
    assert tables.rows("select learnt, everything from newest") == [(micro[1], micro[2])]
    tables.fill("interactions", PARTED, [*log, entry("v", "a", 3, "train")]).stage("code")
    assert tables.rows("select learnt, everything from newest") == [(micro[2], micro[2])]
    tables.fill("interactions", PARTED, []).stage("code")
    assert tables.rows("select learnt, everything from newest") == [(0, 0)]


SHOWN = "user_id varchar, item_id varchar, ts varchar"


def shown(rows: Rows, parted: Rows, cuts: tuple[Any, Any] = (None, None), cold: str = "", **variables: Any) -> Tables:
    tables = Tables(**variables).read("shown", SHOWN, rows).fill("items", CATALOGUE, known("a", "b", cold=cold))
    tables.fill("parted", PARTED, parted).fill("interactions", PARTED, parted)
    return tables.fill("cuts", "validation_cut timestamp, test_cut timestamp", [cuts]).stage("shown")


HISTORY = [entry("u", "a", 2, "train"), entry("u", "b", 4, "validation"), entry("u", "a", 6, "test")]


@pytest.mark.parametrize(
    ("row", "dropped"),
    [
        ((" u ", " a ", "2024-01-01"), None),
        ((None, "a", "2024-01-01"), "no user_id"),
        ((" ", "a", "2024-01-01"), "no user_id"),
        (("u", None, "2024-01-01"), "no item_id"),
        (("u", "", "2024-01-01"), "no item_id"),
        (("u", "c", "2024-01-01"), "item_id is not in the catalogue"),
        (("u", "a", None), "no readable time"),
        (("u", "a", "yesterday"), "no readable time"),
        (("u", "a", "1989-12-31 23:59:59"), "time before 1990"),
        (("u", "a", "1990-01-01"), None),
        (("u", "a", "2024-06-01"), "time at or after the night's as-of"),
        (("u", "a", "2024-05-31 23:00:00"), None),
        (("v", "a", "2024-01-01"), "user_id is not in the log"),
    ],
)
def test_a_row_of_what_was_shown_is_kept_or_dropped_for_its_reason(row: tuple[Any, ...], dropped: str | None) -> None:
    tables = shown([row], [*HISTORY, entry("u", "b", 7, "test")])
    assert tables.rows("select dropped from shown_judged") == [(dropped,)]
    assert len(tables.rows("from shown")) == (dropped is None)


def test_what_was_shown_twice_at_once_is_shown_once() -> None:
    rows = [("u", "a", "2024-01-01"), ("u", "a", "2024-01-01"), ("u", "b", "2024-01-01"), ("u", "a", "2024-01-02")]
    tables = shown(rows, [*HISTORY, entry("v", "a", 1, "train")])
    assert sorted(tables.rows("select item_id, day(ts) from shown")) == [("a", 1), ("a", 2), ("b", 1)]
    assert sorted(
        tables.rows("select count(*) from shown_judged where dropped = 'same user, item and time seen before'")
    ) == [(1,)]
    again = shown([*rows[:1], ("v", "a", "2024-01-01")], [*HISTORY, entry("v", "a", 1, "train")])
    assert len(again.rows("from shown")) == 2


def placed(
    history: Rows, item: str = "b", cold: str = "", cuts: tuple[Any, Any] = (None, None), **variables: Any
) -> str:
    """The parts of what is shown at days 1 to 7, by their first letters."""
    rows = [("u", item, f"2024-01-0{day}") for day in range(1, 8)]
    return "".join(
        row[-1][0] for row in sorted(shown(rows, history, cuts, cold, **variables).rows("from shown"), key=str)
    )


def test_what_was_shown_belongs_to_the_part_of_its_time() -> None:
    cuts = (at(3), at(5))
    assert placed(HISTORY, cuts=cuts, split="time") == "tt" + "vv" + "ttt"
    rows = shown([("u", "b", "2024-01-02"), ("u", "b", "2024-01-05")], HISTORY, cuts, split="time").rows(
        "from shown order by ts"
    )
    assert [row[-1] for row in rows] == ["train", "test"]


def test_without_cut_times_it_belongs_to_the_part_after_a_users_last_choice_of_the_part_before() -> None:
    split = "leave_last_out"
    rows = [("u", "b", f"2024-01-0{day}") for day in range(1, 8)]
    last = shown(rows, HISTORY, split=split).rows("select part from shown order by ts")
    assert [part for (part,) in last] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 3
    # The last of several of a part counts, and of another user none does.
    more = [entry("u", "b", 3, "train"), entry("u", "a", 5, "validation"), entry("v", "a", 1, "validation")]
    last = shown(rows, [*HISTORY, *more], split=split).rows("select part from shown order by ts")
    assert [part for (part,) in last] == ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    # Who has no validation part was shown it all in training.
    alone = shown(rows, [entry("u", "a", 2, "train")], split=split).rows("select part from shown order by ts")
    assert [part for (part,) in alone] == ["train"] * 7
    # Who begins in validation has no training to be shown anything in after it.
    late = shown(rows, [entry("u", "a", 4, "validation")], split=split).rows("select part from shown order by ts")
    assert [part for (part,) in late] == ["train"] * 4 + ["test"] * 3


def test_that_a_cold_item_was_shown_is_held_out_before_the_test() -> None:
    assert placed(HISTORY, "b", cold="b", split="leave_last_out") == "hhhhttt"
    assert placed(HISTORY, "a", cold="b", split="leave_last_out") == "ttvvttt"


def counted(**variables: Any) -> Tables:
    tables = Tables(**variables)
    for name, reasons in {
        "items": [None, None, "no item_id"],
        "users": [None, "no user_id"],
        "shown": [None, "no user_id", "no user_id"],
        "interactions": [None] * 5 + ["no item_id"] * 2,
    }.items():
        rows = [(reason, reason and f"{number} of {name}") for number, reason in enumerate(reasons)]
        tables.fill(f"{name}_judged", "dropped varchar, dropped_example varchar", rows)
    tables.fill(
        "interactions", PARTED, [entry("u", "a", 1, "train"), entry("v", "a", 2, "train"), entry("u", "b", 3, "test")]
    )
    tables.fill("items", f"{CATALOGUE}, bucket integer", [("a", False, 0), ("b", True, 2), ("c", False, 2)])
    return tables.fill("cuts", "validation_cut timestamp, test_cut timestamp", [(at(2), at(3))])


def test_the_summary_counts_what_came_in_and_what_was_dropped_and_why() -> None:
    tables = counted().stage("summary")
    assert sorted(tables.rows("from intake"), key=str) == sorted([
        ("items", None, 2, None), ("items", "no item_id", 1, "2 of items"), ("users", None, 1, None),
        ("users", "no user_id", 1, "1 of users"), ("shown", None, 1, None), ("shown", "no user_id", 2, "1 of shown"),
        ("interactions", "no item_id", 2, "5 of interactions"), ("interactions", None, 3, None),
        ("interactions", "user or item with too few interactions (k-core)", 2, None),
    ], key=str)  # fmt: skip
    assert tables.rows("from counts") == [(3, 1, 2, at(2), at(3))]
    assert sorted(tables.rows("from part_counts")) == [("test", 1), ("train", 2)]


@pytest.mark.parametrize(("left", "gone"), [(5, []), (4, [(1,)])])
def test_where_the_k_core_leaves_all_it_is_no_reason(left: int, gone: Rows) -> None:
    log = [entry("u", "a", day, "train") for day in range(1, left + 1)]
    tables = counted().fill("interactions", PARTED, log).stage("summary")
    assert tables.rows("select row_count from intake where dropped like '%k-core%'") == gone


EMPTY = [("catalogue_is_not_empty", "items", CATALOGUE, [("a", False)]),
         ("log_is_not_empty", "interactions", PARTED, [entry("u", "a", 1, "train")])]  # fmt: skip


@pytest.mark.parametrize(("check", "table", "columns", "rows"), EMPTY)
def test_what_is_empty_offends(check: str, table: str, columns: str, rows: Rows) -> None:
    assert Tables().fill(table, columns, rows).check(check) == []
    assert Tables().fill(table, columns, rows * 2).check(check) == []
    ((problem,),) = Tables().fill(table, columns, []).check(check)
    assert problem in (
        "no item is left after staging",
        "no interaction is left after staging",
    )


def test_unknown_given_parts_offend_in_their_order() -> None:
    reason = "part is not train, validation or test"
    rows = [
        ("v", "a", "x", reason),
        ("u", "b", "x", reason),
        ("u", "a", "y", reason),
        ("u", "a", "x", reason),
        ("t", "a", "x", "other"),
        ("t", "b", "x", None),
    ]
    tables = Tables().fill(
        "interactions_judged", "user_id varchar, item_id varchar, given_part varchar, dropped varchar", rows
    )
    assert tables.check("given_parts_are_known") == [("u", "a", "x"), ("u", "a", "y"), ("u", "b", "x"), ("v", "a", "x")]


CUTS = "validation_cut timestamp, test_cut timestamp"


@pytest.mark.parametrize("empty", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("split", "days", "cuts", "way_out"),
    [
        ("given", (1, 2), (None, None), "let the query return such a part"),
        ("leave_last_out", (1, 2), (None, None), "no user has three choices: set ingest.split to time, or to given"),
        ("time", (1, 1), (at(1), at(1)), "every choice bears the time 2024-01-01 00:00:00: set ingest.split to leave"),
        ("time", (1, 2), (at(2), at(2)), "too many choices bear the time 2024-01-02 00:00:00 to be cut there: set"),
        ("time", (1, 3), (at(2), at(3)), "set ingest.validation_share and ingest.test_share so that each part of 2024"),
    ],
)
def test_a_split_that_lacks_a_part_offends_and_says_what_to_set(
    empty: str, split: str, days: tuple[int, int], cuts: tuple[Any, Any], way_out: str
) -> None:
    others = [part for part in ("train", "validation", "test") if part != empty]
    log = [entry("u", "a", day, part) for day in days for part in others]
    tables = Tables(split=split).fill("cuts", CUTS, [cuts]).fill("interactions", PARTED, log)
    ((part, said),) = tables.check("split_has_every_part")
    assert part == empty
    assert said.startswith(way_out)
    assert tables.fill("interactions", PARTED, [*log, entry("u", "a", 1, empty)]).check("split_has_every_part") == []


@pytest.mark.parametrize(("bad", "good", "kept"), [(1, 1, None), (2, 1, 33.3), (1, 0, 0.0), (51, 49, 49.0)])
@pytest.mark.parametrize("table", ["items", "users", "interactions", "shown"])
def test_a_table_of_which_fewer_than_half_the_rows_survive_offends(
    table: str, bad: int, good: int, kept: float | None
) -> None:
    tables = Tables()
    for name in ("items", "users", "interactions", "shown"):
        own = [("bad",)] * bad + [(None,)] * good if name == table else [(None,)]
        tables.fill(f"{name}_judged", "dropped varchar", own)
    assert tables.check("most_rows_survive") == ([] if kept is None else [(table, kept)])


@pytest.mark.parametrize(
    ("table", "reason", "counts"),
    [
        ("items", "time at or after the night's as-of", True),
        ("users", "user_id is not in the log", True),
        ("interactions", "time at or after the night's as-of", False),
        ("interactions", "user_id is not in the log", True),
        ("shown", "time at or after the night's as-of", False),
        ("shown", "user_id is not in the log", False),
        ("shown", "no user_id", True),
    ],
)
def test_what_is_no_fault_of_the_source_is_not_counted(table: str, reason: str, counts: bool) -> None:
    tables = Tables()
    for name in ("items", "users", "interactions", "shown"):
        tables.fill(f"{name}_judged", "dropped varchar", [(reason,)] * (4 * (name == table)) + [(None,)])
    assert tables.check("most_rows_survive") == ([(table, 20.0)] if counts else [])


@pytest.mark.parametrize(
    ("ts", "offends"), [(datetime(2024, 5, 31, 23), False), (AS_OF, True), (datetime(2024, 6, 2), True)]
)
def test_a_row_from_after_the_night_offends(ts: datetime, offends: bool) -> None:
    tables = Tables().fill("interactions", PARTED, [("u", "a", ts, 1.0, None, "test")])
    assert tables.check("no_interaction_after_as_of") == [("u", "a", ts)] * offends


@pytest.mark.parametrize(
    ("part", "day", "offends"),
    [
        ("train", 2, False), ("train", 3, True), ("train", 4, True), ("train", 6, True), ("validation", 2, False),
        ("validation", 4, False), ("validation", 5, True), ("held_out", 4, False), ("held_out", 5, True),
        ("test", 3, False), ("test", 5, False), ("test", 6, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", ["interactions", "shown"])
def test_what_is_learned_from_ends_before_the_cuts(part: str, day: int, offends: bool, table: str) -> None:
    tables = Tables().fill("cuts", "validation_cut timestamp, test_cut timestamp", [(at(3), at(5))])
    for name in ("interactions", "shown"):
        tables.fill(name, PARTED, [entry("u", "a", day, part)] * (name == table))
    assert tables.check("training_ends_before_test") == [("u", "a", at(day), part)] * offends


@pytest.mark.parametrize(
    ("part", "split", "offends"),
    [
        ("train", "time", True), ("validation", "time", True), ("held_out", "time", False), ("test", "time", False),
        ("train", "given", True), ("validation", "given", False), ("test", "given", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", ["interactions", "shown"])
def test_nothing_is_learned_of_a_cold_item(part: str, split: str, offends: bool, table: str) -> None:
    tables = Tables(split=split).fill("items", CATALOGUE, known("a", "b", cold="a"))
    for name in ("interactions", "shown"):
        tables.fill(name, PARTED, [entry("u", item, 1, part) for item in "ab"] if name == table else [])
    assert tables.check("training_sees_no_cold_item") == [("u", "a", part)] * offends
