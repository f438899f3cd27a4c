"""Why an item is recommended: what each of its modalities adds to the score, see `pipeline.explain.by_modality`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.explain.by_modality import Explainer, sources_of
from pipeline.report.files import RunFiles
from pipeline.report.modality_shares import Why

Matrix = npt.NDArray[np.float32]
Hits = list[tuple[float, str]]


def reasons_of(run: RunFiles, users: Matrix, best: Sequence[Hits]) -> list[dict[str, Why]]:
    """Returns, for each user, item id to reason. users: (n, d) as published; best: their recommendations' scores.

    A model whose items cannot be made again from content has no reasons.

    Raises WorkspaceError or ShardCorrupt if what the index was made from is gone or cannot be read.
    """
    asked = [(place, score, item) for place, hits in enumerate(best) for score, item in hits]
    found: list[dict[str, Why]] = [{} for _ in best]
    if not asked:
        return found
    sources = sources_of(run.workspace, run.index)
    explainer = Explainer(sources)
    if explainer.items is None:
        return found
    places = explainer.codes(item for _, _, item in asked)
    codes = np.array([places[item] for _, _, item in asked], np.int64)
    scores = np.array([score for _, score, _ in asked], np.float64)
    game = explainer.of_users(users[[place for place, _, _ in asked]], codes, scores)
    values = game.contributions()
    for row, (place, score, item) in enumerate(asked):
        held = [modality for column, modality in enumerate(game.players) if game.held[row, column]]
        parts = tuple((modality, float(values[modality][row])) for modality in held)
        missing = tuple(modality for modality in explainer.modalities if modality not in held)
        found[place][item] = Why(score, float(game.base[row]), parts, missing)
    return found
