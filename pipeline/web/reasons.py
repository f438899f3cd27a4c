"""Why a score is what it is, as sums that a page draws as bars; what they say is `pipeline.explain`'s."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.explain.answer import AlikeItems, FirstStage, ListedItem
from pipeline.explain.by_history import HistoryShares, PastChoice
from pipeline.recommend import kind_of
from pipeline.report.number_formats import probability
from pipeline.report.render import GROUPS
from pipeline.serving.answer import Choice
from pipeline.serving.index import Index
from pipeline.storage.documents import Json
from pipeline.web.answers import Bars, Part, Reasons

WITHOUT_CONTENT = "without any content"
EVERYONE = "what suits everyone"
INNER_PRODUCT = "the inner product of their vector and the item's"


def of_list(explained: ListedItem) -> Reasons:
    """A user's score of an item: the list's, and the first stage's within it."""
    document = explained.as_json()
    bars, notes = [], []
    if (groups := document["reranked"]) is not None:
        bars.append(_bars("In the list", "logit", groups["logit"], groups, "an average user and item"))
    bars += _first_stage(explained.first, document["first_stage"])
    if explained.first.game is None:
        notes.append(
            f"by modality it cannot be told: {explained.first.model} {kind_of(explained.first.model).not_remade}"
        )
    if explained.first.history is None:
        notes.append(f"by past choices it cannot be told: {explained.first.model} reads a history as a whole")
    if explained.chosen:
        notes.append("chosen by this user already, so it is not recommended")
    listed = explained.groups is not None
    meaning = f"{probability(explained.score)} likely to be chosen, by the re-ranker" if listed else INNER_PRODUCT
    return Reasons(
        index=explained.index,
        item_id=explained.items[0],
        title=explained.titles[0] or explained.items[0],
        score=explained.score,
        meaning=meaning,
        rank=explained.rank,
        bars=bars,
        missing=explained.missing,
        notes=notes,
    )


def of_pair(explained: AlikeItems) -> Reasons:
    """How alike two items are."""
    bars = _bars("By modality", "cosine", explained.score, explained.as_json(), WITHOUT_CONTENT)
    return Reasons(
        index=explained.index,
        item_id=explained.items[0],
        title=explained.titles[0] or explained.items[0],
        score=explained.score,
        meaning=f"how alike it is to {explained.titles[1] or explained.items[1]}: 1 is the same",
        rank=None,
        bars=[bars],
        missing=explained.missing,
        notes=[],
    )


def of_history(index: Index, item: str, history: Sequence[str | Choice], user: str | None) -> Reasons:
    """The first stage's score of an item for a history that is given. Raises as `Index.recommend`."""
    score, named, split = index.split(item, history, user)
    places = sorted(range(len(named)), key=lambda place: -abs(split.choices[place]))
    past = [PastChoice(*named[place], float(split.choices[place])) for place in places]
    return Reasons(
        index=index.digest,
        item_id=item,
        title=index.title(item) or item,
        score=score,
        meaning=INNER_PRODUCT,
        rank=None,
        bars=[_by_choice(score, HistoryShares(split.base, past, split.rest))],
        missing={},
        notes=["by modality it is told of users of the log"],
    )


def _first_stage(first: FirstStage, document: Json) -> list[Bars]:
    bars = []
    if first.game is not None:
        bars.append(_bars("First stage, by modality", "score", first.score, document, WITHOUT_CONTENT))
    if first.history is not None:
        bars.append(_by_choice(first.score, first.history))
    return bars


def _bars(title: str, of: str, total: float, split: Json, base_is: str) -> Bars:
    """split: `base` and `contributions`."""
    added = sorted(split["contributions"].items(), key=lambda part: -abs(part[1]))
    parts = [Part(name=GROUPS.get(name, name), value=value) for name, value in added]
    return Bars.model_validate(
        {"title": title, "of": of, "total": total, "base": split["base"], "base_is": base_is, "parts": parts}
    )


def _by_choice(score: float, shares: HistoryShares) -> Bars:
    parts = [Part(name=name, value=share) for name, share in shares.largest()]
    parts += [
        Part(name=f"what {'their ' * (name == 'profile')}{name} says", value=v) for name, v in shares.rest.items()
    ]
    title = "First stage, by past choices"
    return Bars(title=title, of="score", total=score, base=shares.base, base_is=EVERYONE, parts=parts)
