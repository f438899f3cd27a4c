"""A saved model gives its items' vectors again, and those that they would have with other content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ShardCorrupt, StepFailed
from pipeline.interactions import unit_rows
from pipeline.recommend import Content, build, load_item_side
from tests.recommend.test_recommenders import CONFIG, ITEMS, NEW, World


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, np.ndarray, Path]:
    """A world, the item vectors of a model fitted on it, and the folder where that was saved."""
    world, folder = World(), tmp_path_factory.mktemp("model")
    model = build("two_tower", CONFIG)
    model.fit(world.content, world.train, epochs=2)
    model.save(folder)
    return world, model.item_vectors, folder


def _rows(content: Content, codes: np.ndarray) -> Content:
    return Content(content.vectors[codes], content.present[codes])


def test_the_same_content_gives_the_published_vectors(saved: tuple[World, np.ndarray, Path]) -> None:
    world, published, folder = saved
    codes = np.random.default_rng(0).permutation(ITEMS)
    vectors = load_item_side("two_tower", folder).vectors(_rows(world.content, codes), codes)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, published[codes], atol=1e-5)


def test_the_tower_is_linear_in_content_and_ids_stay(saved: tuple[World, np.ndarray, Path]) -> None:
    world, _, folder = saved
    side = load_item_side("two_tower", folder)
    present = np.flatnonzero(world.content.present)
    codes, others = present[:10], present[10:20]
    middle = (world.content.vectors[codes] + world.content.vectors[others]) / 2
    found = side.vectors(Content(middle, np.ones(10, bool)), codes)
    ends = [side.vectors(_rows(world.content, content), codes) for content in (codes, others)]
    np.testing.assert_allclose(found, np.mean(ends, axis=0), atol=1e-5)


def test_without_content_a_known_item_keeps_its_id_and_a_new_one_its_margin(
    saved: tuple[World, np.ndarray, Path],
) -> None:
    world, _, folder = saved
    nothing = Content(np.zeros((2, world.content.vectors.shape[1]), np.float32), np.zeros(2, bool))
    known, new = int(world.train.item[0]), ITEMS - NEW
    first, second = load_item_side("two_tower", folder).vectors(nothing, np.array([known, new]))
    width = CONFIG.train.width
    assert first[:width].any()
    assert not second[:width].any()
    assert second[width] < 0
    assert not second[width + 1 :].any()


def test_the_content_model_needs_nothing_saved(tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32))
    content = Content(vectors, np.ones(4, bool))
    np.testing.assert_array_equal(load_item_side("content", tmp_path).vectors(content, np.arange(4)), vectors)


def test_a_model_without_content_or_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="the als model's scores are not explained by modality"):
        load_item_side("als", tmp_path)
    with pytest.raises(ShardCorrupt, match=r"model\.safetensors: not the weights of a two-tower model"):
        load_item_side("two_tower", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(ShardCorrupt, match="run the night again"):
        load_item_side("two_tower", tmp_path)
