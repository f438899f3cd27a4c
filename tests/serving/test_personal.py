"""The weight of the user in a personal search is the one that is best for queries of the catalogue's own words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.mapped import MappedTable
from pipeline.artefacts.model import Fitted
from pipeline.artefacts.published import published as open_published
from pipeline.artefacts.staged import Staged
from pipeline.artefacts.vectors import vector_column
from pipeline.artefacts.write import write_table
from pipeline.interactions import Floats, Interactions
from pipeline.recommend import kind_of
from pipeline.recommend.sides import FoldSide, PastOf
from pipeline.serving.encoded_query import QueryEncoders
from pipeline.serving.personal import FEWEST_QUERIES, USER_WEIGHT, WEIGHTS, Asked, chosen
from pipeline.steps import personal
from tests.benchmarks.personal import past_of
from tests.conftest import Shop


def asked(random: np.random.Generator, by_user: float) -> Asked:
    """What is right is decided by the user as far as `by_user`, and by the query for the rest."""
    cosines, products = random.normal(size=(2, 200)).astype(np.float32)
    right = np.zeros(200, bool)
    right[np.argsort(-(cosines + by_user * products))[:5]] = True
    return Asked(cosines, products, right, 5)


@pytest.mark.parametrize("by_user", WEIGHTS)
def test_the_weight_by_which_users_choose_is_found(by_user: float) -> None:
    random = np.random.default_rng(0)
    weight, means = chosen([asked(random, by_user) for _ in range(FEWEST_QUERIES)])
    assert weight == by_user
    assert means[weight] == pytest.approx(1, abs=0.05)
    assert set(means) == set(WEIGHTS)


def test_few_queries_decide_nothing() -> None:
    random = np.random.default_rng(0)
    assert chosen([asked(random, 8) for _ in range(FEWEST_QUERIES - 1)]) == (USER_WEIGHT, {})


def test_what_is_right_beyond_the_candidates_counts_as_missed() -> None:
    scores = np.array([3, 2, 1], np.float32)
    found = Asked(scores, scores, np.array([True, False, False]), 3)
    assert found.ndcg(1) == pytest.approx(1 / (1 + 1 / np.log2(3) + 0.5))
    assert Asked(scores[:0], scores[:0], np.zeros(0, bool), 1).ndcg(1) == 0


def test_kinds_are_values_that_some_and_not_too_many_items_share(tmp_path: Path) -> None:
    n = 100
    columns = {
        "item_id": [f"i{row}" for row in range(n)],
        "title": ["The same title"] * 12 + [f"t{row}" for row in range(12, n)],
        "genre": ["jazz"] * 20 + ["soul"] * 10 + ["rare"] * 9 + ["most"] * 40 + [None] * 21,
        "tags": pa.array([["live", "live"], ["slow"]] * 10 + [["slow"]] * 3 + [None] * 77),
        "year": list(range(n)),
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    kinds = {kind.text: kind.rows.tolist() for kind in personal.kinds_of(MappedTable(tmp_path / "items.parquet"))}
    assert kinds == {
        "jazz": [*range(20)],
        "soul": [*range(20, 30)],
        "live": [*range(0, 20, 2)],
        "slow": [*range(1, 20, 2), 20, 21, 22],
    }


def test_what_somebody_had_before_is_no_answer_of_theirs(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    evaluated = Fitted(tmp_path)
    write_table(pa.table({"item_id": list("abcd"), "vector": vector_column(vectors)}), evaluated.item_vectors)

    class Someone(FoldSide):
        def fold_in(self, past: PastOf) -> Floats:
            assert past.codes.tolist() == [0]
            return np.array([9, 1, 2, 3], np.float32)

    def log(*items: int) -> Interactions:
        none = np.zeros(len(items))
        return Interactions(none.astype("i4"), np.array(items, "i4"), none, none.astype("f4") + 1, 1, 4)

    jazz = personal.Kind("jazz", np.arange(3)), np.array([4, 3, 2, 1], np.float32), np.arange(4)
    (query,) = personal._asked([jazz], Someone(), evaluated, np.arange(4), log(0), log(0, 1, 3))
    assert query.cosines.tolist() == [3, 2, 1]
    assert query.products.tolist() == [1, 2, 3]
    # Of what they chose later, one item is of the kind and new to them.
    assert (query.right.tolist(), query.wanted) == ([True, False, False], 1)


def test_a_night_chooses_it_on_validation_by_the_fit_that_has_seen_no_more(
    published: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By plain means: all cosines and all products, of who chose something of a genre in the validation part."""
    index = open_published(published.workspace)
    folders = {step: published.workspace / str(path) for step, path in index.card["lineage"].items()}
    staged, evaluated = Staged(folders["ingest"]), Fitted(folders["train"] / "evaluated")
    card = index.card["personal"]
    assert card["user"] in WEIGHTS
    log, catalogue = staged.read_log(), staged.items(["item_id", "genre"]).to_pydict()
    train, validation = log.of("train"), log.of("validation")
    shown = index.items(["item_id"])["item_id"].to_pylist()
    indexed = np.array([catalogue["item_id"].index(item) for item in shown])
    monkeypatch.setattr(personal, "FEWEST_ITEMS", 5)
    monkeypatch.setattr(personal, "BETTER_THAN_CHANCE", 0.0)
    monkeypatch.setattr("pipeline.serving.personal.FEWEST_QUERIES", 1)
    found = personal.weigh(index.folder, staged, evaluated, index.card["model"], indexed, 0)

    genres, (_, items), (_, fused) = np.array(catalogue["genre"]), evaluated.items(), Fused(folders["fuse"]).items()
    side, encoders = kind_of(index.card["model"]).fold_side(evaluated.folder), QueryEncoders(index)
    kinds = {kind.text for kind in personal.kinds_of(index.table("items.parquet"))} & set(genres)
    assert side is not None
    assert len(kinds) > 3
    values = []
    for user in np.unique(validation.user):
        seen, later = set(train.item[train.user == user]), set(validation.item[validation.user == user])
        taste = items @ side.fold_in(past_of(train, int(user))) if seen else None
        for genre in sorted({genres[item] for item in later - seen} & kinds) if seen else ():
            cosines = fused @ encoders.fused({"text": genre})
            rows = [item for item in indexed if item not in seen and not np.isnan(cosines[item])]
            right = [item in later and genres[item] == genre for item in rows]
            values.append(Asked(cosines[rows], taste[rows], np.array(right), sum(right)).ndcg(2.0))
    assert found["queries"] == len(values) > 20
    assert found["ndcg@10"]["2"] == pytest.approx(np.mean(values), abs=1e-3)
    assert found["user"] == float(max(found["ndcg@10"], key=found["ndcg@10"].get))
    assert json.loads(json.dumps(found)) == found
