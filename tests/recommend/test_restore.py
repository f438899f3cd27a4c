"""What a fit saved makes the same users of any history as the fit itself: that is what the re-ranker learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ShardCorrupt
from pipeline.recommend.base import Content, Recommender
from tests.recommend.test_recommenders import SMALL, World, recommender

NAMES = ("content", "two_tower", "sequence", "bpr", "vbpr", "lightgcn", "graph", "elsa", "svd", "als", "llm", "blend")


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def unfitted(name: str) -> Recommender:
    members = [{"model": member, **SMALL.get(member, {})} for member in ("two_tower", "als", "svd")]
    return recommender(name, **({"members": members} if name == "blend" else {}))


def of_what_it_reads(model: Recommender, content: Content) -> Content:
    """The content as `rerank` reads it for a model that it takes up."""
    if model.restore_reads() or model.members:
        return content
    return Content(np.zeros((len(content.vectors), 1), np.float32), np.zeros(len(content.vectors), bool))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_makes_the_same_vectors_of_any_history(name: str, world: World, tmp_path: Path) -> None:
    model, again = unfitted(name), unfitted(name)
    chosen = model.fit(world.content, world.train, world.validation, on_epoch=None)
    model.save(tmp_path)
    again.restore(of_what_it_reads(again, world.content), world.train, chosen, tmp_path)
    np.testing.assert_allclose(again.item_vectors, model.item_vectors, atol=1e-6)
    early = world.train.subset(world.train.age_days > 3)
    for history in (early, world.train.concat(world.validation)):
        np.testing.assert_allclose(again.user_vectors(history), model.user_vectors(history), atol=1e-6)
    if (tmp_path / "model.safetensors").exists():
        (tmp_path / "model.safetensors").write_bytes(b"no weights")
        with pytest.raises(ShardCorrupt, match=f"not the weights of a {name} model"):
            unfitted(name).restore(world.content, world.train, chosen, tmp_path)
