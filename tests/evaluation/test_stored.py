"""Scorers in files give the lists that they gave before, and leave memory once nobody holds them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from pipeline.evaluation.measured import Measure
from pipeline.evaluation.metrics import Rankings, Scorer, Task, inner_product
from pipeline.evaluation.scorers import RandomScorer, SparseProduct, SparseScorer
from pipeline.evaluation.stored import StoredScorers
from pipeline.interactions import Interactions

GENERATOR = np.random.default_rng(0)
USERS, ITEMS = GENERATOR.standard_normal((2, 30, 8)).astype(np.float32)
ROWS, WEIGHTS = (sp.random(30, 30, 0.2, "csr", np.float32, random_state=seed) for seed in (1, 2))
SCORERS: dict[str, Scorer] = {
    "vectors": inner_product(USERS, ITEMS),
    "sparse": SparseScorer(SparseProduct(ROWS, WEIGHTS)),
    "random": RandomScorer(1, 30),
}


@pytest.mark.parametrize("name", SCORERS)
def test_a_stored_scorer_scores_as_before(tmp_path: Path, name: str) -> None:
    stored = StoredScorers(tmp_path)
    stored.update(SCORERS)
    assert list(stored) == list(SCORERS)
    users = np.array([3, 0, 29], np.int32)
    assert type(stored[name]) is type(SCORERS[name])
    np.testing.assert_array_equal(stored[name](users), SCORERS[name](users))


def test_ranking_holds_one_scorer_at_a_time(tmp_path: Path) -> None:
    asked: list[weakref.ref[Scorer]] = []

    class Watched(StoredScorers):
        def __getitem__(self, name: str) -> Scorer:
            gc.collect()
            assert [scorer() for scorer in asked] == [None] * len(asked)
            scorer = super().__getitem__(name)
            asked.append(weakref.ref(scorer))
            return scorer

    stored, nobody = Watched(tmp_path), np.zeros(0, np.int32)
    stored.update({"a": inner_product(USERS, ITEMS), "b": inner_product(ITEMS, USERS)})
    log = Interactions(np.arange(30, dtype=np.int32), np.arange(30, dtype=np.int32), np.ones(30), np.ones(30), 30, 30)
    history = Interactions(nobody, nobody, np.ones(0), np.ones(0), 30, 30)
    ranked = Measure((5,), 10, 0, "ndcg@5", "all").ranked(Rankings({"all": Task(history, log)}), stored)
    assert list(ranked) == ["a", "b"]
    assert len(asked) == 2


def test_no_array_is_held_by_what_is_stored(tmp_path: Path) -> None:
    stored, users = StoredScorers(tmp_path), USERS.copy()
    gone = weakref.ref(users)
    stored["vectors"] = inner_product(users, ITEMS)
    del users
    gc.collect()
    assert gone() is None
    assert stored["vectors"] is not stored["vectors"]
