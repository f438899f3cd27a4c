from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.metrics import Task, mean_of
from pipeline.fusion.user_pooling import Pooling
from pipeline.interactions import Interactions, unit_rows
from pipeline.recommend.base import Content
from pipeline.recommend.models.content import ContentRecommender, ContentSettings
from pipeline.recommend.models.two_tower import TwoTower, TwoTowerSettings
from pipeline.recommend.sides import PastOf
from pipeline.recommend.user_sides import SummedUser, save_model

USERS, ITEMS, KINDS, CHOICES, WIDTH = 240, 120, 6, 8, 16
NEW = np.arange(0, USERS, 4)
SETTINGS = TwoTowerSettings(max_epochs=12, patience_epochs=12, negatives=64, width=16)


def told(seed: int = 0) -> tuple[Content, Interactions, Interactions]:
    """Users like one kind of item each, and say so; every fourth has chosen nothing yet. Then what they chose later."""
    rng = np.random.default_rng(seed)
    traits = unit_rows(rng.standard_normal((KINDS, WIDTH)).astype(np.float32))
    kinds, likes = rng.integers(0, KINDS, ITEMS), rng.integers(0, KINDS, USERS)
    items = unit_rows(traits[kinds] + 0.15 * rng.standard_normal((ITEMS, WIDTH)).astype(np.float32))
    profiles = unit_rows(traits[likes] + 0.15 * rng.standard_normal((USERS, WIDTH)).astype(np.float32))
    chosen = np.concatenate([rng.choice(np.flatnonzero(kinds == like), CHOICES, replace=False) for like in likes])
    ages = np.tile(np.arange(CHOICES, 0, -1.0), USERS)
    whole = Interactions(
        np.repeat(np.arange(USERS, dtype=np.int32), CHOICES), chosen.astype(np.int32), ages,
        np.ones(len(ages), np.float32), USERS, ITEMS,
    )  # fmt: skip
    later = ages <= 2
    pooling = Pooling(180, profiles=profiles, profile_weight=0.2)
    content = Content(items, np.ones(ITEMS, bool), pooling)
    return content, whole.subset(~later & ~np.isin(whole.user, NEW)), whole.subset(later)


def fitted(content: Content, train: Interactions) -> TwoTower:
    model = TwoTower(SETTINGS, 0, 1)
    model.fit(content, train, epochs=12)
    return model


def worth(model: TwoTower | ContentRecommender, train: Interactions, targets: Interactions, users: np.ndarray) -> float:
    task = Task(train, targets.subset(np.isin(targets.user, users)))
    return mean_of(model.scorer(train), task, "ndcg@10")


def test_a_profile_serves_who_has_chosen_nothing_yet() -> None:
    content, train, later = told()
    without = Content(content.vectors, content.present)
    assert worth(fitted(content, train), train, later, NEW) > 2 * worth(fitted(without, train), train, later, NEW)
    pooled = ContentRecommender(ContentSettings())
    pooled.fit(content, train)
    assert worth(pooled, train, later, NEW) > 0.2


@pytest.mark.parametrize("silent", [None, 0.0])
def test_without_profiles_or_their_weight_every_byte_stays(silent: float | None) -> None:
    content, train, _ = told()
    pooling = Pooling(180) if silent is None else Pooling(180, None, content.pooling.profiles, silent)
    plain = fitted(Content(content.vectors, content.present), train)
    other = fitted(Content(content.vectors, content.present, pooling), train)
    np.testing.assert_array_equal(plain.user_vectors(train), other.user_vectors(train))
    np.testing.assert_array_equal(plain.item_vectors, other.item_vectors)


def test_a_user_of_whom_nothing_is_known_is_given_what_suits_everyone() -> None:
    content, train, _ = told()
    assert content.pooling.profiles is not None
    profiles = content.pooling.profiles.copy()
    profiles[NEW[0]] = 0
    model = fitted(Content(content.vectors, content.present, Pooling(180, None, profiles, 0.2)), train)
    vectors = model.user_vectors(train)
    assert np.count_nonzero(vectors[NEW[0]]) == 1
    assert np.count_nonzero(vectors[NEW[1]]) > WIDTH


def test_a_score_of_who_has_chosen_nothing_is_explained_by_the_profile_alone(tmp_path: Path) -> None:
    content, train, _ = told()
    model = ContentRecommender(ContentSettings())
    model.fit(content, train)
    save_model(model, tmp_path)
    user, item = model.user_vectors(train)[NEW[0]], model.item_vectors[3]
    nothing = np.empty(0, np.int32)
    history = Interactions(nothing, nothing, np.empty(0), np.empty(0, np.float32), 1, 0)
    assert content.pooling.profiles is not None
    past = PastOf(history, np.empty(0, np.int64), content.pooling.profiles[NEW[0]])
    split = SummedUser(tmp_path, "content").split(user, item, past)
    assert split.rest["profile"] == pytest.approx(float(user @ item), abs=1e-6)
    assert split.base == pytest.approx(0, abs=1e-6)
