"""A recommendation's bar is what its score is made of."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.published import Published
from pipeline.artefacts.vectors import matrix
from pipeline.errors import WorkspaceError
from pipeline.explain.by_modality import ModalityGames
from pipeline.explain.load import sources_of
from pipeline.report import RunFiles, gather, render
from pipeline.report.score_parts import ScoreParts

WriteRun = Callable[..., RunFiles]


@pytest.mark.parametrize("trained", ["two_tower", "content"])
def test_base_and_parts_add_up_to_the_score_of_every_card(write_run: WriteRun, trained: str) -> None:
    run = write_run(trained=trained)
    rows = pq.read_table(run.index / "recommendations.parquet").to_pylist()
    listed = {(row["user_id"], row["item_id"]): row["score"] for row in rows}
    shelves = gather(run).shelves
    assert sum(len(shelf.recommended) for shelf in shelves) == 80
    for shelf in shelves:
        assert all(card.score is None for card in shelf.history)
        for card in shelf.recommended:
            assert card.score is not None
            assert card.score.score == card.score.total == listed[shelf.user_id, card.item_id]
            assert card.score.base + sum(value for _, value in card.score.parts) == pytest.approx(card.score.total)


def test_what_an_item_lacks_has_no_part_in_its_bar(write_run: WriteRun) -> None:
    for shelf in gather(write_run()).shelves:
        for card in shelf.recommended:
            assert card.score is not None
            lacks_picture = int(card.item_id[1:]) % 6 == 5
            lacks = ("text", "image") if card.item_id == "r0001" else ("image",) if lacks_picture else ()
            assert card.score.missing == lacks
            assert {name for name, _ in card.score.parts} == {"text", "image"} - set(lacks)


def test_an_item_of_ids_alone_is_all_base(write_run: WriteRun) -> None:
    run = write_run()
    games = ModalityGames(sources_of(run.workspace, Published(run.index, run.index.name)))
    items = matrix(pq.read_table(run.model / "published" / "item_vectors.parquet")["vector"])
    users = matrix(pq.read_table(run.model / "published" / "user_vectors.parquet")["vector"])[:1]
    codes = games.codes(["r0001", "nobody"])
    assert codes == {"r0001": 1}
    game = games.of_users(users, np.array([1]), np.array([users[0] @ items[1]], np.float64))
    assert game.base[0] == users[0] @ items[1]
    assert not any(values.any() for values in game.contributions().values())
    assert games.shards.missing(1) == {"text": "no text", "image": "no image"}


def test_what_counts_against_an_item_is_drawn_as_such() -> None:
    parts = ScoreParts(1.0, 1.0, False, -0.5, (("text", 2.0), ("image", -0.5)), ())
    assert parts.strip == (("text", 2.0, "text"), ("image", 0.5, "image against"), ("base", 0.5, "base against"))
    assert [value for _, value, _ in parts.rows] == ["+2.00", "\u22120.50", "\u22120.50"]
    assert (parts.sum, parts.meaning) == (("score", "+1.00"), "")


def test_a_probability_is_shown_beside_the_logit_that_its_parts_add_up_to() -> None:
    parts = ScoreParts(0.0474, -3.0, True, -4.0, (("first_stage", 1.0),), ())
    assert parts.sum == ("logit", "\u22123.00")
    assert parts.strip == (("first_stage", 1.0, "first_stage"),)
    assert [name for name, _, _ in parts.rows] == ["first_stage", "base"]
    assert parts.meaning.replace("\u00a0", " ").endswith("4.7 %")


def test_every_recommended_card_of_the_page_carries_its_sum(write_run: WriteRun) -> None:
    report = gather(write_run(titles=dict.fromkeys(range(48), 'It\'s "x" </span>&')))
    found = re.findall(r"data-score='([^']*)'", render(report))
    assert len(found) == sum(len(shelf.recommended) for shelf in report.shelves)
    first = json.loads(html.unescape(found[0]))
    assert first["title"] == 'It\'s "x" </span>&'
    assert first["rows"][-1][0] == "without content"
    assert first["sum"][0] == "score"


def test_shards_that_are_gone_are_one_sentence(write_run: WriteRun) -> None:
    run = write_run()
    shutil.rmtree(run.workspace / "embeddings" / "image")
    with pytest.raises(WorkspaceError, match="cannot be explained"):
        gather(run)
