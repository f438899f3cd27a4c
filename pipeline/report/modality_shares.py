"""What vectors and recommendations are made of, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.number_formats import signed


@dataclass(frozen=True)
class Why:
    """Why an item is recommended: score = base + the sum of parts, each a modality's Shapley value.

    base: what is said without any content; `missing` names the modalities that the item has not.
    """

    score: float
    base: float
    parts: tuple[tuple[str, float], ...]
    missing: tuple[str, ...]

    @property
    def strip(self) -> tuple[tuple[str, float, str], ...]:
        """Name, size and the style's name of each piece of the bar, the base last; what counts against is `against`."""
        pieces = ((name, value, name) for name, value in self.parts)
        both = (*pieces, ("without content", self.base, "base"))
        return tuple((name, abs(value), kind if value >= 0 else f"{kind} against") for name, value, kind in both)

    @property
    def told(self) -> tuple[tuple[str, str, str], ...]:
        """The same pieces, with what each adds as text in place of its size."""
        values = (*(value for _, value in self.parts), self.base)
        return tuple((name, signed(value), kind) for (name, _, kind), value in zip(self.strip, values, strict=True))


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
    """How a learned fusion did on items kept from its training, at the epoch that was kept and before the first."""

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
