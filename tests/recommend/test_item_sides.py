"""A saved model gives its items' vectors again, and those that they would have with other content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ShardCorrupt
from pipeline.interactions import unit_rows
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content, Recommender
from pipeline.recommend.content_features import modalities, neighbours
from pipeline.recommend.models.graph import GraphRecommender
from pipeline.recommend.models.vbpr import VBPR
from tests.recommend.test_recommenders import ITEMS, NEW, SMALL, World, recommender


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, np.ndarray, Path]:
    """A world, the item vectors of a model fitted on it, and the folder where that was saved."""
    world, folder = World(), tmp_path_factory.mktemp("model")
    model = recommender("two_tower")
    model.fit(world.content, world.train, epochs=2)
    model.save(folder)
    return world, model.item_vectors, folder


def _rows(content: Content, codes: np.ndarray) -> Content:
    return Content(content.vectors[codes], content.present[codes])


def test_the_same_content_gives_the_published_vectors(saved: tuple[World, np.ndarray, Path]) -> None:
    world, published, folder = saved
    codes = np.random.default_rng(0).permutation(ITEMS)
    vectors = kind_of("two_tower").item_side(folder).vectors(_rows(world.content, codes), codes, ())
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, published[codes], atol=1e-5)


def test_the_tower_is_linear_in_content_and_ids_stay(saved: tuple[World, np.ndarray, Path]) -> None:
    world, _, folder = saved
    side = kind_of("two_tower").item_side(folder)
    present = np.flatnonzero(world.content.present)
    codes, others = present[:10], present[10:20]
    middle = (world.content.vectors[codes] + world.content.vectors[others]) / 2
    found = side.vectors(Content(middle, np.ones(10, bool)), codes, ())
    ends = [side.vectors(_rows(world.content, content), codes, ()) for content in (codes, others)]
    np.testing.assert_allclose(found, np.mean(ends, axis=0), atol=1e-5)


def test_without_content_a_known_item_keeps_its_id_and_a_new_one_its_margin(
    saved: tuple[World, np.ndarray, Path],
) -> None:
    world, _, folder = saved
    nothing = Content(np.zeros((2, world.content.vectors.shape[1]), np.float32), np.zeros(2, bool))
    known, new = int(world.train.item[0]), ITEMS - NEW
    first, second = kind_of("two_tower").item_side(folder).vectors(nothing, np.array([known, new]), ())
    width = SMALL["two_tower"]["width"]
    assert first[:width].any()
    assert not second[:width].any()
    assert second[width] < 0
    assert not second[width + 1 :].any()


def test_the_content_model_needs_nothing_saved(tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32))
    content = Content(vectors, np.ones(4, bool))
    np.testing.assert_array_equal(kind_of("content").item_side(tmp_path).vectors(content, np.arange(4), ()), vectors)


def _told_apart(world: World) -> Content:
    """Three modalities, each of which some items lack; one that all lack."""
    generator = np.random.default_rng(4)
    found = {}
    for name, width in (("text", 12), ("image", 9), ("audio", 5)):
        vectors = unit_rows(world.content.vectors @ generator.standard_normal((24, width)).astype(np.float32))
        found[name] = vectors, world.content.present & (generator.random(ITEMS) > 0.2)
    nothing = np.zeros((ITEMS, 4), np.float32), np.zeros(ITEMS, bool)
    return replace(world.content, modalities={**found, "video": nothing})


@pytest.mark.parametrize("name", ["vbpr", "graph"])
def test_an_item_of_a_model_of_the_modalities_is_what_it_would_be_without_some_of_them(
    name: str, tmp_path: Path
) -> None:
    world = World()
    content, model = _told_apart(world), recommender(name)
    model.fit(content, world.train, epochs=2)
    model.save(tmp_path)
    side, codes = kind_of(name).item_side(tmp_path), np.random.default_rng(0).permutation(ITEMS)
    assert side is not None
    whole = side.vectors(content, codes, {"text", "image", "audio"})
    np.testing.assert_allclose(whole, model.item_vectors[codes], atol=1e-5)
    lacks = ~content.modalities["image"][1]
    found = side.vectors(content, np.arange(ITEMS), {"text", "audio"})
    np.testing.assert_allclose(found[lacks], model.item_vectors[lacks], atol=1e-5)
    expected = _without_image(model, content)
    np.testing.assert_allclose(found[~lacks], expected[~lacks], atol=1e-5)
    assert np.abs(found - model.item_vectors)[~lacks].max(axis=1).min() > 1e-4


def _without_image(model: Recommender, content: Content) -> np.ndarray:
    """Items without their images, by the formulae of `bpr` and `graph`, one by one; the neighbours keep theirs."""
    read = modalities(content)
    if isinstance(model, VBPR):
        kept = torch.from_numpy(np.concatenate([f * (name != "image") for name, (f, _) in read.items()], axis=1))
        features, model._features = model._features, kept
        with torch.no_grad():
            found = model._item_rows(torch.arange(ITEMS)).numpy()
        model._features = features
        return found
    assert isinstance(model, GraphRecommender)
    ids = (model._ids * model._has_id).detach().numpy()
    maps = {name: weight.detach().numpy() for name, weight in model._maps.items()}
    z = ids + sum(read[name][0] @ maps[name] for name in read)
    near = {name: neighbours(*read[name], model.settings.neighbours) for name in read}
    rows = []
    for item in range(ITEMS):
        kept = [name for name in read if name != "image"]
        h = ids[item] + sum(read[name][0][item] @ maps[name] for name in kept)
        h = h + model.settings.neighbour_weight / len(read) * sum((near[name][item] @ z)[0] for name in kept)
        rows.append([*unit_rows(h[None])[0], model.item_vectors[item, -1]])
    return np.array(rows)


@pytest.mark.parametrize("name", ["elsa", "svd", "bpr", "lightgcn", "als"])
def test_a_model_whose_items_are_learned_has_no_item_side(name: str, tmp_path: Path) -> None:
    assert kind_of(name).item_side(tmp_path) is None


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ShardCorrupt, match=r"model\.safetensors: not the weights of a two-tower model"):
        kind_of("two_tower").item_side(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(ShardCorrupt, match="run the night again"):
        kind_of("two_tower").item_side(tmp_path)
