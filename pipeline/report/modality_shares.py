"""What fused vectors are made of, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weighed:
    """Some items of the catalogue: how many have a vector, and each modality's mean share in it; they sum to 1."""

    value: str
    items: int
    shares: tuple[tuple[str, float], ...]

    @property
    def strip(self) -> tuple[tuple[str, float, str], ...]:
        """Name, size and the style's name of each modality's piece of the bar."""
        return tuple((name, abs(share), name if share >= 0 else f"{name} against") for name, share in self.shares)


@dataclass(frozen=True)
class Learned:
    """A learned fusion's scores on held-out items, at its best epoch and before training."""

    epoch: int
    score: float
    before: float
    co_choice: float | None
    agreement: float | None


@dataclass(frozen=True)
class Blend:
    """What the fused vectors are made of: over all items, and by the values of each telling column."""

    kind: str
    learned: Learned | None
    overall: Weighed
    columns: tuple[tuple[str, tuple[Weighed, ...]], ...]
