"""A user has one list: the published table, lookup, the report's cards and explain give the same items and scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.published import Published
from pipeline.artefacts.published import published as index_of
from pipeline.artefacts.vectors import matrix
from pipeline.explain.explain import Question, explain
from pipeline.report import RunFiles
from pipeline.report.pictures import Studio
from pipeline.report.user_examples import RECOMMENDED, Card, shelves_of
from pipeline.serving.lookup import Query, ask
from tests.conftest import Shop

Lists = dict[str, list[tuple[str, float]]]


@pytest.fixture(scope="module")
def lists(published: Shop) -> Lists:
    """Every user's list, from the table that goes out."""
    index = index_of(published.workspace)
    lists: Lists = {}
    for row in sorted(index.lists().to_pylist(), key=lambda row: (row["user_id"], row["rank"])):
        lists.setdefault(row["user_id"], []).append((row["item_id"], row["score"]))
    return lists


@pytest.fixture(scope="module")
def cards(published: Shop, lists: Lists) -> dict[str, tuple[Card, ...]]:
    """Every user's recommended cards, as the report of that night makes them."""
    shelves, _ = shelves_of(run_files(published.workspace), list(lists), Studio(None), {})
    return {shelf.user_id: shelf.recommended for shelf in shelves}


def run_files(workspace: Path) -> RunFiles:
    def folder(step: str) -> Path:
        return workspace / json.loads((workspace / "runs" / "first" / "steps" / f"{step}.json").read_text())["path"]

    return RunFiles(
        workspace=workspace,
        run_id="first",
        as_of="",
        media_root=None,
        staged=folder("ingest"),
        fused=folder("fuse"),
        model=folder("train"),
        index=folder("index"),
        gate=(),
        published=True,
    )


def inner_products(index: Published, workspace: Path) -> dict[str, list[str]]:
    """What the first stage alone would list."""
    model = run_files(workspace).model / "published" / "item_vectors.parquet"
    items, users = pq.read_table(model), index.users()
    scores = matrix(users["vector"]) @ matrix(items["vector"]).T
    ids, orders = items["item_id"].to_pylist(), np.argsort(-scores, axis=1, kind="stable")
    known = set(index.items(["item_id"])["item_id"].to_pylist())
    return {
        row["user_id"]: [ids[at] for at in order if ids[at] in known - set(row["seen"])]
        for row, order in zip(users.to_pylist(), orders, strict=True)
    }


def test_the_night_re_orders_so_that_the_first_stages_list_is_another(published: Shop, lists: Lists) -> None:
    first = inner_products(index_of(published.workspace), published.workspace)
    other = [user for user, listed in lists.items() if [item for item, _ in listed] != first[user][: len(listed)]]
    assert len(other) > 0.9 * len(lists) > 45


def test_lookup_answers_every_user_with_their_list(published: Shop, lists: Lists) -> None:
    for user, listed in lists.items():
        hits = ask(published.workspace, Query(user=user, k=len(listed))).hits
        assert [(hit.item_id, hit.score) for hit in hits] == listed


def test_the_reports_cards_are_the_head_of_every_list(lists: Lists, cards: dict[str, tuple[Card, ...]]) -> None:
    assert cards.keys() == lists.keys()
    for user, listed in lists.items():
        assert [card.item_id for card in cards[user]] == [item for item, _ in listed[:RECOMMENDED]]
        for card, (_, score) in zip(cards[user], listed, strict=False):
            assert card.score is not None
            assert card.score.score == score
            logit = card.score.base + sum(part for _, part in card.score.parts)
            assert logit == pytest.approx(math.log(score / (1 - score)), abs=1e-6)
            assert {name for name, _ in card.score.parts} >= {"first_stage", "popularity_and_age", "activity"}


def test_what_explain_says_adds_up_to_the_score_of_the_list(published: Shop, lists: Lists) -> None:
    for number, (user, listed) in enumerate(lists.items()):
        places = {0, len(listed) - 1} if number % 10 == 0 else {number % len(listed)}
        for place in places:
            item, score = listed[place]
            document = json.loads(json.dumps(explain(published.workspace, Question(item, user)).as_json()))
            assert (document["rank"], document["score"]) == (place + 1, score)
            reranked, first = document["reranked"], document["first_stage"]
            logit = reranked["base"] + sum(reranked["contributions"].values())
            assert logit == pytest.approx(reranked["logit"], abs=1e-9)
            assert 1 / (1 + math.exp(-logit)) == pytest.approx(score, abs=1e-6)
            assert first["base"] + sum(first["contributions"].values()) == pytest.approx(first["score"], abs=1e-6)
