"""Explain: what an item's score in a user's list comes from, or how alike two items are and why.

- the list's score: by the re-ranker's groups of inputs where it orders lists, see `pipeline.explain.by_group`;
- the first stage's score, which is one of those groups, or the list's own where there is no re-ranker: by modality,
  see `pipeline.explain.by_modality`, and by what the user chose, see `pipeline.explain.by_history`.

Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from pipeline.artefacts.read import read_table
from pipeline.artefacts.vectors import matrix
from pipeline.errors import ConfigError, ShardCorrupt
from pipeline.explain.answer import AlikeItems, FirstStage, ListedItem
from pipeline.explain.by_group import GroupGames, group_games
from pipeline.explain.by_history import shares_of
from pipeline.explain.by_modality import ModalityGames
from pipeline.explain.load import Sources, sources_of
from pipeline.fusion.moments import Vectors
from pipeline.interactions import Int64s
from pipeline.serving.index import Index


@dataclass(frozen=True)
class Question:
    """The score asked for: of a user and an item, or of two items."""

    item: str | None = None
    user: str | None = None
    other: str | None = None

    def items(self) -> list[str]:
        """The items asked about. Raises ConfigError if it is neither of the two questions."""
        if self.item is None or (self.user is None) == (self.other is None):
            raise ConfigError("ask for --user and --item, or for --item and --other")
        return [self.item] if self.other is None else [self.item, self.other]


@dataclass(frozen=True)
class _Subject:
    """The games of the published index, and the items asked about; codes: their places in the catalogue."""

    games: ModalityGames
    items: list[str]
    titles: list[str]
    codes: Int64s

    @property
    def sources(self) -> Sources:
        return self.games.sources

    @property
    def missing(self) -> dict[str, str]:
        """Why a modality is missing; of two items, which one lacks it."""
        lacking = {item: self.games.shards.missing(code) for item, code in zip(self.items, self.codes, strict=True)}
        if len(lacking) == 1:
            return next(iter(lacking.values()))
        reasons = {
            modality: [f"{item}: {lacks[modality]}" for item, lacks in lacking.items() if modality in lacks]
            for modality in self.games.modalities
        }
        return {modality: "; ".join(sentences) for modality, sentences in reasons.items() if sentences}


def explain(workspace: Path, question: Question) -> ListedItem | AlikeItems:
    """Explains a score of the published index.

    Raises ConfigError if the question is wrong, or the user or an item is not in the index; WorkspaceError if nothing
    is published or what it was made from is gone; ShardCorrupt if that is not what the index was made from.
    """
    items = question.items()
    index = Index.open(workspace, once=True)
    for item, flag in zip(items, ("--item", "--other"), strict=False):
        _check_item(index, item, flag)
    if question.user is not None:
        _user(index, question.user, items[0])
    return Explainer(workspace, index).explain(question)


class Explainer:
    """Explains scores of one index, and keeps what it reads for the next question; one question at a time.

    Memory: that of the re-ranker's inputs, see `by_group.group_games`, once a user is asked about.
    """

    def __init__(self, workspace: Path, index: Index) -> None:
        """index: one that does not change, see `Index.pinned`. Raises as `explain`."""
        self._index = index
        self._games = ModalityGames(sources_of(workspace, index.published))

    def explain(self, question: Question) -> ListedItem | AlikeItems:
        """As the function of this name, of users and items that the index has."""
        items = question.items()
        codes = self._games.codes(items)
        if set(codes) != set(items):
            folder = self._index.published.folder
            raise ShardCorrupt(f"index {folder}: it has items that its shards have not; run the night with --full")
        titles, places = [self._index.title(item) for item in items], [codes[item] for item in items]
        subject = _Subject(self._games, items, titles, np.array(places, np.int64))
        if question.user is None:
            return _alike(subject)
        return _listed(subject, question.user, _user(self._index, question.user, items[0]), self._groups)

    @cached_property
    def _groups(self) -> GroupGames | None:
        return group_games(self._games.sources, self._games)


def _alike(subject: _Subject) -> AlikeItems:
    first, second = (np.nan_to_num(_vector(subject.sources.fused.folder / "items", item)) for item in subject.items)
    score = float(first.astype(np.float64) @ second)
    game, digest = subject.games.of_items(subject.codes, score), subject.sources.index.digest
    return AlikeItems(digest, subject.items, subject.titles, score, subject.missing, game)


def _listed(subject: _Subject, user: str, person: tuple[Vectors, bool], groups: GroupGames | None) -> ListedItem:
    """person: the user's vector, (d,), and whether they have the item. groups: of re-ranked scores."""
    vector, chosen = person
    (item,), codes, index = subject.items, subject.codes, subject.sources.index
    entries = [entry for entry in index.lists([user]).to_pylist() if entry["item_id"] == item]
    rank, score = (entries[0]["rank"], float(entries[0]["score"])) if entries else (None, None)
    game = None
    first = _first_stage(subject, user, vector, score if groups is None else None)
    if groups is not None:
        score = float(groups.scores([user], codes)[0]) if score is None else score
        game = groups.of_pairs([user], codes, np.array([score]))
    return ListedItem(
        index=index.digest,
        items=subject.items,
        titles=subject.titles,
        score=first.score if score is None else score,
        missing=subject.missing,
        user=user,
        chosen=chosen,
        rank=rank,
        groups=game,
        first=first,
    )


def _first_stage(subject: _Subject, user: str, vector: Vectors, listed: float | None) -> FirstStage:
    """listed: the score in the user's list, if that is the first stage's, of 32 bits."""
    sources, games = subject.sources, subject.games
    item = _vector(sources.trained / "published" / "item_vectors.parquet", subject.items[0])
    score = float(vector.astype(np.float64) @ item) if listed is None else listed
    return FirstStage(
        model=sources.model,
        fixed=() if games.items is None else games.items.fixed,
        score=score,
        game=None if games.items is None else games.of_users(vector[None], subject.codes, np.array([score])),
        history=shares_of(games, user, (vector, item)),
    )


def _user(index: Index, user: str, item: str) -> tuple[Vectors, bool]:
    try:
        vectors, seen = index.users([user])
    except ConfigError:
        raise ConfigError(f"--user {user}: not in the published index, which has only users with a vector") from None
    return vectors[0], bool(np.isin(index.rows([item]), seen[0])[0])


def _check_item(index: Index, item: str, flag: str) -> None:
    try:
        index.title(item)
    except ConfigError:
        raise ConfigError(f"{flag} {item}: not in the published index") from None


def _vector(path: Path, item: str) -> Vectors:
    return matrix(read_table(path, ["vector"], ds.field("item_id") == item)["vector"])[0]
