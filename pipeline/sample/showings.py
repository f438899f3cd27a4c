"""What the shop put before buyers: each purchase ends a visit, and its page showed SHOWN records, the bought one among
them. Of the others about half are bestsellers, and half are of the genres and moods that the buyer likes; a few the
buyer has already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.sample.log import Purchase, buyer_id
from pipeline.sample.tastes import Record, draw_likings, levels_of, stream, utilities

SHOWN = 10
COLUMNS = ("buyer_id", "record_id", "shown_at")
_BESTSELLERS = 5
# What a shop can see of a taste.
_KNOWN = ("genre", "mood")
_LONGEST_VISIT_SECONDS = 1800
_ROWS_PER_BAD_ROW = 4000


@dataclass(frozen=True, order=True, slots=True)
class Showing:
    """One row of shown.csv; `shown_at` is in UTC."""

    shown_at: datetime
    buyer_id: str
    record_id: str

    def row(self) -> tuple[str, str, str]:
        """The row as shown.csv has it: ISO 8601 with a Z."""
        return self.buyer_id, self.record_id, f"{self.shown_at:%Y-%m-%dT%H:%M:%SZ}"


def draw_showings(seed: int, records: list[Record], buyers: int, log: list[Purchase]) -> list[Showing]:
    """The pages before the purchases of a log, in order of time. records: those on sale."""
    place = {record.record_id: number for number, record in enumerate(records)}
    sales = np.bincount([place[purchase.record_id] for purchase in log], minlength=len(records))
    levels = levels_of(records)
    visits: dict[str, list[Purchase]] = {}
    for purchase in log:
        visits.setdefault(purchase.buyer_id, []).append(purchase)
    showings: list[Showing] = []
    for buyer in range(1, buyers + 1):
        rng, bought = stream("shown", seed, buyer), visits[buyer_id(buyer)]
        likings = draw_likings(seed, buyer)
        suits = utilities({trait: likings[trait] for trait in _KNOWN}, levels)
        pages = _pages(rng, np.array([place[purchase.record_id] for purchase in bought]), np.log(sales + 1.0), suits)
        seconds = rng.integers(1, _LONGEST_VISIT_SECONDS, size=len(bought))
        for purchase, page, before in zip(bought, pages, seconds, strict=True):
            moment = purchase.bought_at - timedelta(seconds=int(before))
            showings += [Showing(moment, purchase.buyer_id, records[item].record_id) for item in page]
    return sorted(showings)


def spoil_showings(seed: int, shown: list[Showing]) -> tuple[list[Showing], dict[str, tuple[str, ...]]]:
    """Adds dirt, as `dirt.spoil_log` does to the log: the rows in order, and kind -> record ids of the added rows."""
    rng, count = stream("shown_dirt", seed), max(1, round(len(shown) / _ROWS_PER_BAD_ROW))
    twice, lost = (
        [shown[at] for at in rng.choice(len(shown), size=min(count, len(shown)), replace=False)] for _ in range(2)
    )
    unknown = [Showing(row.shown_at, row.buyer_id, f"rec-gone-{number}") for number, row in enumerate(lost, 1)]
    added = {"shown_row_twice": twice, "shown_unknown_record": unknown}
    rows = sorted([*shown, *twice, *unknown])
    return rows, {kind: tuple(sorted(row.record_id for row in showings)) for kind, showings in added.items()}


def _pages(
    rng: np.random.Generator, bought: NDArray[np.intp], bestselling: NDArray[np.float64], suits: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The records on each purchase's page, shape (purchases, SHOWN); the others are drawn by the Gumbel top-k trick."""
    pages = bought[:, None]
    for utility, count in ((bestselling, _BESTSELLERS), (suits, SHOWN - _BESTSELLERS - 1)):
        drawn = utility + rng.gumbel(size=(len(bought), len(utility)))
        np.put_along_axis(drawn, pages, -np.inf, axis=1)
        pages = np.concatenate([pages, np.argsort(-drawn, axis=1, kind="stable")[:, :count]], axis=1)
    return pages
