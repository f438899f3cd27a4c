"""Whether a user has one list: what goes out, what is looked up, what the report shows and what is explained.

    python -m tests.benchmarks.one_list [--json] [WORKSPACE]

Builds the sample shop's night, or takes a workspace that has one, and asks for the list of every user there is. The
last line is what a second way to a list would give, the first stage's inner product: the share of a list's first 8
that it has too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.artefacts.published import RECOMMEND, Published, current, published
from pipeline.artefacts.vectors import matrix
from pipeline.explain.explain import Question, explain
from pipeline.report import RunFiles
from pipeline.report.pictures import Studio
from pipeline.report.score_parts import ScoreParts
from pipeline.report.user_examples import UserShelf, shelves_of
from pipeline.serving.lookup import Query, ask

ROOT = Path(__file__).parents[2]
AS_OF = "2026-01-01T00:00:00Z"
DEPTH, FIRST, EXPLAINED = 20, 8, 10
TOLERANCE = 1e-3


def main() -> None:
    given = [Path(argument) for argument in sys.argv[1:] if argument != "--json"]
    with tempfile.TemporaryDirectory() as folder:
        document = measured(given[0] if given else night(Path(folder)))
    print(json.dumps(document) if "--json" in sys.argv else "\n".join(f"{k:<42} {v}" for k, v in document.items()))


def night(folder: Path) -> Path:
    """The workspace of the sample shop after one night."""
    for arguments in (("sample", folder / "shop"), ("run", "-q", "-c", folder / "shop/medley.yaml", "--as-of", AS_OF)):
        subprocess.run([sys.executable, "-m", "pipeline.cli", *map(str, arguments)], cwd=ROOT, check=True, stdout=2)
    return folder / "shop/workspace"


def measured(workspace: Path) -> dict[str, Any]:
    """Counts of users, and of those whose lists agree."""
    index = published(workspace)
    lists: dict[str, list[tuple[str, float]]] = {}
    for row in index.lists().to_pylist():
        lists.setdefault(row["user_id"], []).append((row["item_id"], row["score"]))
    hits = {user: ask(workspace, Query(user=user, k=DEPTH)).hits for user in lists}
    looked_up = {user: [(hit.item_id, hit.score) for hit in own] for user, own in hits.items()}
    overlap = [len(own & {item for item, _ in lists[user][:FIRST]}) / FIRST for user, own in by_product(index).items()]
    cards = {shelf.user_id: shelf.recommended for shelf in shelves(workspace, list(lists))}
    explained = [told(workspace, user, *lists[user][0]) for user in list(lists)[::EXPLAINED]]
    return {
        "users with a list": len(lists),
        "score": index.card["recommended"]["score"],
        "lookup --user gives that list": sum(looked_up[user] == entries for user, entries in lists.items()),
        "users in the report": len(cards),
        "their cards are that list's first": sum(
            [card.item_id for card in own] == [item for item, _ in lists[user][: len(own)]]
            for user, own in cards.items()
        ),
        "cards whose parts add up to its score": sum(
            adds_up(card.score, lists[user][place][1]) for user, own in cards.items() for place, card in enumerate(own)
        ),
        "cards": sum(len(own) for own in cards.values()),
        "users whose first item is explained": len(explained),
        "explain adds up to its score": sum(explained),
        "mean overlap with the inner product": round(float(np.mean(overlap)), 3),
    }


def by_product(index: Published) -> dict[str, set[str]]:
    """Each user's first items by the published vectors alone."""
    users, items = index.users(), index.items(["item_id"])["item_id"].to_pylist()
    plain: faiss.Index = index.faiss(RECOMMEND)
    _, rows = plain.search(matrix(users["vector"]), plain.ntotal)
    best: dict[str, set[str]] = {}
    for user, seen, row in zip(users["user_id"].to_pylist(), users["seen"].to_pylist(), rows, strict=True):
        best[user] = set([items[r] for r in row if r >= 0 and items[r] not in set(seen)][:FIRST])
    return best


def shelves(workspace: Path, users: list[str]) -> tuple[UserShelf, ...]:
    """The report's shelves, of all users and not only the ten that it draws."""
    run_id = str(current(workspace)["run_id"])

    def folder(step: str) -> Path:
        return workspace / json.loads((workspace / "runs" / run_id / "steps" / f"{step}.json").read_text())["path"]

    staged, fused, model, index = (folder(step) for step in ("ingest", "fuse", "train", "index"))
    run = RunFiles(workspace, run_id, "", None, staged, fused, model, index, (), True)
    return shelves_of(run, users, Studio(None), {})[0]


def adds_up(parts: ScoreParts | None, score: float) -> bool:
    """Whether a card's parts add up to the score of its item in the list."""
    if parts is None:
        return False
    total = parts.base + sum(value for _, value in parts.parts)
    return bool(abs((1 / (1 + np.exp(-total)) if parts.is_probability else total) - score) < TOLERANCE)


def told(workspace: Path, user: str, item: str, score: float) -> bool:
    """Whether the parts of a score add up to it."""
    document = explain(workspace, Question(item, user)).as_json()
    parts = document["reranked"] or document["first_stage"]
    total = parts["base"] + sum(parts["contributions"].values())
    return bool(abs((1 / (1 + np.exp(-total)) if document["reranked"] else total) - score) < TOLERANCE)


if __name__ == "__main__":
    main()
