"""What is asked, as OpenAPI documents it, and turned into what `pipeline.serving.Index` takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from pipeline.errors import ConfigError
from pipeline.serving.answer import Choice
from pipeline.serving.filters import Filter

MOST_HITS, MOST_HISTORY, MOST_CONDITIONS = 100, 900, 50
Name = Annotated[str, Field(min_length=1, max_length=512)]
Hits = Annotated[int, Field(ge=1, le=MOST_HITS, description="how many items, at most")]


def _few(given: object) -> object:
    """Refuses a large object before each of its values is looked at, which would take seconds."""
    if isinstance(given, dict) and len(given) > MOST_CONDITIONS:
        raise ValueError(f"has {len(given)} entries; give {MOST_CONDITIONS} at most")
    return given


class Range(BaseModel):
    """Between two numbers, both included; one left out is open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: FiniteFloat | None = None
    high: FiniteFloat | None = None


Value: TypeAlias = bool | int | FiniteFloat | Name
Condition: TypeAlias = Annotated[Value | Annotated[list[Value], Field(max_length=1000)] | Range, BeforeValidator(_few)]
Conditions: TypeAlias = Annotated[
    dict[Name, Condition],
    BeforeValidator(_few),
    Field(
        max_length=MOST_CONDITIONS,
        description="conditions on the items' attributes, which all must hold: a value, a list of which one must be "
        "the item's, or a range; the attributes are those of `facets` in `GET /api/index`",
        examples=[{"genre": ["jazz", "soul"], "year": {"low": 1990, "high": None}}],
    ),
]


class PastChoice(BaseModel):
    """An item of a history, with more than its id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: Name
    weight: Annotated[FiniteFloat, Field(gt=0, description="as in the log")] = 1.0
    age_days: Annotated[FiniteFloat, Field(ge=0, description="before the newest choice of the history")] = 0.0


History: TypeAlias = Annotated[
    list[Name | PastChoice],
    Field(
        min_length=1,
        max_length=MOST_HISTORY,
        description="what someone chose, oldest first: ids of items, or objects that also say weight and age",
        examples=[["rec-0015", "rec-0022"]],
    ),
]


class Question(BaseModel):
    """What all questions have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: Hits = 12
    filter: Conditions = Field(default_factory=dict)


class RecommendQuestion(Question):
    """The best items for a user, for a history, or for a user by a history."""

    user: Name | None = Field(None, description="a user of the log", examples=["buyer-0001"])
    history: History | None = None
    exclude_seen: bool = Field(True, description="whether what they have is left out")


class SimilarQuestion(Question):
    """The items whose content is most like an item's."""

    item: Name = Field(description="an item of the catalogue", examples=["rec-0015"])


class ExplainQuestion(BaseModel):
    """A score: of a user and an item, of a history and an item, or of two items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: Name = Field(description="the item whose score is explained", examples=["rec-0015"])
    user: Name | None = Field(None, description="of whose list", examples=["buyer-0001"])
    history: History | None = None
    other: Name | None = Field(None, description="how alike the item is to this one", examples=["rec-0022"])


class TokenGiven(BaseModel):
    """What a page gives for a session."""

    token: Annotated[str, Field(max_length=4096)]


def conditions(given: Mapping[str, Condition], attributes: Collection[str]) -> Filter | None:
    """A filter as the index takes it. Raises ConfigError if it is of none of the attributes."""
    if other := [name for name in given if name not in attributes]:
        raise ConfigError(f"filter: items have no attribute {other[0][:80]!r}; they have {', '.join(attributes)}")
    return {name: (one.low, one.high) if isinstance(one, Range) else one for name, one in given.items()} or None


def choices(given: list[Name | PastChoice] | None) -> list[str | Choice] | None:
    """A history as the index takes it."""
    if given is None:
        return None
    return [one if isinstance(one, str) else Choice(one.item, one.weight, one.age_days) for one in given]


_CONDITIONS: TypeAdapter[dict[str, Condition]] = TypeAdapter(Conditions)
_WEIGHTS: TypeAdapter[dict[str, float]] = TypeAdapter(
    Annotated[dict[Name, Annotated[FiniteFloat, Field(ge=0, le=1e6)]], BeforeValidator(_few)]
)


def conditions_of(form: str | None, attributes: Collection[str]) -> Filter | None:
    """A filter that a form has as JSON. Raises ConfigError if it is none."""
    return conditions(_of("filter", form, _CONDITIONS), attributes) if form else None


def weights_of(form: str | None) -> dict[str, float] | None:
    """Weights that a form has as JSON. Raises ConfigError if they are none."""
    return _of("weights", form, _WEIGHTS) if form else None


def _of(name: str, form: str, kind: TypeAdapter[dict[str, Condition]] | TypeAdapter[dict[str, float]]) -> dict:
    try:
        return kind.validate_json(form)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, (name, *fault["loc"])))
        raise ConfigError(f"{place}: {fault['msg']}") from None
