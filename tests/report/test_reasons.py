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

from pipeline.artefacts.vectors import matrix
from pipeline.errors import WorkspaceError
from pipeline.explain.by_modality import Explainer, sources_of
from pipeline.report import RunFiles, gather, render
from pipeline.report.modality_shares import Why

WriteRun = Callable[..., RunFiles]


@pytest.mark.parametrize("trained", ["two_tower", "content"])
def test_base_and_parts_add_up_to_the_score_of_every_card(write_run: WriteRun, trained: str) -> None:
    run = write_run(trained=trained)
    items, users = (pq.read_table(run.model / "published" / f"{name}_vectors.parquet") for name in ("item", "user"))
    item_of = dict(zip(items["item_id"].to_pylist(), matrix(items["vector"]), strict=True))
    user_of = dict(zip(users["user_id"].to_pylist(), matrix(users["vector"]), strict=True))
    shelves = gather(run).shelves
    assert sum(len(shelf.recommended) for shelf in shelves) == 80
    for shelf in shelves:
        assert all(card.why is None for card in shelf.history)
        for card in shelf.recommended:
            assert card.why is not None
            assert card.why.score == pytest.approx(float(user_of[shelf.user_id] @ item_of[card.item_id]), abs=1e-4)
            assert card.why.base + sum(value for _, value in card.why.parts) == pytest.approx(card.why.score, abs=1e-9)


def test_what_an_item_lacks_has_no_part_in_its_bar(write_run: WriteRun) -> None:
    for shelf in gather(write_run()).shelves:
        for card in shelf.recommended:
            assert card.why is not None
            lacks_picture = int(card.item_id[1:]) % 6 == 5
            lacks = ("text", "image") if card.item_id == "r0001" else ("image",) if lacks_picture else ()
            assert card.why.missing == lacks
            assert {name for name, _ in card.why.parts} == {"text", "image"} - set(lacks)


def test_an_item_of_ids_alone_is_all_base(write_run: WriteRun) -> None:
    run = write_run()
    explainer = Explainer(sources_of(run.workspace, run.index))
    items = matrix(pq.read_table(run.model / "published" / "item_vectors.parquet")["vector"])
    users = matrix(pq.read_table(run.model / "published" / "user_vectors.parquet")["vector"])[:1]
    codes = explainer.codes(["r0001", "nobody"])
    assert codes == {"r0001": 1}
    game = explainer.of_users(users, np.array([1]), np.array([users[0] @ items[1]], np.float64))
    assert game.base[0] == users[0] @ items[1]
    assert not any(values.any() for values in game.contributions().values())
    assert explainer.missing(1) == {"text": "no text", "image": "no image"}


def test_what_counts_against_an_item_is_drawn_as_such() -> None:
    why = Why(1.0, -0.5, (("text", 2.0), ("image", -0.5)), ())
    assert why.strip == (
        ("text", 2.0, "text"),
        ("image", 0.5, "image against"),
        ("without content", 0.5, "base against"),
    )
    assert [value for _, value, _ in why.told] == ["+2.00", "−0.50", "−0.50"]


def test_every_recommended_card_of_the_page_carries_its_sum(write_run: WriteRun) -> None:
    report = gather(write_run(titles=dict.fromkeys(range(48), 'It\'s "x" </span>&')))
    found = re.findall(r"data-why='([^']*)'", render(report))
    assert len(found) == sum(len(shelf.recommended) for shelf in report.shelves)
    first = json.loads(html.unescape(found[0]))
    assert first["title"] == 'It\'s "x" </span>&'
    assert [name for name, _, _ in first["rows"]][-1] == "without content"


def test_shards_that_are_gone_are_one_sentence(write_run: WriteRun) -> None:
    run = write_run()
    shutil.rmtree(run.workspace / "embeddings" / "image")
    with pytest.raises(WorkspaceError, match="cannot be explained"):
        gather(run)
