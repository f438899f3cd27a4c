"""The dirt planted in the shop: what every real catalogue, log and list of buyers has, in known places."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from pipeline.sample.log import Purchase
from pipeline.sample.music import suffix_of
from pipeline.sample.tastes import Record, stream

Planted = Mapping[str, tuple[str, ...]]

OUTSIDE = "../../etc/hostname"
KINDS: dict[str, str] = {
    "sleeve_path_empty": "no sleeve: the path is empty",
    "sleeve_file_absent": "the sleeve's path names a file that does not exist",
    "sleeve_corrupt": "the sleeve's file is not an image",
    "sleeve_outside_folder": f"the sleeve's path leaves the shop's folder ({OUTSIDE})",
    "sleeve_identical": "two records with byte-identical sleeves",
    "clip_path_empty": "no clip: the path is empty",
    "clip_file_absent": "the clip's path names a file that does not exist",
    "clip_truncated": "the clip's file is cut off and cannot be decoded",
    "blurb_empty": "the blurb is empty, so that the title is all that is read",
    "record_twice": "the record has two rows in items.csv",
    "never_bought": "nobody bought the record yet",
    "log_row_twice": "a purchase that is in the log twice",
    "log_year_2099": "a purchase in the year 2099",
    "log_year_1900": "a purchase in the year 1900",
    "log_quantity_zero": "a purchase of quantity 0",
    "log_quantity_negative": "a purchase of a negative quantity",
    "log_unknown_record": "a purchase of a record that is not in items.csv",
    "log_buyer_empty": "a purchase without a buyer",
    "shown_row_twice": "a record that is shown twice on a page",
    "shown_unknown_record": "a shown record that is not in items.csv",
    "profile_empty": "the buyer's profile is empty",
    "profile_twice": "the buyer has two rows in buyers.csv",
    "profile_without_purchase": "a buyer with a profile who has bought nothing yet",
}
_SHARES = {
    "sleeve_path_empty": 0.015,
    "sleeve_file_absent": 0.015,
    "clip_path_empty": 0.01,
    "clip_file_absent": 0.01,
    "never_bought": 0.05,
}
_TWICE_SHARE = 0.005
_ROWS_PER_BAD_ROW = 4000


def plan_dirt(seed: int, records: list[Record]) -> dict[str, tuple[str, ...]]:
    """Chooses which records are dirty: kind -> record ids; no record is dirty in two ways."""
    order = [records[place] for place in stream("dirt", seed).permutation(len(records))]
    # Only FLAC's decoder reports a file cut in half; the others return a shorter clip.
    cut = next((record for record in order if suffix_of(record, seed) == "flac"), order[0])
    order.remove(cut)
    planted: dict[str, tuple[str, ...]] = {"clip_truncated": (cut.record_id,)}
    for kind in KINDS:
        if kind.startswith(("log_", "shown_", "profile_")) or kind in planted:
            continue
        count = 2 if kind == "sleeve_identical" else max(1, round(_SHARES.get(kind, 0) * len(records)))
        planted[kind] = tuple(sorted(record.record_id for record in order[:count]))
        del order[:count]
    return planted


def spoil_log(seed: int, log: list[Purchase]) -> tuple[list[Purchase], dict[str, tuple[str, ...]]]:
    """Adds the log's dirt: the rows in order of time, and kind -> record ids of the added rows."""
    rng = stream("log_dirt", seed)
    added = {"log_row_twice": [log[place] for place in _places(rng, log, max(1, round(_TWICE_SHARE * len(log))))]}
    for kind in (kind for kind in KINDS if kind.startswith("log_") and kind not in added):
        places = _places(rng, log, max(1, round(len(log) / _ROWS_PER_BAD_ROW)))
        added[kind] = [_spoil(kind, log[place], number) for number, place in enumerate(places, 1)]
    rows = log + [purchase for purchases in added.values() for purchase in purchases]
    rows.sort(key=lambda purchase: (purchase.bought_at, purchase.buyer_id, purchase.record_id))
    return rows, {kind: tuple(sorted(row.record_id for row in purchases)) for kind, purchases in added.items()}


def _places(rng: np.random.Generator, log: list[Purchase], count: int) -> list[int]:
    return [int(place) for place in rng.choice(len(log), size=min(count, len(log)), replace=False)]


def _spoil(kind: str, row: Purchase, number: int) -> Purchase:
    buyer, record, moment, quantity = row.buyer_id, row.record_id, row.bought_at, row.quantity
    match kind:
        case "log_year_2099":
            moment = _in_year(moment, 2099)
        case "log_year_1900":
            moment = _in_year(moment, 1900)
        case "log_quantity_zero":
            quantity = 0
        case "log_quantity_negative":
            quantity = -1
        case "log_unknown_record":
            record = f"rec-lost-{number}"
        case "log_buyer_empty":
            buyer = ""
    return Purchase(buyer, record, moment, quantity)


def _in_year(moment: datetime, year: int) -> datetime:
    # The 28th at most: the other year may have no 29 February.
    return moment.replace(year=year, day=min(moment.day, 28))
