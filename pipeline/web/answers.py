"""What is answered, as OpenAPI documents it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Refusal(BaseModel):
    """Why there is no answer."""

    error: str = Field(
        description="one sentence, which begins with the argument at fault and says the way out",
        examples=["item rec-9999: not in the published index"],
    )


class Card(BaseModel):
    """An item as it is shown."""

    item_id: str
    title: str = Field(description="the id where the item has none")
    attributes: dict[str, str] = Field(
        description="those it has, as text", examples=[{"genre": "jazz", "year": "1998"}]
    )
    picture: str | None = Field(description="where its picture is, as a JPEG; it may be missing there all the same")
    clip: str | None = Field(description="where its sound is; it may be missing there all the same")
    initials: str = Field(description="for a placeholder")
    tone: int = Field(ge=0, le=11, description="the placeholder's colour")


class HitCard(Card):
    """An item of an answer."""

    score: float = Field(description="what it is of, the answer's `source` says")


class Hits(BaseModel):
    """An answer, best first."""

    index: str = Field(description="digest of the index that answered")
    source: Literal["list", "first stage", "content", "content and first stage"] = Field(
        description="`list`: the user's one list; `first stage`: inner products; `content`: cosines; or the last two, "
        "each in standard deviations among the candidates, weighed"
    )
    note: str = Field(description="why hits are fewer than asked for, or not those of the list; most often empty")
    hits: list[HitCard]


class ItemView(Card):
    """One item, with its text."""

    index: str
    text: str = Field(description="its beginning")


class UserView(BaseModel):
    """What is known of a user."""

    index: str
    user: str
    chosen: int = Field(description="how many items they have")
    items: list[Card] = Field(description="some of these")


class Named(BaseModel):
    """Users by id."""

    users: list[str]


class Cards(BaseModel):
    """Items, without an order."""

    items: list[Card]


class FacetValue(BaseModel):
    """A value of an attribute."""

    value: str
    items: int


class Facet(BaseModel):
    """An attribute that can be filtered by: by values, within a range, or by yes and no."""

    name: str
    kind: Literal["category", "number", "boolean"]
    values: list[FacetValue] = Field(default=[], description="of a category, the most frequent first")
    whole: bool = Field(False, description="of a number, whether all are whole")
    low: float | None = None
    high: float | None = None


class Limits(BaseModel):
    """What a request may take."""

    max_upload_bytes: int
    rate: str
    k: int


class About(BaseModel):
    """What is published, and what can be asked."""

    index: str = Field(description="its digest")
    run_id: str
    as_of: str = Field(description="the night's now, ISO 8601")
    published_at: str
    model: str
    items: int
    users: int
    search: dict[str, str] = Field(
        description="of text, image and audio: empty where it can be searched by, else why not",
        examples=[{"text": "", "image": "", "audio": "the published index was made without audio"}],
    )
    history: str = Field(description="empty where someone new can be recommended to by what they chose, else why not")
    facets: list[Facet]
    people: list[str] = Field(description="some users to begin with")
    limits: Limits


class Part(BaseModel):
    """A part of a score."""

    name: str
    value: float


class Bars(BaseModel):
    """A number as a sum: total = base + the values of all parts."""

    title: str
    of: Literal["logit", "score", "cosine"]
    total: float
    base: float
    base_is: str
    parts: list[Part]


class Reasons(BaseModel):
    """Why a score is what it is."""

    index: str
    item_id: str
    title: str
    score: float = Field(description="as in the list, or as it would be there; the inner product, or the cosine")
    meaning: str = Field(description="what the score is")
    rank: int | None = Field(description="in the user's list, null where it is not there")
    bars: list[Bars]
    missing: dict[str, str] = Field(description="the modalities that the item lacks, and why")
    notes: list[str] = Field(description="what cannot be told apart, and why")


class Point(BaseModel):
    """An item of the map."""

    item_id: str
    title: str
    x: float = Field(ge=-1, le=1)
    y: float = Field(ge=-1, le=1)
    groups: list[int] = Field(description="its value under each of the colourings, by place")


class Colouring(BaseModel):
    """A way to colour the map."""

    name: str
    values: list[str]


class Space(BaseModel):
    """The items by their content, in two dimensions: neighbours look, sound or read alike."""

    index: str
    method: str
    items: int = Field(description="how many have content; the map has a seeded sample of these")
    colourings: list[Colouring]
    points: list[Point]
