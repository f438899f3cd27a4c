"""Writes the synthetic record shop: catalogue, log, what was shown, buyers, sleeves, clips, and a configuration."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.sample import buyers, showings
from pipeline.sample.blurb import artist_of, blurb_of, language_of, title_of
from pipeline.sample.dirt import KINDS, OUTSIDE, Planted, plan_dirt, spoil_log
from pipeline.sample.log import draw_log
from pipeline.sample.music import clip_of, suffix_of
from pipeline.sample.pages import readme, settings
from pipeline.sample.sleeve import sleeve_of
from pipeline.sample.tastes import Record, draw_record, stream

FEWEST_ITEMS = 20
_ITEM_COLUMNS = ("record_id", "title", "artist", "label", "genre", "year", "blurb", "language", "sleeve", "clip")
_LOG_COLUMNS = ("buyer_id", "record_id", "bought_at", "quantity")
_LABEL = "Synthetic Recordings"
_GARBAGE_BYTES = 4096
_CUT_BYTES = 40


@dataclass(frozen=True, slots=True)
class ShopSummary:
    """What was written: counts of records, buyers, rows and files, and the planted dirt by kind.

    `planted` maps a kind, described in `pipeline.sample.dirt.KINDS`, to the ids of the records, or buyers, concerned.
    """

    folder: Path
    items: int
    users: int
    purchases: int
    showings: int
    sleeves: int
    clips: int
    planted: Planted


def write_shop(folder: Path, items: int = 600, users: int = 400, seed: int = 0) -> ShopSummary:
    """Writes a synthetic record shop to `folder`; the same arguments give the same bytes.

    A shop that is there already is replaced, a workspace beside it is kept.

    Raises ConfigError if a number is out of range, or the folder holds something else or cannot be written.
    """
    _check(items, users, seed)
    records = [draw_record(seed, number) for number in range(1, items + 1)]
    planted = plan_dirt(seed, records)
    unsold = set(planted["never_bought"])
    on_sale = [record for record in records if record.record_id not in unsold]
    clean = draw_log(seed, on_sale, users)
    log, planted_log = spoil_log(seed, clean)
    drawn = showings.draw_showings(seed, on_sale, users, clean)
    shown, planted_shown = showings.spoil_showings(seed, drawn)
    planted |= planted_log | planted_shown | buyers.plan_buyers(seed, users)
    planted = {kind: planted[kind] for kind in KINDS}
    try:
        _clear(folder)
        twice = planted["record_twice"]
        rows = [_row(record, seed, planted) for record in records for _ in range(1 + (record.record_id in twice))]
        _write_csv(folder / "items.csv", _ITEM_COLUMNS, rows)
        _write_csv(folder / "purchases.csv", _LOG_COLUMNS, (purchase.row() for purchase in log))
        _write_csv(folder / "shown.csv", showings.COLUMNS, (showing.row() for showing in shown))
        _write_csv(folder / "buyers.csv", buyers.COLUMNS, buyers.rows(seed, users, planted))
        _write_media(folder, records, seed, planted)
        summary = ShopSummary(
            folder, items, users, len(log), len(shown), _count(folder / "sleeves"), _count(folder / "clips"), planted
        )
        (folder / "README.txt").write_text(readme(items, users, (len(log), len(shown)), seed, planted), "utf-8")
        (folder / "medley.yaml").write_text(settings(items, planted), "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{folder}: the shop cannot be written there ({error.strerror}); give another folder"
        ) from None
    return summary


def _check(items: int, users: int, seed: int) -> None:
    if items < FEWEST_ITEMS:
        raise ConfigError(f"--items {items}: a shop needs at least {FEWEST_ITEMS} records to hold the planted dirt")
    if users < 1:
        raise ConfigError(f"--users {users}: a shop needs at least 1 buyer")
    if seed < 0:
        raise ConfigError(f"--seed {seed}: give a seed of 0 or more")


def _clear(folder: Path) -> None:
    """Removes the files of an earlier shop; refuses a folder that holds something else."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / "purchases.csv").is_file():
        raise ConfigError(
            f"{folder}: the folder holds something other than a sample shop; give an empty or a new folder"
        )
    for name in ("sleeves", "clips"):
        (folder / name).mkdir(exist_ok=True)
        for file in (folder / name).glob("rec-*"):
            file.unlink()


def _row(record: Record, seed: int, planted: Planted) -> tuple[str, ...]:
    name = record.record_id
    blurb = "" if name in planted["blurb_empty"] else blurb_of(record, seed)
    sleeve, clip = _sleeve_path(record), _clip_path(record, seed)
    if name in planted["sleeve_path_empty"]:
        sleeve = ""
    if name in planted["sleeve_outside_folder"]:
        sleeve = OUTSIDE
    if name in planted["clip_path_empty"]:
        clip = ""
    title, artist = title_of(record, seed), artist_of(record, seed)
    language = language_of(record, seed)
    return name, title, artist, _LABEL, record.genre, str(record.year), blurb, language, sleeve, clip


def _sleeve_path(record: Record) -> str:
    return f"sleeves/{record.record_id}.jpg"


def _clip_path(record: Record, seed: int) -> str:
    return f"clips/{record.record_id}.{suffix_of(record, seed)}"


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _write_media(folder: Path, records: list[Record], seed: int, planted: Planted) -> None:
    first, second = planted["sleeve_identical"]
    drawn_as = {second: next(record for record in records if record.record_id == first)}

    def write(record: Record) -> None:
        sleeve = _sleeve(drawn_as.get(record.record_id, record), record, seed, planted)
        if sleeve is not None:
            (folder / _sleeve_path(record)).write_bytes(sleeve)
        clip = _clip(record, seed, planted)
        if clip is not None:
            (folder / _clip_path(record, seed)).write_bytes(clip)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(write, records):
            pass


def _sleeve(drawn: Record, record: Record, seed: int, planted: Planted) -> bytes | None:
    name = record.record_id
    if any(name in planted[kind] for kind in ("sleeve_path_empty", "sleeve_file_absent", "sleeve_outside_folder")):
        return None
    if name in planted["sleeve_corrupt"]:
        return stream("sleeve", seed, record.number).bytes(_GARBAGE_BYTES)
    return sleeve_of(drawn, seed, title_of(drawn, seed), artist_of(drawn, seed))


def _clip(record: Record, seed: int, planted: Planted) -> bytes | None:
    name = record.record_id
    if any(name in planted[kind] for kind in ("clip_path_empty", "clip_file_absent")):
        return None
    data = clip_of(record, seed)
    if name in planted["clip_truncated"]:
        return data[: len(data) // 2 if suffix_of(record, seed) == "flac" else _CUT_BYTES]
    return data


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("rec-*"))
