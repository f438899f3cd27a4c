"""Numbers as people read them: thousands separators, units, and a dash where there is nothing to show."""

from __future__ import annotations

import math
from datetime import UTC, datetime

NBSP, DASH, TIMES, MINUS = "\u00a0", "–", "×", "\u2212"


def finite(value: float | None) -> float | None:
    """The number, or None where it is none: the page never shows NaN."""
    return value if value is not None and math.isfinite(value) else None


def whole(value: int | None) -> str:
    """6412 gives 6,412."""
    return DASH if value is None else f"{value:,}"


def percent(part: float, total: float = 1.0) -> str:
    """A share with one decimal; below 0.1 % but not nothing it says so."""
    if not total:
        return DASH
    share = 100 * part / total
    if 0 < share < 0.1:
        return f"<{NBSP}0.1{NBSP}%"
    if 99.9 < share < 100:
        return f">{NBSP}99.9{NBSP}%"
    return f"{share:.0f}{NBSP}%" if share in (0, 100) else f"{share:.1f}{NBSP}%"


def score(value: float | None) -> str:
    """A metric in [0, 1] with four decimals."""
    return DASH if value is None else f"{value:.4f}"


def probability(value: float) -> str:
    """A probability in percent, with two digits that say something."""
    return f"{100 * value:.2g}{NBSP}%" if value < 0.995 else f"{100 * value:.1f}{NBSP}%"


def signed(value: float, decimals: int = 2) -> str:
    """A contribution, or a difference of metrics, with its sign."""
    sign = MINUS if round(value, decimals) < 0 else "+"
    return f"{sign}{abs(value):.{decimals}f}"


def more(value: int | None) -> str:
    """A difference of whole numbers with its sign."""
    return DASH if value is None else f"{MINUS if value < 0 else '+' if value else ''}{abs(value):,}"


def p_value(value: float) -> str:
    """p = 0.031; what is smaller than three decimals can say is said to be below."""
    return f"p{NBSP}<{NBSP}0.001" if value < 0.0005 else f"p{NBSP}={NBSP}{value:.3f}"


def rounded(share: float) -> str:
    """A share without decimals."""
    return f"{100 * share:.0f}".replace("-", MINUS) + f"{NBSP}%"


def tick(value: float) -> str:
    """An axis value, without trailing zeros."""
    return f"{value:.4g}"


def ratio(value: float | None) -> str:
    """1.84 gives 1.84 ×; large ones lose their decimals."""
    if value is None:
        return DASH
    return f"{value:.2f}{NBSP}{TIMES}" if value < 10 else f"{value:,.0f}{NBSP}{TIMES}"


def seconds(value: float) -> str:
    """A duration in ms, s, min or h."""
    if 0 < value < 0.95:
        return f"{max(1, round(value * 1000))}{NBSP}ms"
    if value < 9.95:
        return f"{value:.1f}{NBSP}s"
    if round(value) < 120:
        return f"{value:.0f}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes}{NBSP}min {rest:02d}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60:02d}{NBSP}min"


def size(value: int | None) -> str:
    """Bytes in decimal MB or GB."""
    if not value:
        return DASH
    return f"{value / 1e9:.2f}{NBSP}GB" if value >= 1e9 else f"{value / 1e6:,.0f}{NBSP}MB"


def moment(value: str) -> str:
    """An ISO time as 24 Nov 2025, 03:24 UTC; anything else as it is."""
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return value
    utc = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def plural(value: int, noun: str) -> str:
    """1 item, 2 items, 1 entry, 2 entries."""
    if value == 1:
        return f"1{NBSP}{noun}"
    return f"{value:,}{NBSP}{noun[:-1] + 'ies' if noun.endswith('y') else noun + 's'}"


_ALL = (whole, percent, score, signed, more, p_value, rounded, tick, ratio, seconds, size, moment, plural)
FILTERS = {function.__name__: function for function in _ALL}
