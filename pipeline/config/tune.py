"""Settings of the search for settings; see `pipeline.tuning.tune`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from pipeline.config.base import Section, advanced


class Range(Section):
    """Numbers from `low` to `high`, both included; log: as many below their geometric mean as above it."""

    low: float
    high: float
    log: bool = False

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        if high <= info.data.get("low", high - 1):
            raise ValueError("must be above low")
        return high

    @field_validator("log")
    @classmethod
    def _of_positive_numbers(cls, log: bool, info: ValidationInfo) -> bool:
        if log and info.data.get("low", 1) <= 0:
            raise ValueError("needs a low above 0")
        return log


class Tune(Section):
    """`medley tune`: settings of the recommender are tried, and judged on the validation part."""

    trials: int = Field(30, ge=1, description="fits of one search, those of earlier calls among them")
    timeout_seconds: int = Field(3600, ge=1, description="no fit begins later than this after the call")
    random_trials: int = advanced(8, "fits of random settings before those tried say where to look", ge=1)
    prune: bool = Field(
        False, description="end a fit whose metric on validation is below the median of earlier ones at the same epoch"
    )
    space: dict[str, Any] = Field(
        default_factory=dict,
        description="what is tried: a setting below train, and {low, high, log} or a list; the model's own if empty",
    )

    @field_validator("space")
    @classmethod
    def _ranges_or_lists(cls, space: dict[str, Any]) -> dict[str, Any]:
        return {name: _dimension(name, dimension) for name, dimension in space.items()}


def _dimension(name: str, dimension: object) -> object:
    if isinstance(dimension, list) and dimension and all(isinstance(value, str | int | float) for value in dimension):
        return dimension
    if not isinstance(dimension, dict):
        raise ValueError(f"{name}: give {{low: , high: }}, log: true beside them if you like, or a list of choices")
    try:
        return Range.model_validate(dimension).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{name}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
