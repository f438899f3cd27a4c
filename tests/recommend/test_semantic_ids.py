"""Semantic ids: alike items share codes, an item's codes follow from its content alone, and models learn by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pipeline.interactions import unit_rows
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content
from pipeline.recommend.models.sequence import SemanticIds, SequenceModel
from pipeline.recommend.semantic_ids import Codebooks
from pipeline.recommend.sequence_network import code_vectors
from tests.recommend.test_sequence import ITEMS, SMALL, USERS, log_of, walks

COARSE, FINE, WIDTH = 4, 4, 12
SETTINGS = SemanticIds(levels=2, codes=COARSE)
WITH_CODES = SMALL.model_copy(update={"semantic_ids": SETTINGS})


def planted(rows: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors made of a coarse direction, a smaller fine one, and little noise: (n, 12), and which ones these are."""
    generator = np.random.default_rng(0)
    coarse, fine = np.arange(rows) % COARSE, np.arange(rows) // COARSE % FINE
    axes = np.eye(WIDTH, dtype=np.float32)
    vectors = axes[coarse] + 0.3 * axes[COARSE + fine] + 0.01 * generator.standard_normal((rows, WIDTH))
    return vectors.astype(np.float32), coarse, fine


def test_the_first_code_is_the_coarse_difference_and_the_second_the_fine_one() -> None:
    vectors, coarse, fine = planted()
    present = np.ones(len(vectors), bool)
    books = Codebooks.fit(vectors, present, SETTINGS, 0)
    codes = books.codes(vectors, present)
    assert codes.shape == (len(vectors), 2)
    for told, code in ((coarse, codes[:, 0]), (fine, codes[:, 1])):
        # Each value goes with one code, and each code with one value.
        assert len(set(zip(told.tolist(), code.tolist(), strict=True))) == len(set(told)) == len(set(code))
    rebuilt = books.centroids[np.arange(2), codes].sum(axis=1)
    first = books.centroids[0][codes[:, 0]]
    assert np.linalg.norm(vectors - rebuilt, axis=1).max() < 0.1 < np.linalg.norm(vectors - first, axis=1).mean()


def test_codes_are_the_same_for_a_seed_and_of_an_item_alone() -> None:
    vectors, _, _ = planted()
    present = np.arange(len(vectors)) % 7 > 0
    books, again = (Codebooks.fit(vectors, present, SETTINGS, 0) for _ in range(2))
    assert books.centroids.tobytes() == again.centroids.tobytes()
    codes = books.codes(vectors, present)
    assert (codes[~present] == -1).all()
    assert (codes[present] >= 0).all()
    np.testing.assert_array_equal(books.codes(vectors[5:6], present[5:6]), codes[5:6])


def test_few_items_have_few_codes_and_none_have_none() -> None:
    vectors = np.eye(3, WIDTH, dtype=np.float32)
    books = Codebooks.fit(vectors, np.ones(3, bool), SemanticIds(levels=3, codes=256), 0)
    assert books.centroids.shape == (3, 3, WIDTH)
    assert len(np.unique(books.codes(vectors, np.ones(3, bool))[:, 0])) == 3
    nothing = Codebooks.fit(vectors, np.zeros(3, bool), SETTINGS, 0)
    assert (nothing.codes(vectors, np.zeros(3, bool)) == -1).all()
    assert code_vectors(Content(vectors, np.ones(3, bool)), SemanticIds(), 4, 0) is None


def test_a_new_item_is_liked_by_its_codes_where_its_vector_alone_says_nothing() -> None:
    vectors, coarse, _ = planted(ITEMS)
    content = Content(unit_rows(vectors), np.ones(ITEMS, bool))
    new = np.arange(ITEMS) >= ITEMS - 12
    generator = np.random.default_rng(0)
    liked = [np.flatnonzero((coarse == user % COARSE) & ~new) for user in range(USERS)]
    log = log_of([generator.choice(items, 6).tolist() for items in liked])
    model = SequenceModel(WITH_CODES, 0, 1)
    model.fit(content, log, epochs=6)
    model._network.items.content.weight.data.zero_()
    with torch.no_grad():
        model._freeze()
    scores = model.user_vectors(log) @ model.item_vectors[new].T
    assert (coarse[new][scores.argmax(axis=1)] == np.arange(USERS) % COARSE).mean() > 0.9


def test_a_saved_model_gives_its_items_again_and_other_content_other_codes(tmp_path: Path) -> None:
    vectors, _, _ = planted(ITEMS)
    present = np.arange(ITEMS) % 5 > 0
    content = Content(unit_rows(vectors) * present[:, None], present)
    made = []
    for _ in range(2):
        model = SequenceModel(WITH_CODES, 0, 1)
        model.fit(content, log_of(walks()), epochs=1)
        model.save(tmp_path)
        made.append((tmp_path / "model.safetensors").read_bytes())
    assert made[0] == made[1]
    saved = load_file(tmp_path / "model.safetensors")
    assert saved["items.shared.codes"].shape == (ITEMS, 2)
    assert saved["items.shared.table"].any()
    side = kind_of("sequence").item_side(tmp_path)
    codes = np.random.default_rng(0).permutation(ITEMS)
    again = side.vectors(Content(content.vectors[codes], present[codes]), codes, ())
    np.testing.assert_allclose(again, model.item_vectors[codes], atol=1e-5)
    nothing = side.vectors(Content(np.zeros_like(vectors), np.zeros(ITEMS, bool)), np.arange(ITEMS), ())
    known = saved["known"] > 0
    np.testing.assert_allclose(nothing[known, :-1], unit_rows(saved["items.ids"])[known], atol=1e-5)


def test_without_codes_nothing_changes(tmp_path: Path) -> None:
    vectors, _, _ = planted(ITEMS)
    content = Content(unit_rows(vectors), np.ones(ITEMS, bool))
    model = SequenceModel(SMALL, 0, 1)
    model.fit(content, log_of(walks()), epochs=1)
    model.save(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "shared" in name]


@pytest.mark.parametrize("levels", [-1, 9])
def test_levels_are_bounded(levels: int) -> None:
    with pytest.raises(ValueError, match="levels"):
        SemanticIds(levels=levels)
