"""What the scores of the lists shown are made of, see `pipeline.explain`: by group, or else by modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.artefacts.published import Published
from pipeline.artefacts.vectors import read_vectors
from pipeline.explain.base import Game
from pipeline.explain.by_group import group_games
from pipeline.explain.by_modality import ModalityGames
from pipeline.explain.load import sources_of
from pipeline.report.cards import ScoreParts
from pipeline.report.files import RunFiles


@dataclass(frozen=True)
class Recommendation:
    """An item of a user's list, and its score there."""

    user: str
    item: str
    score: float


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
        ids, vectors = read_vectors(sources.trained / "published" / "user_vectors.parquet", "user_id")
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
