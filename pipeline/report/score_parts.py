"""What the scores of the lists shown are made of, see `pipeline.explain`: by group, or else by modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.artefacts.model import Fitted
from pipeline.artefacts.published import Published
from pipeline.explain.base import Game
from pipeline.explain.by_group import group_games
from pipeline.explain.by_modality import ModalityGames
from pipeline.explain.load import sources_of
from pipeline.report.files import RunFiles
from pipeline.report.number_formats import probability, signed

BASE = "base"
Shown = TypeVar("Shown", float, str)


@dataclass(frozen=True)
class Recommendation:
    """An item of a user's list, and its score there."""

    user: str
    item: str
    score: float


@dataclass(frozen=True)
class ScoreParts:
    """What a score of a list is made of.

    total = base + the sum of parts. total: the score, or, where that is a probability, its logit. parts: by name of a
    modality, or of a group of the re-ranker's inputs. missing: the modalities that the item has not.
    """

    score: float
    total: float
    is_probability: bool
    base: float
    parts: tuple[tuple[str, float], ...]
    missing: tuple[str, ...]

    @property
    def strip(self) -> tuple[tuple[str, float, str], ...]:
        """Name, size and kind of each piece of the bar, the base last; the kind of what counts against says so.

        The base of a logit has no piece: it is the same for every score, and larger than what tells them apart.
        """
        pieces = self.parts if self.is_probability else (*self.parts, (BASE, self.base))
        return tuple(_piece(name, value, abs(value)) for name, value in pieces)

    @property
    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """The same pieces, with what each adds as text in place of its size."""
        return tuple(_piece(name, value, signed(value)) for name, value in (*self.parts, (BASE, self.base)))

    @property
    def sum(self) -> tuple[str, str]:
        """What the pieces add up to, its name and as text."""
        return ("logit" if self.is_probability else "score"), signed(self.total)

    @property
    def meaning(self) -> str:
        """The score itself, where it is not the sum."""
        return f"the chance that belongs to this logit: {probability(self.score)}" if self.is_probability else ""


def _piece(name: str, value: float, shown: Shown) -> tuple[str, Shown, str]:
    return name, shown, name if value >= 0 else f"{name} against"


def parts_of(run: RunFiles, entries: Sequence[Recommendation]) -> dict[Recommendation, ScoreParts]:
    """Each score's parts; empty for first-stage lists of a model whose items are not made of content.

    Raises WorkspaceError or ShardCorrupt if what the index was made from is gone or cannot be read.
    """
    if not entries:
        return {}
    sources = sources_of(run.workspace, Published(run.index, run.index.name))
    modalities = ModalityGames(sources)
    groups = group_games(sources, modalities)
    users, scores = [entry.user for entry in entries], np.array([entry.score for entry in entries])
    places = modalities.codes(entry.item for entry in entries)
    codes = np.array([places[entry.item] for entry in entries], np.int64)
    if groups is not None:
        game = groups.of_pairs(users, codes, scores)
    elif modalities.items is not None:
        ids, vectors = Fitted(sources.trained / "published").users()
        rows = {user: row for row, user in enumerate(ids)}
        game = modalities.of_users(vectors[[rows[user] for user in users]], codes, scores)
    else:
        return {}
    return dict(zip(entries, _parts(game, scores, groups is not None, modalities.modalities), strict=True))


def _parts(game: Game, scores: np.ndarray, probability: bool, modalities: Sequence[str]) -> list[ScoreParts]:
    added, totals = game.contributions(), game.values[frozenset(game.players)]
    rows = []
    for row, score in enumerate(scores):
        held = [name for column, name in enumerate(game.players) if game.held[row, column]]
        parts = tuple((name, float(added[name][row])) for name in held)
        missing = tuple(name for name in modalities if name not in held)
        rows.append(ScoreParts(float(score), float(totals[row]), probability, float(game.base[row]), parts, missing))
    return rows
