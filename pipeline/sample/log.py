"""The purchase log: each buyer picks records by softmax over utilities, over about eighteen months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.sample.tastes import Record, draw_likings, levels_of, stream, utilities

_DAYS = 548
_LAST_DAY = datetime(2025, 6, 1, tzinfo=UTC)
_LOG_MEAN, _LOG_SPREAD = 3.2, 0.6
_FEWEST = 3
# Purchases by hour of the day: nobody at night, lunch breaks, most in the evening.
_HOURS = np.array([1, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 7, 5, 5, 6, 8, 10, 12, 13, 12, 8, 4], dtype=float)


@dataclass(frozen=True, slots=True)
class Purchase:
    """One row of the log; `bought_at` is in UTC."""

    buyer_id: str
    record_id: str
    bought_at: datetime
    quantity: int

    def row(self) -> tuple[str, str, str, str]:
        """The row as purchases.csv has it: ISO 8601 with a Z."""
        return self.buyer_id, self.record_id, f"{self.bought_at:%Y-%m-%dT%H:%M:%SZ}", str(self.quantity)


def log_end(seed: int) -> datetime:
    """The moment before which every clean purchase lies; it depends on the seed and never on today's date."""
    return _LAST_DAY + timedelta(days=seed % 30)


def draw_log(seed: int, records: list[Record], buyers: int) -> list[Purchase]:
    """Every buyer's purchases of these records, in order of time; a buyer buys a record at most once."""
    levels = levels_of(records)
    popularity = np.array([record.popularity for record in records])
    log: list[Purchase] = []
    for buyer in range(1, buyers + 1):
        rng = stream("log", seed, buyer)
        chosen = _choose(rng, utilities(draw_likings(seed, buyer), levels) + popularity)
        moments = _moments(rng, seed, len(chosen))
        quantities = 1 + (rng.random(len(chosen)) < 0.06)
        log += [
            Purchase(buyer_id(buyer), records[item].record_id, moment, int(quantity))
            for item, moment, quantity in zip(chosen, moments, quantities, strict=True)
        ]
    return sorted(log, key=lambda purchase: (purchase.bought_at, purchase.buyer_id, purchase.record_id))


def buyer_id(number: int) -> str:
    """The stable id of a buyer, for instance buyer-0001."""
    return f"buyer-{number:04d}"


def _choose(rng: np.random.Generator, utility: NDArray[np.float64]) -> NDArray[np.intp]:
    """Draws without replacement by softmax: the Gumbel top-k trick (Kool et al. 2019, arXiv:1903.06059)."""
    wanted = round(float(rng.lognormal(_LOG_MEAN, _LOG_SPREAD)))
    count = min(max(wanted, _FEWEST), max(len(utility) // 3, 1))
    chosen = np.argsort(-(utility + rng.gumbel(size=len(utility))), kind="stable")[:count]
    # The best liked come first here, which would make a test split in time harder than training: tastes are stable.
    return rng.permutation(chosen)


def _moments(rng: np.random.Generator, seed: int, count: int) -> list[datetime]:
    """Purchase times between the buyer's first visit (for most, early in the log) and the end of the log."""
    first_day = int(_DAYS * rng.beta(0.7, 2.5))
    days = rng.integers(first_day, _DAYS, size=count)
    hours = rng.choice(24, size=count, p=_HOURS / _HOURS.sum())
    seconds = rng.integers(3600, size=count)
    start = log_end(seed) - timedelta(days=_DAYS)
    return [
        start + timedelta(days=int(day), hours=int(hour), seconds=int(second))
        for day, hour, second in zip(days, hours, seconds, strict=True)
    ]
