"""Personal search in the sample shop: the words of a query with and without the buyer who asks, by their weight.

python -m tests.benchmarks.personal WORKSPACE [--json]

A query is a genre's name, asked by a buyer who bought records of it in the test part; right are those records, of all
that they had not bought before. Buyers are made of what they bought before, by the fit that has learned from the
training part. The weight that the night chose, on its validation part, stands beside.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.log import map_rows
from pipeline.artefacts.model import Fitted
from pipeline.artefacts.published import published
from pipeline.artefacts.staged import LOG, Staged
from pipeline.interactions import Interactions
from pipeline.recommend import kind_of
from pipeline.recommend.sides import PastOf
from pipeline.serving.encoded_query import QueryEncoders
from pipeline.serving.personal import candidates, mixed

DEPTH = 10
WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    document = measured(Path(arguments[0]))
    print(json.dumps(document) if "--json" in sys.argv else "\n".join(f"{k:<32} {v}" for k, v in document.items()))


def measured(workspace: Path) -> dict[str, Any]:
    """NDCG@10 by the user's weight, mean and standard error over queries."""
    index = published(workspace)
    card = index.card
    folders = {step: workspace / str(path) for step, path in card["lineage"].items()}
    staged, fitted = Staged(folders["ingest"]), Fitted(folders["train"] / "evaluated")
    log, genres = staged.read_log(), np.array([genre or "" for genre in staged.items(["genre"])["genre"].to_pylist()])
    train = log.of("train", "validation")
    test = map_rows(folders["ingest"] / LOG / "test", train.n_users, train.n_items)
    side, (_, items), (_, fused) = (
        kind_of(card["model"]).fold_side(fitted.folder),
        fitted.items(),
        Fused(folders["fuse"]).items(),
    )
    assert side is not None
    encoders, fused = QueryEncoders(index), np.nan_to_num(fused)
    cosines = {genre: fused @ encoders.fused({"text": genre}) for genre in sorted(set(genres)) if genre}
    rows: list[list[float]] = []
    for user in np.unique(test.user):
        seen, wanted = train.item[train.user == user], np.unique(test.item[test.user == user])
        if not len(seen):
            continue
        taste = items @ side.fold_in(past_of(train, int(user)))
        for genre in sorted({genre for genre in genres[wanted] if genre}):
            right = np.setdiff1d(wanted[genres[wanted] == genre], seen)
            if len(right):
                rows.append(ndcgs(cosines[genre], taste, seen, right))
    table = np.array(rows)
    means, errors = table.mean(axis=0), table.std(axis=0) / np.sqrt(len(table))
    named = {"the user alone": "user", **{f"weight {weight}": str(weight) for weight in WEIGHTS}}
    chosen = card.get("personal", {}).get("user")
    return {"queries": len(table), "the night's own weight": chosen} | {
        name: f"{mean:.4f} ± {error:.4f}" for name, mean, error in zip(named, means, errors, strict=True)
    }


def past_of(train: Interactions, user: int) -> PastOf:
    rows = train.user == user
    codes, places = np.unique(train.item[rows], return_inverse=True)
    alone = np.zeros(len(places), np.int32), places.astype(np.int32), train.age_days[rows], train.weight[rows]
    return PastOf(Interactions(*alone, 1, len(codes)), codes.astype(np.int64))


def ndcgs(cosines: np.ndarray, taste: np.ndarray, seen: np.ndarray, right: np.ndarray) -> list[float]:
    """Of the order by the user alone, and of the mix by each weight."""
    allowed = np.ones(len(cosines), bool)
    allowed[seen] = False
    rows = np.flatnonzero(allowed)
    near = rows[np.argsort(-cosines[rows], kind="stable")][: candidates(DEPTH)]
    orders = [rows[np.argsort(-taste[rows], kind="stable")]]
    for weight in WEIGHTS:
        orders.append(near[np.argsort(-mixed(cosines[near], taste[near], weight), kind="stable")])
    gains = 1 / np.log2(np.arange(2, DEPTH + 2))
    best = gains[: min(len(right), DEPTH)].sum()
    return [float((gains * np.isin(order[:DEPTH], right)).sum() / best) for order in orders]


if __name__ == "__main__":
    main()
