"""What `medley explain` says adds up, to what `medley lookup` says."""

from __future__ import annotations

import json
import math
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.explain.explain import Question, explain
from pipeline.serving.lookup import Query, ask
from tests.conftest import Shop, medley

USER = "buyer-0001"


def explained(shop: Shop, item: str, user: str | None = None, other: str | None = None) -> dict[str, Any]:
    return explain(shop.workspace, Question(item, user, other)).as_json()


def best(shop: Shop, user: str = USER) -> dict[str, float]:
    """The user's list, best first, with its scores."""
    current = json.loads((shop.workspace / "CURRENT.json").read_text())
    rows = pq.read_table(shop.workspace / current["index"] / "recommendations.parquet").to_pylist()
    mine = sorted((row for row in rows if row["user_id"] == user), key=lambda row: row["rank"])
    return {row["item_id"]: row["score"] for row in mine}


def gone(shop: Shop, modality: str) -> dict[str, str]:
    """The items that lack a modality, and why, as the shards have it."""
    paths = sorted((shop.workspace / "embeddings" / modality).glob("*/*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path, columns=["item_id", "error"]).to_pylist()]
    return {row["item_id"]: row["error"] for row in rows if row["error"]}


def adds_up(found: dict[str, Any]) -> None:
    """The first stage's score of a user and an item, or the likeness of two items, is the sum of its parts."""
    listed, found = found, found.get("first_stage", found)
    if listed.get("reranked"):
        reranked = listed["reranked"]
        assert reranked["base"] + sum(reranked["contributions"].values()) == pytest.approx(reranked["logit"], abs=1e-9)
        assert 1 / (1 + math.exp(-reranked["logit"])) == pytest.approx(listed["score"], abs=1e-6)
    total = found["base"] + sum(found["contributions"].values())
    assert total == pytest.approx(found["score"], abs=1e-9)
    names = sorted(found["contributions"], key=("text", "image", "audio").index)
    subsets = ["+".join(chosen) for size in range(1, len(names) + 1) for chosen in combinations(names, size)]
    assert set(found["values"]) == {"none", *subsets}
    assert found["values"]["none"] == found["base"]
    assert found["values"][subsets[-1] if subsets else "none"] == found["score"]


def test_base_and_contributions_add_up_to_the_score_that_lookup_gives(published: Shop) -> None:
    scores = best(published)
    known = sorted(scores, key=scores.__getitem__)
    for item in (known[-1], known[0]):
        found = explained(published, item, USER)
        assert (found["user"], found["items"], found["chosen"]) == (USER, [item], False)
        assert found["rank"] == list(scores).index(item) + 1
        assert found["score"] == pytest.approx(scores[item], abs=1e-6)
        adds_up(found)


@pytest.mark.parametrize(
    "settings",
    [
        ("-s", "fuse.kind=concat", "-s", "train.model=content"),
        ("-s", "fuse.kind=dnn", "-s", "fuse.learn.max_epochs=2"),
        ("-s", "fuse.kind=gnn", "-s", "fuse.learn.max_epochs=2"),
    ],
    ids=["concat-content", "dnn", "gnn"],
)
def test_every_kind_of_fusion_can_be_explained(night: Shop, settings: tuple[str, ...]) -> None:
    night.run("kind", *settings)
    scores = best(night)
    first, *_, last = sorted(scores, key=scores.__getitem__)
    found = explained(night, last, USER)
    assert found["score"] == pytest.approx(scores[last], abs=1e-6)
    assert any(found["first_stage"]["contributions"].values())
    adds_up(found)
    adds_up(explained(night, first, other=last))


def test_two_items_are_as_alike_as_the_content_index_says_whichever_comes_first(published: Shop) -> None:
    hit, *_ = ask(published.workspace, Query(item="rec-0003")).hits
    there = explained(published, "rec-0003", other=hit.item_id)
    back = explained(published, hit.item_id, other="rec-0003")
    assert there["score"] == pytest.approx(hit.score, abs=1e-4)
    assert there["base"] == 0
    assert there["contributions"] == pytest.approx(back["contributions"], abs=1e-6)
    adds_up(there)
    itself = explained(published, "rec-0003", other="rec-0003")
    assert all(value == pytest.approx(1, abs=1e-4) for name, value in itself["values"].items() if name != "none")


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_a_missing_modality_contributes_nothing_and_has_a_reason(published: Shop, modality: str) -> None:
    lacking = gone(published, modality)
    item = next(iter(sorted(lacking)))
    found = explained(published, item, USER)
    assert modality not in found["first_stage"]["contributions"]
    assert found["missing"][modality] == lacking[item]
    said = explain(published.workspace, Question(item, USER)).as_text()
    assert f"no {modality}: {lacking[item]}" in said
    whole = next(other for other in best(published) if other not in lacking)
    pair = explained(published, whole, other=item)
    assert pair["missing"][modality] == f"{item}: {lacking[item]}"
    assert pair["values"][modality] == 0


def test_an_item_that_is_chosen_already_is_said_to_be(published: Shop) -> None:
    current = json.loads((published.workspace / "CURRENT.json").read_text())
    users = pq.read_table(published.workspace / current["index"] / "users.parquet").to_pylist()
    (seen,) = (user["seen"] for user in users if user["user_id"] == USER)
    assert explained(published, seen[0], USER)["chosen"]
    said = explain(published.workspace, Question(seen[0], USER)).as_text()
    assert "chosen by this user already" in said


def test_the_verb_prints_a_line_for_each_modality_and_the_base_or_one_document(published: Shop) -> None:
    item = next(iter(best(published)))
    document = medley("explain", "-w", published.workspace, "--user", USER, "--item", item, "--json").stdout
    found = explained(published, item, USER)
    told = json.loads(document)
    assert told.keys() == found.keys()
    # Another process may add up in another order.
    first = found["first_stage"]
    assert told["score"] == pytest.approx(found["score"], abs=1e-5)
    assert told["first_stage"]["contributions"] == pytest.approx(first["contributions"], abs=1e-5)
    assert (told["rank"], told["missing"]) == (found["rank"], found["missing"])
    lines = medley("explain", "-w", published.workspace, "--user", USER, "--item", item).stdout.splitlines()
    assert lines[0].startswith(f"user {USER} and {item} (")
    assert f"rank {found['rank']} of their list" in lines[0]
    for name, value in [*first["contributions"].items(), ("base", first["base"])]:
        assert any(line.split()[:2] == [name, f"{value:+.4f}"] for line in lines)


def test_nothing_in_the_workspace_changes(published: Shop) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in published.workspace.rglob("*")}

    before = state()
    explained(published, "rec-0003", other="rec-0004")
    assert state() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--user", "nobody", "--item", "rec-0003"), "--user nobody: not in the published index"),
        (("--user", USER, "--item", "nothing"), "--item nothing: not in the published index"),
        (("--item", "rec-0003", "--other", "nothing"), "--other nothing: not in the published index"),
        (("--item", "rec-0003"), "ask for --user and --item, or for --item and --other"),
        (("--user", USER), "ask for --user and --item, or for --item and --other"),
        (("--user", USER, "--item", "rec-0003", "--other", "rec-0004"), "ask for --user and --item, or"),
    ],
)
def test_a_wrong_question_is_one_sentence(published: Shop, arguments: tuple[str, ...], sentence: str) -> None:
    done = medley("explain", "-w", published.workspace, *arguments, status=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"medley: {sentence}")


def test_what_is_not_published_or_gone_is_one_sentence(night: Shop, tmp_path: Path) -> None:
    asked = ("--item", "rec-0003", "--other", "rec-0004")
    nothing = medley("explain", "-w", tmp_path, *asked, status=1).stderr
    assert "nothing is published yet; run `medley run` first" in nothing
    for folder in ("embeddings/audio", "fused"):
        shutil.rmtree(night.workspace / folder)
        (line,) = medley("explain", "-w", night.workspace, *asked, status=1).stderr.splitlines()
        assert line.endswith("gone, so the index made from it cannot be explained; run the night again")
        assert folder in line


def test_vectors_that_do_not_follow_from_their_shards_are_not_explained(night: Shop) -> None:
    (path,) = (night.workspace / "models").glob("*/published/item_vectors.parquet")
    table = pq.read_table(path)
    vectors = np.asarray(table["vector"].combine_chunks().values)
    shifted = type(table["vector"].combine_chunks()).from_arrays(vectors + 1, table["vector"].type.list_size)
    pq.write_table(table.set_column(1, "vector", shifted), path)
    done = medley("explain", "-w", night.workspace, "--user", USER, "--item", "rec-0003", status=1)
    assert "do not follow from their shards" in done.stderr
