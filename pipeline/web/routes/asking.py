"""Questions to the index: recommend, similar, search, explain."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, File, Form, UploadFile

from pipeline.errors import ConfigError
from pipeline.explain.answer import AlikeItems
from pipeline.explain.explain import Question as ExplainedQuestion
from pipeline.serving.answer import Answer
from pipeline.web import reasons
from pipeline.web.answers import Hits, Reasons
from pipeline.web.questions import (
    MOST_HISTORY,
    MOST_HITS,
    ExplainQuestion,
    Name,
    RecommendQuestion,
    SimilarQuestion,
    choices,
    conditions,
    conditions_of,
    weights_of,
)
from pipeline.web.routes import InItsOwnThread, Now
from pipeline.web.served import Served

router = APIRouter(prefix="/api", tags=["ask"])
ASK_ONE = "user: ask for a user and an item, for a history and an item, or for an item and another"


@router.post("/recommend", summary="The best items for a user, or for someone with a history")
def recommend(question: RecommendQuestion, now: Now) -> Hits:
    """A user is answered from their one list of the night; the `source` says where it was the first stage.

    The first stage is asked within a filter, for a history, and for more than the list has.
    """
    answer = now.index.recommend(
        question.user,
        choices(question.history),
        question.k,
        question.exclude_seen,
        conditions(question.filter, now.catalogue.attributes),
    )
    return _hits(now, answer)


@router.post("/similar", summary="The items whose content is most like an item's")
def similar(question: SimilarQuestion, now: Now) -> Hits:
    """By the cosine of their fused vectors: text, picture and sound together."""
    wanted = conditions(question.filter, now.catalogue.attributes)
    return _hits(now, now.index.similar(question.item, question.k, wanted))


@router.post("/search", summary="The items most like words, a picture, a recording, an item, or any mix of these")
async def search(
    now: Now,
    slowly: InItsOwnThread,
    text: Annotated[str | None, Form(max_length=2000, description="words", examples=["a quiet winter evening"])] = None,
    image: Annotated[UploadFile | None, File(description="a picture: JPEG, PNG, WebP, GIF, AVIF …")] = None,
    audio: Annotated[UploadFile | None, File(description="a recording: WAV, FLAC, Ogg, MP3")] = None,
    item: Annotated[Name | None, Form(description="an item of the catalogue")] = None,
    user: Annotated[Name | None, Form(description="in whose order: the best for the mix, sorted by both")] = None,
    history: Annotated[
        list[Name] | None, Form(max_length=MOST_HISTORY, description="in the order of someone who chose these items")
    ] = None,
    weights: Annotated[
        str | None, Form(description="JSON: weights by name, from 0 on", examples=['{"text": 1, "user": 2}'])
    ] = None,
    filter: Annotated[
        str | None, Form(description="JSON, as in `POST /api/recommend`", examples=['{"genre": ["jazz"]}'])
    ] = None,
    k: Annotated[int, Form(ge=1, le=MOST_HITS)] = 12,
) -> Hits:
    """Words, pictures and recordings are encoded as the night encodes the items' own, one at a time.

    The first search of a kind loads its encoder, which takes seconds; other questions are answered meanwhile.
    """
    files = {name: await _bytes(name, file) for name, file in (("image", image), ("audio", audio))}
    asked = partial(
        now.index.search,
        text or None,
        files["image"],
        files["audio"],
        item,
        user,
        history or None,
        weights_of(weights),
        k,
        conditions_of(filter, now.catalogue.attributes),
    )
    if text or image or audio:
        return _hits(now, await slowly(asked))
    return _hits(now, await anyio.to_thread.run_sync(asked))


@router.post("/explain", summary="Why a score is what it is: sums of what each part adds")
async def explain(question: ExplainQuestion, now: Now, slowly: InItsOwnThread) -> Reasons:
    """Of a user and an item: by the re-ranker's groups of inputs, by modality, and by what they chose.

    Of a history and an item by its choices, and of two items by modality. In every sum, base and parts add up to the
    total.
    """
    return await slowly(partial(_explained, question, now))


def _explained(question: ExplainQuestion, now: Served) -> Reasons:
    now.index.title(question.item)
    if question.other is not None and question.user is None and question.history is None:
        now.index.title(question.other)
        return reasons.of_pair(_pair(now, question.item, question.other))
    if question.other is not None or (question.user is None and question.history is None):
        raise ConfigError(ASK_ONE)
    if question.history is not None:
        return reasons.of_history(now.index, question.item, choices(question.history) or [], question.user)
    now.index.users([str(question.user)])
    explained = now.explainer.explain(ExplainedQuestion(question.item, question.user))
    assert not isinstance(explained, AlikeItems)
    return reasons.of_list(explained)


def _pair(now: Served, item: str, other: str) -> AlikeItems:
    explained = now.explainer.explain(ExplainedQuestion(item, other=other))
    assert isinstance(explained, AlikeItems)
    return explained


async def _bytes(name: str, file: UploadFile | None) -> bytes | None:
    """What was uploaded. Raises ConfigError if it is empty."""
    if file is None:
        return None
    data = await file.read()
    if not data:
        raise ConfigError(f"{name}: the file is empty; send one that is not")
    return data


def _hits(now: Served, answer: Answer) -> Hits:
    return Hits.model_validate(
        {
            "index": answer.index,
            "source": answer.source,
            "note": answer.note,
            "hits": [card.model_dump() for card in now.catalogue.hits(answer.hits)],
        }
    )
