"""An attribute's value as JSON has it."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from decimal import Decimal


def plain(value: object) -> object:
    """A value of a table as JSON: times in ISO 8601, decimals as numbers, no number that is none, else as text."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
