"""What a choice among models is made from; apart from what reads files, as kinds of models import it."""

from __future__ import annotations

from dataclasses import dataclass

# Beside the names of models: what came of the choice.
CHOSEN = "chosen"


@dataclass(frozen=True)
class Try:
    """How a model did where the best is chosen among several, or, as CHOSEN, how what was chosen did.

    known: the mean of the metric on what validation's users chose. new: on choices of items that were hidden from the
    fit, ranked among all; None where none was hidden. weight: its share of what goes out. seconds: of its fit, until it
    was judged. note: why it was left out, empty if it was not.
    """

    known: float | None = None
    new: float | None = None
    weight: float = 0.0
    seconds: float = 0.0
    note: str = ""
