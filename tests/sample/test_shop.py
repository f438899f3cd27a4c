from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
import soundfile
import yaml
from PIL import Image, UnidentifiedImageError

from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.sample import ShopSummary, write_shop
from pipeline.sample.blurb import blurb_of, language_of
from pipeline.sample.dirt import KINDS, plan_dirt
from pipeline.sample.pages import settings
from pipeline.sample.tastes import draw_record

QUERIES = Path(__file__).parents[2] / "sql" / "sources" / "sample"
ITEMS, USERS, SEED = 60, 30, 3


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ShopSummary:
    return write_shop(tmp_path_factory.mktemp("shop"), items=ITEMS, users=USERS, seed=SEED)


@pytest.fixture(scope="module")
def rows(shop: ShopSummary) -> dict[str, dict[str, str]]:
    return {row["record_id"]: row for row in _read(shop.folder / "items.csv")}


@pytest.fixture(scope="module")
def log(shop: ShopSummary) -> list[dict[str, str]]:
    return _read(shop.folder / "purchases.csv")


@pytest.fixture(scope="module")
def shown(shop: ShopSummary) -> list[dict[str, str]]:
    return _read(shop.folder / "shown.csv")


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(shop: ShopSummary, tmp_path: Path) -> None:
    again = write_shop(tmp_path / "again", items=ITEMS, users=USERS, seed=SEED)
    assert _contents(again.folder) == _contents(shop.folder)
    assert again.planted == shop.planted
    other = write_shop(tmp_path / "other", items=20, users=2, seed=SEED + 1)
    assert _contents(other.folder)["sleeves/rec-0001.jpg"] != _contents(shop.folder)["sleeves/rec-0001.jpg"]


def test_a_record_of_a_larger_shop_has_the_same_sleeve_and_clip(shop: ShopSummary, tmp_path: Path) -> None:
    small, large = _contents(write_shop(tmp_path / "small", 20, 2, SEED).folder), _contents(shop.folder)
    shared = [name for name in small if name.startswith(("sleeves/", "clips/")) and name in large]
    same = sum(small[name] == large[name] for name in shared)
    dirty_in_either = 8
    assert same >= len(shared) - dirty_in_either
    assert same > 20


def test_the_summary_counts_what_was_written(
    shop: ShopSummary, log: list[dict[str, str]], shown: list[dict[str, str]]
) -> None:
    assert (shop.items, shop.users, shop.purchases, shop.showings) == (ITEMS, USERS, len(log), len(shown))
    assert shop.sleeves == len(list((shop.folder / "sleeves").iterdir()))
    assert shop.clips == len(list((shop.folder / "clips").iterdir()))
    assert len({row["buyer_id"] for row in log} - {""}) == USERS


def test_every_kind_of_dirt_is_planted_and_told_in_the_readme(shop: ShopSummary) -> None:
    text = (shop.folder / "README.txt").read_text("utf-8")
    words = text.split()
    assert list(shop.planted) == list(KINDS)
    for kind, names in shop.planted.items():
        assert names, kind
        assert all(name in words or f"{name}," in words for name in names)
        assert KINDS[kind] in " ".join(words)


def test_missing_and_broken_media_are_where_the_summary_says(
    shop: ShopSummary, rows: dict[str, dict[str, str]]
) -> None:
    broken: dict[str, set[str]] = {"sleeve": set(), "clip": set()}
    for name, row in rows.items():
        for column, read in (("sleeve", _read_sleeve), ("clip", _read_clip)):
            if not row[column] or not read(shop.folder / row[column]):
                broken[column].add(name)
    for column, names in broken.items():
        kinds = [kind for kind in KINDS if kind.startswith(column) and kind != "sleeve_identical"]
        assert names == {name for kind in kinds for name in shop.planted[kind]}


def _read_sleeve(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            assert image.size == (360, 360)
            image.load()
            return True
    except (UnidentifiedImageError, FileNotFoundError):
        return False


def _read_clip(path: Path) -> bool:
    try:
        samples, rate = soundfile.read(path)
        return 2.5 < len(samples) / rate < 4.5
    except soundfile.LibsndfileError:
        return False


def test_paths_are_empty_absent_or_outside_as_planted(shop: ShopSummary, rows: dict[str, dict[str, str]]) -> None:
    planted = shop.planted
    assert all(rows[name]["sleeve"] == "" for name in planted["sleeve_path_empty"])
    assert all(rows[name]["clip"] == "" for name in planted["clip_path_empty"])
    assert all(rows[name]["sleeve"] for name in planted["sleeve_file_absent"])
    for name in planted["sleeve_outside_folder"]:
        assert not (shop.folder / rows[name]["sleeve"]).resolve().is_relative_to(shop.folder.resolve())


def test_one_blurb_is_empty_one_row_is_double_and_two_sleeves_are_one(
    shop: ShopSummary, rows: dict[str, dict[str, str]]
) -> None:
    assert {name for name, row in rows.items() if not row["blurb"]} == set(shop.planted["blurb_empty"])
    listed = [row["record_id"] for row in _read(shop.folder / "items.csv")]
    assert {name for name in listed if listed.count(name) == 2} == set(shop.planted["record_twice"])
    one, other = ((shop.folder / rows[name]["sleeve"]).read_bytes() for name in shop.planted["sleeve_identical"])
    assert one == other


def test_each_blurb_is_in_the_language_that_its_row_names(rows: dict[str, dict[str, str]]) -> None:
    columns = list(next(iter(rows.values())))
    assert columns[columns.index("blurb") + 1] == "language"
    for number in range(1, ITEMS + 1):
        record = draw_record(SEED, number)
        row = rows[record.record_id]
        assert row["language"] == language_of(record, SEED)
        assert row["blurb"] in ("", blurb_of(record, SEED, language_of(record, SEED)))
    assert {row["language"] for row in rows.values()} == {"en", "zh"}


def test_the_readme_says_that_blurbs_come_in_english_and_chinese(shop: ShopSummary) -> None:
    text = (shop.folder / "README.txt").read_text("utf-8")
    assert "English" in text
    assert "Chinese" in text


def test_the_logs_dirt_is_where_the_summary_says(
    shop: ShopSummary, rows: dict[str, dict[str, str]], log: list[dict[str, str]]
) -> None:
    found = {
        "log_row_twice": [row for place, row in enumerate(log) if row in log[:place]],
        "log_year_2099": [row for row in log if row["bought_at"].startswith("2099-")],
        "log_year_1900": [row for row in log if row["bought_at"].startswith("1900-")],
        "log_quantity_zero": [row for row in log if row["quantity"] == "0"],
        "log_quantity_negative": [row for row in log if int(row["quantity"]) < 0],
        "log_unknown_record": [row for row in log if row["record_id"] not in rows],
        "log_buyer_empty": [row for row in log if not row["buyer_id"]],
    }
    for kind, dirty in found.items():
        assert tuple(sorted(row["record_id"] for row in dirty)) == shop.planted[kind]
    assert not {row["record_id"] for row in log} & set(shop.planted["never_bought"])


def test_every_purchase_was_made_from_a_page_that_showed_it_among_others(
    shop: ShopSummary, rows: dict[str, dict[str, str]], log: list[dict[str, str]], shown: list[dict[str, str]]
) -> None:
    pages: dict[tuple[str, datetime], list[str]] = {}
    for row in shown:
        pages.setdefault((row["buyer_id"], datetime.fromisoformat(row["shown_at"])), []).append(row["record_id"])
    odd = {"log_year_2099", "log_year_1900", "log_unknown_record", "log_buyer_empty"}
    for row in log:
        moment = datetime.fromisoformat(row["bought_at"])
        before = [page for (buyer, at), page in pages.items()
                  if buyer == row["buyer_id"] and timedelta(0) < moment - at < timedelta(minutes=30)]  # fmt: skip
        if not any(row["record_id"] in page for page in before):
            assert any(row["record_id"] in shop.planted[kind] for kind in odd) or row["record_id"] not in rows
    gone = [row for row in shown if row["record_id"] not in rows]
    assert tuple(sorted(row["record_id"] for row in gone)) == shop.planted["shown_unknown_record"]
    twice = [record for page in pages.values() for record in set(page) if page.count(record) > 1]
    assert tuple(sorted(twice)) == shop.planted["shown_row_twice"]
    assert len(shown) == 10 * len(pages) + len(gone) + len(twice)
    assert not {row["record_id"] for row in shown} & set(shop.planted["never_bought"])


def test_at_the_default_size_too_few_media_are_bad_to_stop_a_night() -> None:
    planted = plan_dirt(0, [draw_record(0, number) for number in range(1, 601)])
    for column in ("sleeve", "clip"):
        kinds = [kind for kind in KINDS if kind.startswith(column) and kind != "sleeve_identical"]
        assert sum(len(planted[kind]) for kind in kinds) / 600 < 0.05
    assert len(planted["never_bought"]) == 30


def test_the_settings_are_ready_and_say_that_the_shop_is_synthetic(shop: ShopSummary) -> None:
    config = load(shop.folder / "medley.yaml")
    assert config.source.params == {"root": str(shop.folder)}
    assert config.source.items == "sources/sample/items.sql"
    assert config.source.users == "sources/sample/users.sql"
    assert config.source.shown == "sources/sample/shown.sql"
    assert config.ingest.split == "time"
    assert config.workspace == str(shop.folder / "workspace")
    assert "ynthetic" in config.name
    assert "ynthetic" in config.note
    assert config.extract.text is not None
    assert config.extract.text.encoder == "use_multilingual"
    assert config.extract.image is not None
    assert config.extract.image.max_error_rate > 0.05
    assert "SYNTHETIC" in (shop.folder / "README.txt").read_text("utf-8").upper()


@pytest.mark.parametrize("items", [20, 60, 600])
def test_a_shop_of_any_size_reads_both_languages_and_tolerates_its_own_dirt(items: int) -> None:
    planted = plan_dirt(0, [draw_record(0, number) for number in range(1, items + 1)])
    extract = yaml.safe_load(settings(items, planted))["extract"]
    # A record without a blurb is read by its title.
    assert extract["text"] == {"encoder": "use_multilingual"}
    assert [extract.get(modality) for modality in ("image", "audio")] == {
        20: [{"max_error_rate": 0.5}, {"max_error_rate": 0.5}],
        60: [{"max_error_rate": 0.5}, {"max_error_rate": 0.5}],
        600: [None, None],
    }[items]


def test_the_packaged_settings_run_on_any_shop() -> None:
    config = load(QUERIES / "medley.yaml", ("source.params.root=some/shop",))
    assert config.source.params == {"root": str(Path("some/shop").absolute())}
    assert config.extract.text is not None
    assert config.extract.text.encoder == "use_multilingual"


def test_the_queries_give_the_source_tables_columns_and_keep_the_dirt(shop: ShopSummary) -> None:
    database = duckdb.connect()
    database.execute("set variable root = ?", [str(shop.folder)])
    items = database.sql((QUERIES / "items.sql").read_text("utf-8"))
    assert items.columns[:5] == ["item_id", "title", "text", "image", "audio"]
    assert "language" in items.columns[5:]
    assert len(items.fetchall()) == ITEMS + len(shop.planted["record_twice"])
    log = database.sql((QUERIES / "interactions.sql").read_text("utf-8"))
    assert log.columns == ["user_id", "item_id", "ts", "weight"]
    assert [str(kind) for kind in log.types] == ["VARCHAR", "VARCHAR", "TIMESTAMP", "DOUBLE"]
    found = log.fetchall()
    assert len(found) == shop.purchases
    assert sum(row[3] <= 0 for row in found) == 2
    assert {row[2].year for row in found} >= {1900, 2099}
    users = database.sql((QUERIES / "users.sql").read_text("utf-8"))
    assert users.columns == ["user_id", "profile", "language"]
    twice, newcomers = shop.planted["profile_twice"], shop.planted["profile_without_purchase"]
    assert len(users.fetchall()) == USERS + len(twice) + len(newcomers)
    assert not {row[0] for row in found} & set(newcomers)
    shown = database.sql((QUERIES / "shown.sql").read_text("utf-8"))
    assert shown.columns == ["user_id", "item_id", "ts"]
    assert str(shown.types[2]) == "TIMESTAMP"
    assert len(shown.fetchall()) == shop.showings


def test_a_new_shop_replaces_the_old_one_and_keeps_the_workspace(tmp_path: Path) -> None:
    write_shop(tmp_path, items=30, users=3)
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "CURRENT.json").write_text("{}")
    fresh = write_shop(tmp_path, items=20, users=3, seed=1)
    numbers = {int(path.stem.removeprefix("rec-")) for path in (tmp_path / "sleeves").iterdir()}
    assert max(numbers) <= 20
    assert len(numbers) == fresh.sleeves
    assert (tmp_path / "workspace" / "CURRENT.json").read_text() == "{}"


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="give an empty or a new folder"):
        write_shop(tmp_path, items=20, users=2)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("name", "value"), [("items", 19), ("users", 0), ("seed", -1)])
def test_a_number_out_of_range_is_named(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"--{name} {value}"):
        write_shop(tmp_path / "shop", **{"items": 20, "users": 2, name: value})
    assert not (tmp_path / "shop").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be written there"):
        write_shop(tmp_path / "file" / "shop", items=20, users=2)


def test_sleeves_carry_no_time_or_name_of_a_machine(shop: ShopSummary) -> None:
    with Image.open(io.BytesIO((shop.folder / "sleeves" / "rec-0001.jpg").read_bytes())) as image:
        assert not image.getexif()
