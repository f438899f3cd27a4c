"""The second stage is a step of its own: its settings train nothing again, and what is not read changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts.reranked import Reranked
from pipeline.artefacts.staged import Staged
from pipeline.artefacts.vectors import read_vectors
from pipeline.errors import ShardCorrupt
from pipeline.night import Night
from pipeline.rerank.lists import ranked_lists
from pipeline.rerank.network import load_ranker
from pipeline.rerank.snapshot import Catalogue, Snapshot
from pipeline.steps import fuse, rerank, train
from tests.planted_night import CONFIG, RERANK, STAGED, planted_night


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    night = planted_night(tmp_path_factory.mktemp("reranked") / "workspace")
    fuse.run(night)
    train.run(night)
    rerank.run(night)
    return night


def changed(night: Night, **settings: object) -> Night:
    return replace(night, config=CONFIG.model_copy(update={"rerank": RERANK.model_copy(update=settings)}))


def test_its_settings_train_nothing_again_and_what_it_does_not_read_is_in_no_digest(night: Night) -> None:
    assert rerank.run(night).skipped
    other = changed(night, hidden=8, max_epochs=1)
    assert train.run(other).skipped
    again = rerank.run(other)
    assert not again.skipped
    # It learns from what was shown, so it draws no negatives; and it re-orders no fewer than go out.
    for unread in ({"negatives": 3}, {"hard_share": 0.1}, {"min_shown_choices": 7}):
        assert rerank._key(changed(night, **unread)) == rerank._key(night)
    few = {candidates: rerank._key(changed(night, candidates=candidates)) for candidates in (5, 20, 21)}
    assert few[5] == few[20] != few[21]
    assert rerank._key(changed(night, learn_from="sampled", negatives=3)) != rerank._key(
        changed(night, learn_from="sampled")
    )


def test_what_it_left_says_whether_lists_are_re_ordered_and_why(night: Night) -> None:
    found = Reranked.read(night.workspace.path(rerank.run(night).path))
    assert found.fit is not None
    assert found.fit.learned_from == "shown"
    assert found.candidates == 100
    assert found.used == found.fit.used == (found.published / "ranker.safetensors").exists()
    assert found.reason.startswith("better than" if found.used else "not better than")
    assert (found.evaluated / "ranker.safetensors").exists()


def test_turned_off_it_leaves_no_weights(night: Night) -> None:
    off = changed(night, enabled=False, hidden=4)
    assert rerank._key(off) == rerank._key(changed(night, enabled=False))
    found = Reranked.read(night.workspace.path(rerank.run(off).path))
    assert (found.used, found.fit, found.reason) == (False, None, "rerank.enabled is false")
    assert not found.evaluated.exists()


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "reranked.json").write_text('{"used": true}')
    with pytest.raises(ShardCorrupt, match=r"not what rerank writes .*; run the night again with --full"):
        Reranked.read(tmp_path)


def test_a_user_who_chose_nothing_but_has_a_vector_gets_a_list(night: Night) -> None:
    """As one does who has a profile and no history."""
    staged = Staged(night.workspace.path(STAGED))
    history, trained = staged.read_everything(), night.workspace.path(night.receipt("train").path, "evaluated")
    _, items = read_vectors(trained / "item_vectors.parquet", "item_id")
    _, users = read_vectors(trained / "user_vectors.parquet", "user_id")
    catalogue = Catalogue(items, rerank.modality_inputs(night), np.ones(len(items), bool))
    more = np.concatenate([users, users[:1]])
    snapshot = Snapshot(catalogue, more, replace(history, n_users=len(more)))
    newcomer = np.array([len(users)])
    ranker = load_ranker(Reranked.read(night.workspace.path(rerank.run(night).path)).evaluated, catalogue, 1)
    for second_stage in (None, ranker):
        (own,) = ranked_lists(snapshot, second_stage, newcomer, 30)
        assert len(set(own.tolist())) == 30
        assert own.min() >= 0
